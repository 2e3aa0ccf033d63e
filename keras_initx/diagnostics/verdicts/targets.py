"""Targets of a distance, or probabilities: whether the outputs can reach them, and their scale."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np

from keras_initx._keras import layers_of
from keras_initx._typing import Array
from keras_initx.backends import backend
from keras_initx.diagnostics._measurements import LayerReport, Measurements
from keras_initx.diagnostics._outputs import Applied, OutputFacts, reach_alone
from keras_initx.diagnostics._remedy import Remedy
from keras_initx.diagnostics._verdict import Finding, rule
from keras_initx.diagnostics.verdicts.outputs import is_misread, other_activation
from keras_initx.structure import array_of, tensors_in

# The number of examples with which the limits of an output are tried.
_TRIED = 64
# Relative to the targets, a bias that drives any activation to its limit; its square still fits
# into float32.
_FAR = 1e4

# Fraction of the targets beyond the range of the last activation above which a distance cannot
# become small.
OUT_OF_REACH = 0.1
# Factor between the standard deviation of the targets of a distance and that of the outputs, or 1
# if that is more, above which the targets are not scaled.
UNSCALED_TARGETS = 500
# Standard deviation of the targets of a distance below which they are not scaled.
SMALL_TARGETS = 0.02


def reach_by_trial(
    model: keras.Model, x: Any, layer: keras.Layer, place: int, size: float
) -> tuple[float, float]:
    """Return the limits of an output that no bias of its last layer moves it beyond.

    They are infinite where such a bias has no end of its effect, or none.

    Args:
        model: The model, which is left unchanged.
        x: Its inputs, as tensors.
        layer: The layer.
        place: The place of the output among those of the model.
        size: That of the targets.
    """
    bias = getattr(layer, "bias", None)
    if not isinstance(bias, keras.Variable):
        return -math.inf, math.inf
    some = keras.tree.map_structure(lambda tensor: tensor[:_TRIED], x)

    def moved(shift: float) -> Array:
        with backend.preserve_state(layers_of(model)):
            bias.assign_add(keras.ops.full(bias.shape, shift, bias.dtype))
            return array_of(tensors_in(model(some, training=False))[place]).astype("float64")

    far_away, farther_away = _FAR * size, _FAR**2 * size
    try:
        here = moved(0.0)
        below = moved(-far_away), moved(-farther_away)
        above = moved(far_away), moved(farther_away)
    except Exception:  # a model may take no other batches
        return -math.inf, math.inf
    limits = []
    for sign, (far, farther) in ((-1, below), (1, above)):
        has_end = np.isfinite(farther).all() and np.allclose(far, farther, rtol=1e-3, atol=1e-6)
        if not has_end or np.allclose(here, far, rtol=1e-3, atol=1e-6):
            limits.append(sign * math.inf)
        else:
            limits.append(float(far.min() if sign < 0 else far.max()))
    low, high = limits
    return low, high


@rule(
    "unreachable targets",
    levels={"warning": ""},
    finds=f"a fraction above {OUT_OF_REACH:g} of the targets beyond the range of the activations "
    "after the last kernel, one after the other, or of the rows that do not add up to 1 for a "
    "softmax with a distance or a binary crossentropy. For a crossentropy these are labels more "
    "than 0.25 from any probability in range",
    reason="the loss cannot become small, and the activation is driven to its limit, where it has "
    "no gradient. A ReLU before a sigmoid gives 0.5 to 1",
    remedy="no activation in the last layer, one instead of two, or scaled targets",
)
def unreachable_targets(measured: Measurements) -> Iterator[Finding]:
    limit = OUT_OF_REACH
    for layer, facts in measured.outputs:
        if facts.sum_beyond > limit >= facts.beyond:
            evidence = (
                f"{facts.sum_beyond:.0%} of the rows of targets do not add up to 1, but those of "
                f"{layer.name} do"
            )
            remedy = other_activation("sigmoid", layer, "binary_crossentropy")
            yield Finding([layer], evidence, remedy)
        if not facts.beyond > limit:
            continue
        # What is misread has its own verdict.
        if facts.loss.kind != "distance" and is_misread(layer, measured):
            continue
        low, high = facts.reach
        names = ", then ".join(applied.activation for applied in facts.applied) or layer.name
        made = "outputs"
        if facts.loss.kind != "distance" and facts.loss.from_logits:
            made = "probabilities of logits"
        reach = f"the {made} of {names} lie between {low:.3g} and {high:.3g}"
        if math.isinf(high):
            reach = f"the {made} of {names} are never below {low:.3g}"
            if not low:
                reach = f"the {made} of {names} are never negative"
        evidence = (
            f"{facts.beyond:.0%} of the targets, which go from {facts.targets.min:.3g} to "
            f"{facts.targets.max:.3g}, are out of reach: {reach}"
        )
        if facts.form == "numbers":
            evidence = f"no label can become certain: {reach}"
        yield Finding([layer], evidence, _in_reach(layer, facts))


def _in_reach(layer: LayerReport, facts: OutputFacts) -> Remedy:
    """Return the remedy where targets are beyond the activations of an output."""
    low, high = facts.reach
    if not facts.applied:
        return Remedy(f"no limit in what follows the weights of {layer.name}")
    if facts.loss.kind == "distance":
        remedy = other_activation(None, layer)
        if len(facts.applied) > 1:
            least, most = reach_alone(facts.applied[-1].activation)
            if least <= facts.targets.min and facts.targets.max <= most:
                return _without(facts.applied[:-1])
            remedy = _without(facts.applied)
        if math.isinf(high):
            return remedy
        return remedy.otherwise(Remedy(f"targets scaled to [{low:.3g}, {high:.3g}]"))
    # The loss applies the last one itself.
    before = facts.applied if facts.loss.from_logits else facts.applied[:-1]
    return _without(before)


def _without(applied: Sequence[Applied]) -> Remedy:
    """Return a remedy without some activations."""
    texts = []
    for one in applied:
        if one.is_argument:
            texts.append(f"activation=None in {one.layer}")
        else:
            texts.append(f"no {one.layer}, which applies {one.activation}")
    return Remedy(" and ".join(texts))


@rule(
    "unscaled targets",
    levels={"warning": ""},
    finds="targets of a distance whose standard deviation about their mean is above "
    f"{UNSCALED_TARGETS:g} times that of the outputs, or 1 if that is more; or below "
    f"{SMALL_TARGETS:g}, as returns of prices have",
    reason="outputs start at about 1, and Adam changes a weight by at most its rate in a step, so "
    "that it takes thousands of steps to reach the targets; the gradients of SGD are as much too "
    "large. Beside small targets the outputs that a network starts with, and each step, are noise",
    remedy="standardized targets",
)
def unscaled_targets(measured: Measurements) -> Iterator[Finding]:
    for layer, facts in measured.outputs:
        output = layer.output
        if facts.loss.kind != "distance" or output is None or output.blind_loss is None:
            continue
        # These have their own verdict, whose remedy scales them too.
        if facts.beyond > OUT_OF_REACH or output.loss_kind != "distance":
            continue
        ratio = output.blind_loss / max(facts.outputs.std, 1)
        are_small = 0 < output.blind_loss < SMALL_TARGETS
        if not ratio > UNSCALED_TARGETS and not are_small:
            continue
        evidence = (
            f"the targets of {layer.name} have standard deviation {output.blind_loss:.3g}, its "
            f"outputs {facts.outputs.std:.3g}"
        )
        remedy = Remedy("standardized targets: y = (y - y.mean(axis=0)) / y.std(axis=0)")
        yield Finding([layer], evidence, remedy)
    for layer, own in measured.own_losses:
        size = measured.objective.outputs.std if measured.objective else 1.0
        if not own.spread / max(size, 1) > UNSCALED_TARGETS:
            continue
        evidence = (
            f"the loss of {layer.name} reads targets with standard deviation {own.spread:.3g}, its "
            f"outputs have {size:.3g}"
        )
        remedy = Remedy(
            "standardized targets: y = (y - y.mean(axis=0)) / y.std(axis=0) for these columns"
        )
        yield Finding([layer], evidence, remedy)
