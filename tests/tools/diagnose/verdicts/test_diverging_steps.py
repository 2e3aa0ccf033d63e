"""With `steps`, `diagnose` names what keeps a network from learning: its rate, its optimizer or its digits."""

import re

import keras
import numpy as np
import pytest
from diagnosed import HEALTHY
from diagnosed.data import rewarded
from diagnosed.gradients import summed
from diagnosed.networks import by, in_precision
from modes import BACKEND, to_numpy
from stepped import LABELS, X, compiled, halved, small

import keras_initx
from keras_initx.scaling import RateFactors


def test_the_first_layer_whose_weights_are_lost_is_named():
    model, x, y, _ = summed()
    model.compile(keras.optimizers.SGD(1e38), model.loss)
    verdict = keras_initx.diagnose(model, x, y, steps=3).problems[-1]
    first = model.layers[0].name
    assert (verdict.problem, verdict.level, verdict.layers) == ("diverging steps", "error", (first,))


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
