"""The rules about signals: what comes out of the layers."""

import itertools
from collections.abc import Iterable, Iterator, Sequence

from keras_initx.diagnostics._measurements import LayerReport, Measurements
from keras_initx.diagnostics._statistics import Signal
from keras_initx.diagnostics._thresholds import Thresholds
from keras_initx.diagnostics.rules._rule import Finding, rule
from keras_initx.diagnostics.rules._wording import (
    has_zeros,
    is_rescaled,
    names_of,
    normalization_of,
    number,
    others,
    root_mean_square,
    suggestion,
)


@rule(
    "exploding",
    levels={"error": "", "note": "if a normalization is right behind and all values are finite"},
    finds="a standard deviation above {exploding}, or a value that is not finite",
    reason="a thousand times that of the inputs, and enough for a softmax to be certain of anything",
    remedy="`HeNormal`, `GlorotUniform`",
    level_reason="the normalization divides by the scale; without it the loss and its gradients are as large",
)
def exploding(measured: Measurements) -> Iterator[Finding]:
    inputs, limit = measured.inputs, measured.thresholds.exploding
    large = {layer for layer in _with_enough_values(measured.layers, measured.thresholds) if _std(layer) > limit}
    hit = [layer for layer in measured.layers if _nonfinite(layer) or layer in large]
    harmless = [layer for layer in hit if is_rescaled(layer) and not _nonfinite(layer)]
    harmful = [layer for layer in hit if layer not in harmless]
    outside = inputs if inputs and (inputs.nonfinite or inputs.std > limit / 10) else None
    if harmful:
        lost = next((layer for layer in harmful if _nonfinite(layer)), None)
        evidence = _course(inputs, harmful, "grows")
        if lost:
            evidence += f"; {_nonfinite(lost):.0%} of what {lost.name} gives is not finite"
        yield Finding(names_of(harmful), evidence, _remedy(harmful[0], outside), "error")
    if harmless:
        evidence = _course(inputs, harmless, "grows") + normalization_of(harmless[0])
        yield Finding(names_of(harmless), evidence, _remedy(harmless[0], outside), "note")


@rule(
    "saturated",
    levels={"warning": ""},
    finds="more than {saturated} of the outputs within {saturation_margin} of a limit, as a share of the distance "
    "between the limits",
    reason="beyond 0.99 tanh has 2% of its gradient; inputs of standard deviation 1 take 1% of it there, 2.3 take a "
    "quarter",
    remedy="`GlorotUniform`, smaller inputs",
    level_reason="gradients are small where the activation is saturated, and the others undo it in time",
)
def saturated(measured: Measurements) -> Iterator[Finding]:
    hit = [
        layer
        for layer in _with_enough_values(measured.layers, measured.thresholds)
        # The gradient of a sigmoid at the end does not matter to a crossentropy.
        if (layer.saturated or 0) > measured.thresholds.saturated
        and not (layer.is_output and layer.activation == "sigmoid")
    ]
    if not hit:
        return
    worst = max(hit, key=lambda layer: layer.saturated or 0)
    before = f", its input has standard deviation {number(worst.before.std)}" if worst.before else ""
    inputs = measured.inputs
    outside = inputs if inputs and inputs.std > measured.thresholds.unscaled_inputs else None
    yield Finding(
        names_of(hit),
        f"{worst.saturated:.0%} of the outputs of {worst.name} are at the limits of {worst.activation}{before}"
        f"{others(hit)}: its gradient there is almost 0",
        _remedy(hit[0], outside),
    )


@rule(
    "saturated output",
    levels={"warning": ""},
    finds="a softmax or sigmoid at the end of the model that is certain of more than {saturated_output} of the "
    "examples: within `saturation_margin` of 1, a sigmoid also of 0",
    reason="with standardized inputs and the usual weights a softmax is certain of next to no example; where most are "
    "certain, the loss begins far above that of guessing, and the first steps only undo it",
    remedy="scaled inputs, smaller weights in the last layer",
    level_reason="gradients are small where the activation is saturated, and the others undo it in time",
)
def saturated_output(measured: Measurements) -> Iterator[Finding]:
    hit = [layer for layer in measured.layers if (layer.certain or 0) > measured.thresholds.saturated_output]
    if not hit:
        return
    worst = max(hit, key=lambda layer: layer.certain or 0)
    before = f", what comes before has standard deviation {number(worst.before.std)}" if worst.before else ""
    unscaled = any(
        layer.first_inputs and root_mean_square(layer.first_inputs) > measured.thresholds.unscaled_inputs
        for layer in measured.layers
    )
    first = "inputs of mean 0 and standard deviation 1, then " if unscaled else ""
    yield Finding(
        names_of(hit),
        f"{worst.name} is certain of {worst.certain:.0%} of its answers before any training{before}{others(hit)}: "
        "the loss begins far above that of guessing, and the first steps only undo it",
        f"{first}GlorotUniform() or smaller weights in the last layer",
    )


@rule(
    "dead units",
    levels={"warning": "", "error": "if all units of a layer are dead"},
    finds="more than {dead} of the units",
    reason="in a deep network the examples of a batch become alike, and symmetric weights then silence half of the "
    "units for all of them, by chance some more",
    remedy="`HeNormal` and `ReLUBias`",
    level_reason="the others learn; where there are none, the layers before get no gradient",
)
def dead(measured: Measurements) -> Iterator[Finding]:
    hit = [
        layer
        for layer in measured.layers
        if (layer.dead or 0) > measured.thresholds.dead
        and layer.shape
        and layer.shape[0] >= measured.thresholds.least_values
    ]
    if not hit:
        return
    worst = max(hit, key=lambda layer: layer.dead or 0)
    examples, before = (worst.shape or (0,))[0], worst.before or Signal()
    yield Finding(
        names_of(hit),
        f"{worst.dead:.0%} of the units of {worst.name} give 0 for all {examples} examples, their inputs have "
        f"mean {number(before.mean)} and standard deviation {number(before.std)}{others(hit)}: "
        "they get no gradient",
        "weights of mean 0 and a bias that is not negative: HeNormal() with bias_initializer=ReLUBias(0.01)",
        "error" if worst.dead == 1 else "warning",
    )


@rule(
    "vanishing",
    levels={"error": "", "note": "if no kernel gets too little because of it"},
    finds="a standard deviation below {vanishing} before the activation",
    reason="lost beside a bias that has taken its first step",
    remedy="`HeNormal`, `GlorotUniform`",
    level_reason="a small output does no harm where it is added to a larger one, or a normalization brings it back to "
    "size",
)
def vanishing(measured: Measurements) -> Iterator[Finding]:
    inputs, limit = measured.inputs, measured.thresholds.vanishing
    # What comes after a kernel of zeros is its effect, and named already.
    before_zeros = itertools.takewhile(lambda layer: not (layer.loses_signal and has_zeros(layer)), measured.layers)
    hit = [
        layer
        for layer in _with_enough_values(before_zeros, measured.thresholds)
        if _std(layer) < limit and not (has_zeros(layer) and layer.signal and layer.signal.zeros == 1)
    ]
    harmful = [layer for layer in hit if layer.loses_signal or layer.is_starved]
    harmless = [layer for layer in hit if layer not in harmful]
    outside = inputs if inputs and inputs.std < limit else None
    if harmful:
        yield Finding(names_of(harmful), _course(inputs, harmful, "falls"), _remedy(harmful[0], outside), "error")
    if harmless:
        evidence = f"{_course(inputs, harmless, 'falls')}; no layer behind gets too little because of it"
        yield Finding(names_of(harmless), evidence, _remedy(harmless[0], outside), "note")


def _std(layer: LayerReport) -> float:
    return layer.signal.std if layer.signal else 0.0


def _nonfinite(layer: LayerReport) -> float:
    return layer.signal.nonfinite if layer.signal else 0.0


def _with_enough_values(layers: Iterable[LayerReport], thresholds: Thresholds) -> list[LayerReport]:
    return [layer for layer in layers if layer.signal and layer.signal.size >= thresholds.least_values]


def _course(inputs: Signal | None, hit: Sequence[LayerReport], verb: str) -> str:
    """Say how the standard deviation goes from the inputs to the last of the layers that are named."""
    first, last = hit[0], hit[-1]
    start = f"from {number(inputs.std)} of the inputs " if inputs else ""
    text = f"the standard deviation {verb} {start}to {number(_std(first))} in {first.name}"
    if last is not first:
        text += f" and {number(_std(last))} in {last.name}"
    return text + others(hit)


def _remedy(layer: LayerReport, inputs: Signal | None) -> str:
    """Return the remedy that begins with `inputs` if these are the cause, otherwise `None`."""
    if inputs and inputs.nonfinite:
        return f"inputs that are finite ({inputs.nonfinite:.0%} of them are not), then {suggestion(layer)}"
    if inputs:
        return f"inputs of mean 0 and standard deviation 1 (theirs is {number(inputs.std)}), then {suggestion(layer)}"
    return f"{suggestion(layer)} in this and the layers before it"
