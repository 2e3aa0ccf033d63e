"""With `steps`, `diagnose` trains on the batch, tells what comes of it, and puts everything back."""

import contextlib
import json
import re

import keras
import numpy as np
import pytest
from diagnosed import HEALTHY
from diagnosed.data import rewarded
from diagnosed.gradients import summed
from diagnosed.networks import by, in_precision
from keras import layers
from modes import BACKEND, often, to_numpy

import keras_initx
from keras_initx.inspection._optimizers import copy_unbuilt
from keras_initx.scaling import RateFactors

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


@pytest.mark.rare
@pytest.mark.parametrize(
    "build",
    [
        HEALTHY["rate that rises from 0"],
        HEALTHY["last kernel of zeros"],
        rewarded,
    ],
    ids=["rate that rises", "zeros", "rewards"],
)
def test_a_healthy_network_has_no_problem_in_its_steps(build):
    keras.utils.set_random_seed(0)
    model, x, y, loss = build()
    if not model.compiled:
        model.compile("adam", loss)
    assert keras_initx.diagnose(model, x, y, steps=20).ok


@pytest.mark.rare
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
    text = r"use keras\.optimizers\.SGD\((.+)\) with its other arguments unchanged"
    assert float(re.fullmatch(text, verdict.remedy.text)[1]) < 0.5


def on_the_sum(optimizer, steps):
    """Return the last problem of steps on the sum over the examples, for which a rate of 1 is too large."""
    keras.utils.set_random_seed(0)
    model, x, y, _ = summed()
    model.compile(optimizer, model.loss)
    return keras_initx.diagnose(model, x, y, steps=steps).problems[-1]


@pytest.mark.rare
@pytest.mark.release_backends
@pytest.mark.parametrize("is_scaled", [False, True])
def test_the_rates_of_a_schedule_are_those_of_the_steps(is_scaled):
    optimizer = keras.optimizers.SGD(keras.optimizers.schedules.ExponentialDecay(1.0, 1, 1e-3))
    if is_scaled:
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=4.0)
    verdict = on_the_sum(optimizer, 6)
    assert "steps of SGD at rates between 1e-15 and 1" in verdict.evidence
    assert verdict.remedy.text.startswith("use keras.optimizers.SGD(0.")


@pytest.mark.rare
@pytest.mark.parametrize(
    ("optimizer", "rates"),
    [
        # Of four steps the second and the last make an update.
        (keras.optimizers.SGD(halved(1.0), gradient_accumulation_steps=2), "SGD at rates between 0.125 and 0.5"),
        (RateFactors(keras.optimizers.SGD(halved(1.0)), {"*bias": 0.5}), "RateFactors at rates between 0.125 and 1"),
        (keras.optimizers.SGD(lambda: 1.0), "SGD at 1"),
    ],
    ids=["accumulated", "factors", "function"],
)
def test_the_rates_are_those_of_updates(optimizer, rates):
    assert on_the_sum(optimizer, 4).evidence.endswith(f"steps of {rates}")


def test_a_schedule_begins_anew_for_an_optimizer_that_was_used():
    model, x, y, _ = summed()
    model.compile(keras.optimizers.SGD(halved(1.0)), model.loss)
    model.optimizer.build(model.trainable_variables)
    model.optimizer.iterations.assign(1000)
    assert (
        "steps of SGD at rates between 0.125 and 1" in keras_initx.diagnose(model, x, y, steps=4).problems[-1].evidence
    )
    assert int(to_numpy(model.optimizer.iterations)) == 1000


def test_what_was_tried_in_vain_is_said():
    remedy = on_the_sum(keras.optimizers.SGD(1e9, clipvalue=1e9), 5).remedy.text
    text = r"use a lower rate: with rates of 1e\+08, 1e\+07, 1e\+06, the loss does not end below .*"
    assert re.fullmatch(text, remedy)


def test_a_rate_that_was_not_tried_is_not_said_to_fail():
    factors = RateFactors(keras.optimizers.SGD(1.0), {"*bias": 0.5})
    assert on_the_sum(factors, 5).remedy.text == "use a lower rate"


def warming(**options):
    """Return Adam with a rate that is 0 for ten steps."""
    rate = keras.optimizers.schedules.PiecewiseConstantDecay([10], [0.0, 1e-3])
    return keras.optimizers.Adam(rate, **options)


@pytest.mark.release_backends
def test_accumulated_gradients_that_make_an_update_are_no_problem():
    optimizer = keras.optimizers.Adam(gradient_accumulation_steps=2)
    assert keras_initx.diagnose(compiled(optimizer), X, LABELS, steps=3).verdicts == []


@pytest.mark.release_backends
@pytest.mark.parametrize(
    "make",
    [
        warming,
        lambda: warming(gradient_accumulation_steps=2),
        lambda: ForgetsKernels(keras.optimizers.schedules.PiecewiseConstantDecay([10], [0.0, 1e-3])),
    ],
    ids=["rate of 0", "accumulated", "of one's own"],
)
def test_before_a_rate_has_risen_nothing_is_known_of_the_weights(make):
    (verdict,) = keras_initx.diagnose(compiled(make()), X, LABELS, steps=3).verdicts
    assert verdict.level == "note"
    assert verdict.evidence.endswith(
        "but the rate rises to 0.001. These steps do not show whether the weights can learn"
    )
    assert verdict.remedy.text == "pass more steps, until the rate has risen"


WAITING = {
    "accumulation": (lambda: keras.optimizers.Adam(gradient_accumulation_steps=4), "pass steps=4 or more"),
    "overflow": (
        lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(), initial_scale=np.inf),
        "pass more steps",
    ),
}


@pytest.mark.release_backends
@pytest.mark.parametrize("name", WAITING)
def test_without_an_update_nothing_is_known_of_the_weights(name):
    make, remedy = WAITING[name]
    report = keras_initx.diagnose(compiled(make()), X, LABELS, steps=2)
    (verdict,) = report.verdicts
    assert verdict.level == "note"
    assert verdict.evidence.startswith("Adam makes no update in 2 steps. These steps do not show whether ")
    assert verdict.remedy.text.startswith(remedy)


@pytest.mark.skipif(not hasattr(keras.optimizers, "MultiOptimizer"), reason="this Keras has none")
def test_one_of_several_optimizers_may_not_have_made_an_update():
    accumulating = keras.optimizers.SGD(0.1, gradient_accumulation_steps=4)
    several = keras.optimizers.OptimizerMap(accumulating, {".*bias": keras.optimizers.SGD(0.1)})
    model = small(lambda model: keras.optimizers.MultiOptimizer(several))
    (verdict,) = keras_initx.diagnose(model, X, LABELS, steps=2).verdicts
    assert (verdict.level, "do not show whether dense/kernel" in verdict.evidence) == ("note", True)


class ForgetsKernels(keras.optimizers.SGD):
    def apply(self, grads, trainable_variables=None):
        super().apply([grad * (len(grad.shape) < 2) for grad in grads], trainable_variables)


def test_weights_that_an_optimizer_leaves_out_are_named():
    verdict = keras_initx.diagnose(small(lambda model: ForgetsKernels(0.01)), X, LABELS, steps=3).problems[-1]
    assert "3 steps of ForgetsKernels at 0.01 do not change dense/kernel" in verdict.evidence
    assert "bias" not in verdict.evidence
    assert "use an optimizer that gets all trainable weights" in verdict.remedy.text


@pytest.mark.release_backends
@pytest.mark.parametrize(
    "name", ["Adam", pytest.param("AdamW", marks=pytest.mark.rare), pytest.param("Lamb", marks=pytest.mark.rare)]
)
def test_where_a_constant_of_the_optimizer_is_rounded_to_1_more_bits_are_the_remedy(name):
    model = compiled(getattr(keras.optimizers, name)(), dtype="bfloat16")
    (verdict,) = keras_initx.diagnose(model, X, LABELS, steps=5).problems
    assert verdict.evidence.endswith("Each update is smaller than the float spacing of the weights")
    assert "keep weights in float32" in verdict.remedy.text
    assert keras_initx.diagnose(compiled(dtype="mixed_bfloat16"), X, LABELS, steps=5).ok


@pytest.mark.release_backends
@pytest.mark.skipif(BACKEND == "torch", reason="Keras raises an error there, also in `fit`")
def test_a_constant_that_is_rounded_to_1_may_also_make_nan():
    verdict = keras_initx.diagnose(compiled("nadam", dtype="bfloat16"), X, LABELS, steps=5).problems[-1]
    assert "weights are not finite" in verdict.evidence
    assert "keep weights in float32" in verdict.remedy.text


@pytest.mark.parametrize("optimizer", [keras.optimizers.SGD(0.01), keras.optimizers.Adam(beta_2=0.99)])
def test_ones_of_16_bits_that_steps_leave_need_more_bits(optimizer):
    model = compiled(optimizer, dtype="bfloat16")
    (verdict,) = keras_initx.diagnose(model, X, LABELS, steps=5).problems
    assert verdict.evidence.endswith(
        "do not change batch_normalization/gamma. Each update is smaller than the float spacing of the weights"
    )
    assert "keep weights in float32" in verdict.remedy.text


@pytest.mark.rare
@pytest.mark.release_backends
def test_adam_in_float16_needs_more_bits_where_no_rate_helps():
    def verdicts(policy):
        keras.utils.set_random_seed(0)
        model, x, y, _ = in_precision(policy, lambda: by(keras.optimizers.Adam()))
        return keras_initx.diagnose(model, x, y, steps=5).verdicts

    (verdict,) = verdicts("float16")
    assert "keep weights in float32" in verdict.remedy.text
    assert verdicts("mixed_float16") == []


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
