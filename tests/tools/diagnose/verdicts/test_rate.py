"""A learning rate is named before the first step if it is too large or too small."""

import re

import keras
import numpy as np
import pytest
from diagnosed.networks import regression as healthy_regression
from keras import layers
from keras.optimizers.schedules import ExponentialDecay, PiecewiseConstantDecay
from last_layers import LOSSES, SIDE, X, network, problems, verdicts

import keras_initx


def regression(optimizer):
    model = network(1)
    model.compile(optimizer, "mse")
    return model


def test_a_rate_that_is_too_large_is_found_before_the_first_step():
    y = X @ np.linspace(-1, 1, 8)[:, None]
    model = regression(keras.optimizers.SGD(5.0))
    found = verdicts(model, y)
    assert [verdict.problem for verdict in found] == ["rate"]
    by_sgd, by_adam = re.fullmatch(r"use keras.optimizers.SGD\((.+)\), or (.+)", found[0].remedy.text).groups()
    assert by_adam == "use keras.optimizers.Adam()"
    for optimizer in (keras.optimizers.SGD(float(by_sgd)), keras.optimizers.Adam(0.03)):
        cured = regression(optimizer)
        assert problems(cured, y) == []
        course = cured.fit(X, y, epochs=20, verbose=0).history["loss"]
        assert course[-1] < course[0] / 2


def test_the_cause_of_large_gradients_comes_before_the_rate():
    keras.utils.set_random_seed(0)
    wide = [layers.Dense(64, "relu", kernel_initializer=keras.initializers.RandomNormal(stddev=1.0)) for _ in range(6)]
    model = keras.Sequential([keras.Input((8,)), *wide, layers.Dense(1)])
    model.compile("sgd", "mse")
    found = problems(model, X[:, :1])
    assert found[0] == "exploding"
    assert found[-1] == "rate"


def test_the_rate_of_a_schedule_is_that_of_the_next_step():
    y = X[:, :1]
    warm = keras.optimizers.schedules.CosineDecay(1e-3, 100, warmup_target=5.0, warmup_steps=10)
    assert problems(regression(keras.optimizers.SGD(warm)), y) == []


def test_a_rate_is_too_large_whatever_the_loss_is_multiplied_by():
    optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(5.0))
    assert problems(regression(optimizer), X[:, :1]) == ["rate"]


def five():
    return 5.0


def test_the_rate_of_a_function_is_what_it_returns():
    assert problems(regression(keras.optimizers.SGD(five)), X[:, :1]) == ["rate"]


@pytest.mark.skipif(not hasattr(keras.optimizers, "MultiOptimizer"), reason="this Keras has none")
@pytest.mark.parametrize("wrap", [lambda optimizer: optimizer, keras.optimizers.LossScaleOptimizer])
def test_several_optimizers_have_no_rate_to_judge(wrap):
    several = keras.optimizers.MultiOptimizer(keras.optimizers.OptimizerMap(keras.optimizers.SGD(5.0)))
    assert problems(regression(wrap(several)), X[:, :1]) == []


@pytest.mark.parametrize("limit", ["clipnorm", "clipvalue", "global_clipnorm"])
def test_clipped_gradients_make_no_large_steps(limit):
    assert problems(regression(keras.optimizers.SGD(5.0, **{limit: 0.01})), X[:, :1]) == []


class SumOfSquares(LOSSES.Loss):
    """A loss of one's own, of which Keras takes the sum or the mean."""

    def call(self, y_true, y_pred):
        return keras.ops.sum(keras.ops.square(y_true - y_pred), axis=-1)


@pytest.mark.parametrize("loss", [LOSSES.MeanSquaredError, SumOfSquares])
@pytest.mark.parametrize(("reduction", "is_too_large"), [("sum", False), ("sum_over_batch_size", True)])
def test_a_sum_of_losses_over_all_examples_has_no_step_to_compare_with(loss, reduction, is_too_large):
    model = network(1)
    model.compile(keras.optimizers.SGD(5.0), loss(reduction=reduction))
    assert ("rate" in problems(model, X[:, :1])) == is_too_large


def test_a_negative_rate_is_an_error():
    found = verdicts(regression(keras.optimizers.Adam(-1.0)), X[:, :1])
    assert [(verdict.problem, verdict.level) for verdict in found] == [("rate", "error")]


def test_a_network_that_trains_with_steps_beyond_its_loss_is_no_alarm():
    keras.utils.set_random_seed(0)
    model, x, y, loss = healthy_regression(factor=0.1)
    for seed, layer in enumerate(model.layers):
        layer.kernel.assign(keras_initx.HeNormal(seed=seed)(layer.kernel.shape))
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), loss)
    report = keras_initx.diagnose(model, x, y)
    assert report.ok
    squares = sum(layer.gradient.norm**2 for layer in report.rows if layer.gradient)
    course = model.fit(x, y, batch_size=len(x), epochs=20, verbose=0).history["loss"]
    # Momentum would add up ten such steps.
    assert 0.1 * squares > 6 * course[0]
    assert course[-1] < course[0] / 10


@pytest.mark.parametrize("name", ["AdamW", "Adamax"])
def test_a_rate_of_adam_that_overwrites_the_weights_is_found(name):
    y = X[:, :1]
    optimizer = getattr(keras.optimizers, name)
    assert problems(regression(optimizer(0.1)), y) == []
    found = verdicts(regression(optimizer(2.0)), y)
    assert [verdict.problem for verdict in found] == ["rate"]
    assert found[0].remedy.text == "use the default rate: keras.optimizers.Adam()"


def test_a_row_of_an_embedding_is_no_sum_of_inputs():
    stack = [layers.Embedding(1000, 4), layers.Flatten(), layers.Dense(1)]
    model = keras.Sequential([keras.Input((3,), dtype="int32"), *stack])
    model.compile(keras.optimizers.Adam(0.1), "mse")
    words = np.arange(3 * len(X)).reshape(-1, 3) % 1000
    assert "rate" not in problems(model, X[:, :1], x=words)


@pytest.mark.parametrize(
    ("optimizer", "expected"),
    [
        (keras.optimizers.Adam(1e-8), ["rate"]),
        (keras.optimizers.SGD(1e-7), ["rate"]),
        (keras.optimizers.SGD(0.0), ["rate"]),
        (keras.optimizers.SGD(1e-3), []),
        (keras.optimizers.SGD(1e-3, momentum=1.0), []),
        (keras.optimizers.RMSprop(1e-8), ["rate"]),
        (keras.optimizers.Adagrad(1e-6), ["rate"]),
        (keras.optimizers.Adagrad(0.01), []),
        (keras.optimizers.Ftrl(1e-8), []),
        (keras.optimizers.Adam(epsilon=100.0), ["rate"]),
        (keras.optimizers.SGD(0.1, clipvalue=1e-7), ["rate"]),
        (keras.optimizers.SGD(0.1, global_clipnorm=1e-6), ["rate"]),
        (keras.optimizers.Adam(global_clipnorm=1e-6), []),
        (keras.optimizers.Adam(ExponentialDecay(0.001, 1, 0.1), gradient_accumulation_steps=2), ["rate"]),
        (keras.optimizers.Adam(PiecewiseConstantDecay([9], [0.0, 0.001]), gradient_accumulation_steps=2), []),
    ],
    ids=[
        "Adam",
        "SGD",
        "0",
        "usual",
        "momentum of 1",
        "RMSprop",
        "Adagrad",
        "Adagrad, usual",
        "another method",
        "epsilon of 100",
        "clipped numbers",
        "clipped together",
        "Adam, clipped",
        "accumulated gradients",
        "accumulated, from 0",
    ],
)
def test_a_rate_with_which_weights_stay_where_they_are_is_named(optimizer, expected):
    model = network(1, "sigmoid")
    model.compile(optimizer, "binary_crossentropy")
    assert problems(model, SIDE) == expected
    assert int(keras.ops.convert_to_numpy(optimizer.iterations)) == 0  # as before


@pytest.mark.parametrize("optimizer", [keras.optimizers.Adam(), keras.optimizers.SGD(1e-3)], ids=["Adam", "SGD"])
def test_of_gradients_too_small_for_any_rate_the_loss_is_multiplied(optimizer):
    model = network(1, "sigmoid")
    model.compile(optimizer, lambda y, outputs: 1e-10 * keras.losses.binary_crossentropy(y, outputs))
    (found,) = verdicts(model, SIDE)
    assert found.problem == "rate"
    assert found.remedy.text.startswith("multiply the loss by a factor")
    assert found.remedy.text.endswith("the epsilon of Adam, 1e-07")


class OwnLoss(keras.Model):
    """A model with a loss of its own, which may fall below 0."""

    def __init__(self, is_score):
        super().__init__()
        self.is_score = is_score
        self.hidden, self.out = keras.layers.Dense(16, "relu"), keras.layers.Dense(1)

    def call(self, x):
        return self.out(self.hidden(x))

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return keras.ops.mean(y * y_pred if self.is_score else keras.ops.square(y - y_pred))


@pytest.mark.release_backends
@pytest.mark.parametrize(
    ("is_score", "rate", "has_problem"), [(False, 30.0, True), (False, 0.01, False), (True, 30.0, False)]
)
def test_a_rate_is_judged_by_any_loss(is_score, rate, has_problem):
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).normal(size=(64, 8)).astype("float32")
    model = OwnLoss(is_score)
    model(x)
    model.compile(keras.optimizers.SGD(rate))
    problems = [verdict.problem for verdict in keras_initx.diagnose(model, x, x[:, :1]).verdicts]
    assert problems == ["rate"] * has_problem
