"""With `steps`, `diagnose` trains on the batch as `fit` does, and puts everything back."""

import contextlib
import json

import keras
import numpy as np
import pytest
from diagnosed.gradients import summed
from keras import layers
from modes import BACKEND, often, to_numpy
from stepped import CLASSES, LABELS, X, compiled, halved, small

import keras_initx
from keras_initx.inspection._optimizers import copy_unbuilt
from keras_initx.scaling import RateFactors


def state(model):
    """Return all that training changes."""
    variables = [*model.variables, *model.optimizer.variables]
    return [to_numpy(variable).copy() for variable in variables]


@pytest.mark.release_backends
def test_a_healthy_network_learns_and_is_left_as_it_was(capsys):
    model = compiled(dtype="mixed_float16")
    model.optimizer.build(model.trainable_variables)
    before = state(model)
    report = keras_initx.diagnose(model, X, LABELS, steps=40, verbose=1)
    assert report.ok
    assert capsys.readouterr().err.split("\r")[-1].strip() == "step 40 of 40"
    assert len(report.losses) == 41
    assert report.losses[-1] < 0.9 * report.losses[0]
    assert json.loads(report.to_json())["losses"] == report.losses
    assert "in 40 steps." in str(report)
    for one, other in zip(before, state(model), strict=True):
        np.testing.assert_array_equal(one, other)


@keras.saving.register_keras_serializable("test_diverging_steps")
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


def built(optimizer, weights):
    optimizer.build(weights)
    return optimizer


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
    "name",
    [
        *(pytest.param(name, marks=pytest.mark.release_backends) for name in ON_EACH),
        *often([name for name in SAME_AS_FIT if name not in ON_EACH], [*SAME_AS_FIT][::2]),
    ],
)
def test_the_losses_are_those_of_fit(name):
    losses = keras_initx.diagnose(small(SAME_AS_FIT[name]), X, LABELS, steps=4).losses
    history = small(SAME_AS_FIT[name]).fit(X, LABELS, batch_size=32, epochs=5, shuffle=False, verbose=0).history
    assert list(losses) == pytest.approx(history["loss"], rel=1e-4)


def test_a_copy_with_another_rate_excludes_the_same_from_decay():
    model = small(lambda model: without_decay(keras.optimizers.SGD(halved(0.5), weight_decay=1.0), ["kernel"]))
    copied = copy_unbuilt(model.optimizer, 0.25)
    assert float(copied.learning_rate) == 0.25
    copied.build(model.trainable_variables)
    assert [copied._use_weight_decay(weight) for weight in model.weights[:2]] == [False, True]


def with_method(optimizer):
    optimizer.apply = lambda *args: None
    return optimizer


@pytest.mark.rare
@pytest.mark.parametrize(
    ("make", "lost"),
    [
        (lambda model: Losing(factor=0.5), "factor"),
        (lambda model: keras.optimizers.LossScaleOptimizer(Losing(factor=0.5)), "factor"),
        (lambda model: with_method(keras.optimizers.SGD()), "apply"),
    ],
)
def test_an_optimizer_of_which_a_copy_does_something_else_is_refused(make, lost):
    with pytest.raises(ValueError, match=f"`steps` needs an optimizer that can be copied by its config.*lacks {lost}"):
        keras_initx.diagnose(small(make), X, LABELS, steps=1)
    assert keras_initx.diagnose(small(make), X, LABELS).losses == []
    assert len(keras_initx.diagnose(small(lambda model: Losing()), X, LABELS, steps=1).losses) == 2


@pytest.mark.parametrize("around", [lambda optimizer: optimizer, keras.optimizers.LossScaleOptimizer])
def test_an_optimizer_that_was_built_with_some_of_the_weights_is_refused_as_by_fit(around):
    model = small(lambda model: around(built(keras.optimizers.SGD(0.1, momentum=0.5), model.weights[:1])))
    with pytest.raises(ValueError, match="`steps` needs an optimizer that is built with all trained weights"):
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
    assert json.loads(report.to_json())["losses"][-1] is None
    assert not model.optimizer.built
    for one, other in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(one, to_numpy(other))


def test_without_gradients_no_steps_are_taken():
    model = compiled(loss=lambda targets, outputs: keras.ops.mean(keras.ops.stop_gradient(outputs)))
    report = keras_initx.diagnose(model, X, LABELS, steps=3)
    assert ([verdict.problem for verdict in report.problems], list(report.losses)) == (["no gradient"], [])


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
        (lambda model: model.compile(WithoutConfig(2), CLASSES), "`steps` needs an optimizer that can be copied"),
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
        ({"y": None, "steps": 2}, ValueError, "`steps` needs `y`, the targets, unless `model`"),
        ({"y": LABELS, "steps": -1}, ValueError, "`steps` must be a non-negative integer. Received: steps=-1"),
        ({"y": LABELS, "steps": 1.0}, TypeError, "`steps` must be a non-negative integer. Received: steps=1.0"),
    ],
)
def test_wrong_steps_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        keras_initx.diagnose(compiled(), X, **arguments)


class Count(layers.Layer):
    """A layer that counts its calls in training, and divides by 0 once it has counted so far."""

    def __init__(self, last):
        super().__init__(name="count")
        self.last = last

    def build(self, shape):
        self.calls = self.add_weight((), "zeros", trainable=False, name="calls")

    def call(self, x, training=False):
        outputs = x / keras.ops.where(self.calls >= self.last, 0.0, 1.0)
        if training:
            self.calls.assign(self.calls + 1.0)
        return outputs


@pytest.mark.every_backend
@pytest.mark.parametrize(("last", "steps"), [(2, 2), (1000, None)])
def test_state_that_call_writes_goes_from_step_to_step(last, steps):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((6,)), layers.Dense(6), Count(last)])
    model.compile("adam", "mse")
    report = keras_initx.diagnose(model, X, X, steps=4)
    assert to_numpy(model.layers[-1].calls) == 0
    if steps is None:
        assert report.ok
        assert len(report.losses) == 5
        return
    (verdict,) = report.problems
    assert (verdict.problem, verdict.level) == ("diverging steps", "error")
    assert verdict.evidence.endswith(f" after {steps} steps of Adam at 0.001")
    assert str(verdict.remedy).startswith(
        "keep the values finite that `call` writes: with rates of 0.0001, 1e-05, 1e-06"
    )


class Autoencoder(keras.Model):
    """A model that is fitted without targets."""

    def __init__(self, is_by_layers):
        super().__init__()
        self.is_by_layers = is_by_layers
        self.hidden, self.out = layers.Dense(4, "tanh"), layers.Dense(6)

    def call(self, x):
        outputs = self.out(self.hidden(x))
        if self.is_by_layers:
            self.add_loss(keras.ops.mean(keras.ops.square(outputs - x)))
        return outputs


class WithComputeLoss(Autoencoder):
    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return keras.ops.mean(keras.ops.square(y_pred - x))


@pytest.mark.parametrize("make", [lambda: Autoencoder(is_by_layers=True), lambda: WithComputeLoss(is_by_layers=False)])
@pytest.mark.parametrize(
    ("rate", "problems"),
    [
        pytest.param(0.01, set(), marks=pytest.mark.every_backend),
        pytest.param(1e4, {"rate", "diverging steps"}, marks=pytest.mark.release_backends),
    ],
)
def test_a_model_that_is_fitted_without_targets_takes_steps_without(make, rate, problems):
    keras.utils.set_random_seed(0)
    model = make()
    model(X)
    model.compile(keras.optimizers.SGD(rate))
    report = keras_initx.diagnose(model, X, steps=5)
    assert {verdict.problem for verdict in report.problems} == problems
    assert len(report.losses) > 1
    assert all(layer.gradient.norm > 0 for layer in report.rows)


def test_steps_of_a_given_loss_need_its_targets():
    with pytest.raises(ValueError, match="`steps` needs `y`, the targets of `loss`"):
        keras_initx.diagnose(compiled(), X, loss=CLASSES, steps=2)
