"""The rules about both ends of a model: what goes in, and what comes out."""

import math

from keras_initx.diagnostics._verdicts import Verdict
from keras_initx.diagnostics._wording import behind, number, others, rescaled


def unscaled_inputs(layers, _inputs, thresholds):
    hit = [
        layer
        for layer in layers
        if layer.first_inputs
        and layer.first_inputs.size >= thresholds.least_values
        and _size(layer.first_inputs) > thresholds.unscaled_inputs
    ]
    harmless = [layer for layer in hit if rescaled(layer)]
    harmful = [layer for layer in hit if not rescaled(layer)]
    if harmful:
        yield _unscaled(harmful, "warning", ": weights are made for inputs of standard deviation 1")
    if harmless:
        yield _unscaled(harmless, "note", behind(harmless[0]))


def _unscaled(hit, level, reason):
    signal = hit[0].first_inputs
    return Verdict(
        "unscaled inputs",
        tuple(layer.name for layer in hit),
        f"{hit[0].name} gets inputs from {number(signal.low)} to {number(signal.high)}, of mean {number(signal.mean)} "
        f"and standard deviation {number(signal.std)}{others(hit)}{reason}",
        "inputs of mean 0 and standard deviation 1: keras.layers.Normalization() adapted to the data, or "
        "keras.layers.Rescaling(1 / 127.5, offset=-1) for images from 0 to 255",
        level,
    )


def _size(signal):
    return math.hypot(signal.mean, signal.std)


def saturated_output(layers, inputs, thresholds):
    hit = [layer for layer in layers if (layer.certain or 0) > thresholds.saturated_output]
    if not hit:
        return
    worst = max(hit, key=lambda layer: layer.certain)
    before = f", what comes before has standard deviation {number(worst.before.std)}" if worst.before else ""
    unscaled = any(layer.first_inputs and _size(layer.first_inputs) > thresholds.unscaled_inputs for layer in layers)
    first = "inputs of mean 0 and standard deviation 1, then " if unscaled else ""
    yield Verdict(
        "saturated output",
        tuple(layer.name for layer in hit),
        f"{worst.name} is certain of {worst.certain:.0%} of its answers before any training{before}{others(hit)}: "
        "the loss begins far above that of guessing, and the first steps only undo it",
        f"{first}GlorotUniform() or smaller weights in the last layer",
    )
