"""Targets of a distance, or probabilities: whether the outputs can reach them, and their scale."""

import math
from collections.abc import Iterator, Sequence

from keras_initx.diagnostics._diagnosis import Diagnosis
from keras_initx.diagnostics._layers import LayerReport, pairs_for
from keras_initx.diagnostics._output_probe import LossProbe, OutputProbe, outputs
from keras_initx.diagnostics._outputs import Applied, OutputFacts, reach_alone
from keras_initx.diagnostics._remedy import Remedy
from keras_initx.diagnostics._rules import Finding, rule
from keras_initx.diagnostics.verdicts.outputs import other_activation

# Fraction of the targets beyond the range of the last activation above which a distance cannot
# become small.
OUT_OF_REACH = 0.1
# Factor between the standard deviation of the targets of a distance and that of the outputs, or 1
# if that is more, above which the targets are not scaled.
UNSCALED_TARGETS = 500
# Standard deviation of the targets of a distance below which they are not scaled.
SMALL_TARGETS = 0.02


@rule(
    "unreachable targets",
    beside=["single class", "no probabilities"],
    levels={"warning": ""},
    finds=f"a fraction above {OUT_OF_REACH:g} of the targets beyond the range of the activations "
    "after the last kernel, one after the other, or of the rows that do not add up to 1 for a "
    "softmax with a distance or a binary crossentropy. For a crossentropy these are labels more "
    "than 0.25 from any probability in range",
    reason="the loss cannot become small, and the activation is driven to its limit, where it has "
    "no gradient. A ReLU before a sigmoid gives 0.5 to 1",
    remedy="no activation in the last layer, one instead of two, or scaled targets",
)
def unreachable_targets(of: Diagnosis, layers: list[LayerReport]) -> Iterator[Finding]:
    for layer, facts in pairs_for(layers, of.probe(LossProbe).read, of):
        if facts.sum_beyond > OUT_OF_REACH >= facts.beyond:
            evidence = (
                f"{facts.sum_beyond:.0%} of the rows of targets do not add up to 1, but those of "
                f"{layer.title} do"
            )
            remedy = other_activation("sigmoid", layer, "binary_crossentropy", facts)
            yield Finding([layer], evidence, remedy)
        if not facts.beyond > OUT_OF_REACH:
            continue
        low, high = facts.reach
        names = ", then ".join(applied.activation for applied in facts.applied) or layer.title
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
        if facts.form == "numbers" and facts.loss.kind != "distance":
            evidence = f"no label can become certain: {reach}"
        yield Finding([layer], evidence, _in_reach(layer, facts))


def _in_reach(layer: LayerReport, facts: OutputFacts) -> Remedy:
    """Return the remedy where targets are beyond the activations of an output."""
    low, high = facts.reach
    if not facts.applied:
        return Remedy(f"no limit in what follows the weights of {layer.title}")
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
    beside=["single class", "unreachable targets"],
    levels={"warning": ""},
    finds="targets of a distance whose standard deviation about their mean is above "
    f"{UNSCALED_TARGETS:g} times that of the outputs, or 1 if that is more; or below "
    f"{SMALL_TARGETS:g}, as returns of prices have",
    reason="outputs start at about 1, and Adam changes a weight by at most its rate in a step, so "
    "that it takes thousands of steps to reach the targets; the gradients of SGD are as much too "
    "large. Beside small targets the outputs that a network starts with, and each step, are noise",
    remedy="standardized targets",
)
def unscaled_targets(of: Diagnosis, layers: list[LayerReport]) -> Iterator[Finding]:
    losses = of.probe(LossProbe)
    standardized = "standardized targets: y = (y - y.mean(axis=0)) / y.std(axis=0)"
    for layer, facts in pairs_for(layers, losses.read, of):
        record = outputs(of).get(layer.name)
        if record is None or not facts.loss.kind == record.loss_kind == "distance":
            continue
        deviation = record.blind_loss or 0.0
        are_large = deviation / max(facts.outputs.std, 1) > UNSCALED_TARGETS
        are_small = 0 < deviation < SMALL_TARGETS
        if are_large or are_small:
            evidence = (
                f"the targets of {layer.title} have standard deviation {deviation:.3g}, its "
                f"outputs {facts.outputs.std:.3g}"
            )
            yield Finding([layer], evidence, Remedy(standardized))
    signal = of.probe(OutputProbe).signal
    size = 1.0 if signal is None else signal.std
    for layer, own in pairs_for(layers, losses.own, of):
        if own.spread / max(size, 1) > UNSCALED_TARGETS:
            evidence = (
                f"the loss of {layer.title} reads targets with standard deviation "
                f"{own.spread:.3g}, its outputs have {size:.3g}"
            )
            yield Finding([layer], evidence, Remedy(f"{standardized} for these columns"))
