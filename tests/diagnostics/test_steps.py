"""With `steps`, `diagnose` trains on the batch, tells what comes of it, and puts everything back."""

import contextlib
import re

import keras
import numpy as np
import pytest
from diagnosed import FAULTY, HEALTHY
from diagnosed.gradients import summed
from keras import layers
from modes import BACKEND, to_numpy

import keras_initx
from keras_initx.scaling import RateFactors
from keras_initx.structure import unbuilt_copy

X = np.random.default_rng(0).normal(size=(32, 6)).astype("float32")
LABELS = np.random.default_rng(1).integers(0, 3, 32)
CLASSES = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def compiled(optimizer="adam", dtype=None, loss=CLASSES, **options):
    stack = [layers.Dense(16, "relu"), layers.BatchNormalization(), layers.Dropout(0.1, seed=1), layers.Dense(3)]
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((6,)), *stack])
    if dtype is not None:
        model = keras.models.clone_model(model, clone_function=lambda layer: of_dtype(layer, dtype))
    model.compile(optimizer, loss, metrics=["accuracy"], **options)
    return model


def of_dtype(layer, dtype):
    return type(layer).from_config({**layer.get_config(), "dtype": dtype})


def state(model):
    """Return all that training changes."""
    variables = [*model.variables, *model.optimizer.variables]
    return [to_numpy(variable).copy() for variable in variables]


@pytest.mark.every_backend
def test_a_healthy_network_learns_and_is_left_as_it_was():
    model = compiled(dtype="mixed_float16")
    model.optimizer.build(model.trainable_variables)
    before = state(model)
    told = []
    report = keras_initx.diagnose(model, X, LABELS, steps=20, progress=told.append)
    assert report.ok
    assert told[-1] == "step 20 of 20"
    assert len(report.losses) == 21
    assert report.losses[-1] < 0.9 * report.losses[0]
    assert report.to_dict()["losses"] == report.losses
    assert "in 20 steps." in str(report)
    for one, other in zip(before, state(model), strict=True):
        np.testing.assert_array_equal(one, other)


@keras.saving.register_keras_serializable("test_steps")
class Losing(keras.optimizers.SGD):
    """An optimizer whose config lacks an argument."""

    def __init__(self, learning_rate=0.1, factor=1.0, **options):
        super().__init__(learning_rate, **options)
        self.factor = factor

    def update_step(self, gradient, variable, learning_rate):
        super().update_step(gradient * self.factor, variable, learning_rate)


def decaying(**options):
    """Return an optimizer whose decay makes kernels 0 at once."""
    return keras.optimizers.SGD(0.05, weight_decay=19.0, **options)


def without_decay(optimizer, names=None, weights=None):
    optimizer.exclude_from_weight_decay(var_list=weights, var_names=names)
    return optimizer


def halved(rate):
    return keras.optimizers.schedules.ExponentialDecay(rate, 1, 0.5)


def built(optimizer, weights):
    optimizer.build(weights)
    return optimizer


def small(make):
    """Return a network that is compiled with the optimizer that `make` gives for it."""
    keras.utils.set_random_seed(0)
    stack = [layers.Dense(8, "tanh"), keras.Sequential([layers.Dense(3)])]
    model = keras.Sequential([keras.Input((6,)), *stack])
    model.compile(make(model), CLASSES)
    return model


SAME_AS_FIT = {
    "excluded weight": lambda model: without_decay(decaying(), None, [model.weights[0]]),
    "both, used before": lambda model: built(
        without_decay(decaying(), ["bias"], [model.weights[2]]), model.trainable_variables
    ),
    "used before, in a loss scale": lambda model: keras.optimizers.LossScaleOptimizer(
        built(decaying(momentum=0.5), model.trainable_variables), initial_scale=4.0
    ),
    "factors of a schedule": lambda model: RateFactors(keras.optimizers.SGD(halved(0.5)), {"*bias": 0.5}),
    "averages": lambda model: without_decay(decaying(use_ema=True, ema_overwrite_frequency=2), ["kernel"]),
    "sums": lambda model: without_decay(decaying(gradient_accumulation_steps=2), ["kernel"]),
}


# Each backend makes steps in its own way, and keeps the state of the optimizer.
ON_EACH = ("used before, in a loss scale",)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.every_backend) if name in ON_EACH else name for name in SAME_AS_FIT]
)
def test_the_losses_are_those_of_fit(name):
    losses = keras_initx.diagnose(small(SAME_AS_FIT[name]), X, LABELS, steps=4).losses
    history = small(SAME_AS_FIT[name]).fit(X, LABELS, batch_size=32, epochs=5, shuffle=False, verbose=0).history
    assert list(losses) == pytest.approx(history["loss"], rel=1e-4)


def test_a_copy_with_another_rate_excludes_the_same_from_decay():
    model = small(lambda model: without_decay(keras.optimizers.SGD(halved(0.5), weight_decay=1.0), ["kernel"]))
    copied = unbuilt_copy(model.optimizer, 0.25)
    assert float(copied.learning_rate) == 0.25
    assert [copied._use_weight_decay(weight) for weight in model.weights[:2]] == [False, True]


def with_method(optimizer):
    optimizer.apply = lambda *args: None
    return optimizer


@pytest.mark.parametrize(
    ("make", "lost"),
    [
        (lambda model: Losing(factor=0.5), "factor"),
        (lambda model: keras.optimizers.LossScaleOptimizer(Losing(factor=0.5)), "factor"),
        (lambda model: with_method(keras.optimizers.SGD()), "apply"),
    ],
)
def test_an_optimizer_of_which_a_copy_does_something_else_is_refused(make, lost):
    with pytest.raises(ValueError, match=f"`steps` needs an optimizer that its config makes anew.*lacks {lost}"):
        keras_initx.diagnose(small(make), X, LABELS, steps=1)
    assert keras_initx.diagnose(small(make), X, LABELS).losses == []
    assert len(keras_initx.diagnose(small(lambda model: Losing()), X, LABELS, steps=1).losses) == 2


@pytest.mark.parametrize("around", [lambda optimizer: optimizer, keras.optimizers.LossScaleOptimizer])
def test_an_optimizer_that_was_built_with_some_of_the_weights_is_refused_as_by_fit(around):
    model = small(lambda model: around(built(keras.optimizers.SGD(0.1, momentum=0.5), model.weights[:1])))
    with pytest.raises(ValueError, match="`steps` needs an optimizer that is built with all weights"):
        keras_initx.diagnose(model, X, LABELS, steps=1)
    with pytest.raises((ValueError, KeyError, TypeError)):
        model.fit(X, LABELS, verbose=0)


def test_a_network_is_left_as_it_was_where_steps_make_nan():
    keras.utils.set_random_seed(0)
    model, x, y, _ = summed()
    model.compile(keras.optimizers.SGD(1e4), model.loss)
    before = [to_numpy(weight).copy() for weight in model.weights]
    report = keras_initx.diagnose(model, x, y, steps=100)
    assert not np.isfinite(report.losses[-1])
    assert report.to_dict()["losses"][-1] is None
    assert not model.optimizer.built
    for one, other in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(one, to_numpy(other))


def test_a_plot_shows_the_loss():
    model, x, y, _ = summed()
    model.compile(keras.optimizers.SGD(1e4), model.loss)
    figure = keras_initx.diagnose(model, x, y, steps=100).plot()
    axis = figure.axes[-1]
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("step", "loss")
    assert axis.get_legend_handles_labels()[1] in (["the loss is nan"], ["the loss is inf"])


def test_the_first_layer_whose_weights_are_lost_is_named():
    model, x, y, _ = summed()
    model.compile(keras.optimizers.SGD(1e38), model.loss)
    verdict = keras_initx.diagnose(model, x, y, steps=3).problems[-1]
    first = model.layers[0].name
    assert (verdict.problem, verdict.level, verdict.layers) == ("diverging steps", "error", (first,))


def test_without_gradients_no_steps_are_taken():
    model = compiled(loss=lambda targets, outputs: keras.ops.mean(keras.ops.stop_gradient(outputs)))
    report = keras_initx.diagnose(model, X, LABELS, steps=3)
    assert ([verdict.problem for verdict in report.problems], list(report.losses)) == (["no gradient"], [])


@pytest.mark.parametrize(
    "build",
    [
        HEALTHY["rate that rises from 0"],
        HEALTHY["last kernel of zeros"],
        lambda: FAULTY["rewards of deviation 1e4"].build(True),
    ],
    ids=["rate that rises", "zeros", "rewards"],
)
def test_a_healthy_network_has_no_problem_in_its_steps(build):
    keras.utils.set_random_seed(0)
    model, x, y, loss = build()
    if not model.compiled:
        model.compile("adam", loss)
    assert keras_initx.diagnose(model, x, y, steps=20).ok


@pytest.mark.parametrize("kind", ["loss scale", "schedule", "clipped"])
def test_a_better_rate_is_named_whatever_the_optimizer(kind):
    model, x, y, _ = summed()
    arguments = {"momentum": 0.5}
    rate = 0.5
    if kind == "schedule":
        rate = keras.optimizers.schedules.ExponentialDecay(0.5, 1000, 0.9)
    if kind == "clipped":
        arguments["clipvalue"] = 100.0
    optimizer = keras.optimizers.SGD(rate, **arguments)
    if kind == "loss scale":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=4.0)
    model.compile(optimizer, model.loss)
    verdict = keras_initx.diagnose(model, x, y, steps=10).problems[-1]
    assert verdict.problem == "diverging steps"
    text = r"keras\.optimizers\.SGD\((.+)\) with its other arguments as they are"
    assert float(re.fullmatch(text, verdict.remedy.text)[1]) < 0.5


class Falling(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule as in tutorials, which nobody has registered, and without a config."""

    def __call__(self, step):
        return 0.1 / (1.0 + keras.ops.cast(step, "float32"))


def test_a_schedule_needs_no_config():
    model = compiled(keras.optimizers.SGD(Falling()))
    report = keras_initx.diagnose(model, X, LABELS, steps=5)
    assert report.ok
    assert report.losses[-1] < report.losses[0]
    assert isinstance(model.optimizer._learning_rate, Falling)


class WithoutConfig(keras.optimizers.SGD):
    def __init__(self, factor):
        super().__init__(0.1 * factor)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda model: model.compile(None, CLASSES), "`steps` needs a model that is compiled with an optimizer"),
        (lambda model: model.compile(WithoutConfig(2), CLASSES), "`steps` needs an optimizer that its config makes"),
    ],
)
def test_an_optimizer_is_needed(change, message):
    model = compiled()
    change(model)
    assert keras_initx.diagnose(model, X, LABELS).ok
    with pytest.raises(ValueError, match=message):
        keras_initx.diagnose(model, X, LABELS, steps=1)


@pytest.mark.every_backend
@pytest.mark.skipif(BACKEND != "tensorflow", reason="a strategy of TensorFlow")
@pytest.mark.parametrize("is_inside", [True, False])
def test_several_replicas_are_refused(is_inside):
    import tensorflow as tf

    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        model = compiled()
    scope = strategy.scope() if is_inside else contextlib.nullcontext()
    with scope, pytest.raises(ValueError, match=r"`steps` needs a model on one replica\. .* on 2 replicas"):
        keras_initx.diagnose(model, X, LABELS, steps=1)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"y": None, "steps": 2}, ValueError, "`steps` needs `y`, the targets. Received: steps=2"),
        ({"y": LABELS, "steps": -1}, ValueError, "`steps` must be a non-negative integer. Received: steps=-1"),
        ({"y": LABELS, "steps": 1.0}, TypeError, "`steps` must be a non-negative integer. Received: steps=1.0"),
    ],
)
def test_wrong_steps_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        keras_initx.diagnose(compiled(), X, **arguments)
