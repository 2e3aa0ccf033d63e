"""The rules about signals: what comes out of the layers, and what goes back."""

import itertools
import math

from keras_initx.diagnostics._verdicts import Verdict
from keras_initx.diagnostics._wording import behind, number, others, rescaled, suggestion


def exploding(layers, inputs, thresholds):
    judged = _judged(layers, thresholds)
    hit = [
        layer
        for layer in layers
        if layer.signal and (layer.signal.nonfinite or (layer in judged and layer.signal.std > thresholds.exploding))
    ]
    harmless = [layer for layer in hit if rescaled(layer) and not layer.signal.nonfinite]
    harmful = [layer for layer in hit if layer not in harmless]
    outside = inputs is not None and (inputs.nonfinite or inputs.std > thresholds.exploding / 10)
    if harmful:
        lost = next((layer for layer in harmful if layer.signal.nonfinite), None)
        evidence = _course(inputs, harmful, "grows")
        if lost:
            evidence += f"; {lost.signal.nonfinite:.0%} of what {lost.name} gives is not finite"
        yield _size_verdict("exploding", harmful, evidence, inputs, outside, "error")
    if harmless:
        evidence = _course(inputs, harmless, "grows") + behind(harmless[0])
        yield _size_verdict("exploding", harmless, evidence, inputs, outside, "note")


def saturated(layers, inputs, thresholds):
    hit = [
        layer
        for layer in _judged(layers, thresholds)
        # The slope of a sigmoid at the end does not matter to a crossentropy.
        if (layer.saturated or 0) > thresholds.saturated and not (layer.is_output and layer.activation == "sigmoid")
    ]
    if not hit:
        return
    worst = max(hit, key=lambda layer: layer.saturated)
    before = f", its input has standard deviation {number(worst.before.std)}" if worst.before else ""
    outside = inputs is not None and inputs.std > thresholds.unscaled_inputs
    yield Verdict(
        "saturated",
        tuple(layer.name for layer in hit),
        f"{worst.saturated:.0%} of the outputs of {worst.name} are at the limits of {worst.activation}{before}"
        f"{others(hit)}: its slope there is almost 0",
        _signal_remedy(hit[0], inputs, outside),
    )


def dead(layers, _inputs, thresholds):
    hit = [
        layer
        for layer in layers
        if (layer.dead or 0) > thresholds.dead and layer.shape and layer.shape[0] >= thresholds.least_values
    ]
    if not hit:
        return
    worst = max(hit, key=lambda layer: layer.dead)
    yield Verdict(
        "dead units",
        tuple(layer.name for layer in hit),
        f"{worst.dead:.0%} of the units of {worst.name} give 0 for all {worst.shape[0]} examples, their inputs have "
        f"mean {number(worst.before.mean)} and standard deviation {number(worst.before.std)}{others(hit)}: "
        "they get no gradient",
        "weights of mean 0 and a bias that is not negative: HeNormal() with bias_initializer=ReLUBias(0.01)",
        "error" if worst.dead == 1 else "warning",
    )


def vanishing(layers, inputs, thresholds):
    # What comes after a kernel of zeros is its effect, and named already.
    before_zeros = itertools.takewhile(lambda layer: not (layer.loses_signal and _has_zeros(layer)), layers)
    hit = [
        layer
        for layer in _judged(before_zeros, thresholds)
        if layer.signal.std < thresholds.vanishing and not (_has_zeros(layer) and layer.signal.zeros == 1)
    ]
    harmful = [layer for layer in hit if layer.loses_signal or layer.is_starved]
    harmless = [layer for layer in hit if layer not in harmful]
    outside = inputs is not None and inputs.std < thresholds.vanishing
    if harmful:
        yield _size_verdict("vanishing", harmful, _course(inputs, harmful, "falls"), inputs, outside, "error")
    if harmless:
        evidence = f"{_course(inputs, harmless, 'falls')}; no layer behind gets too little because of it"
        yield _size_verdict("vanishing", harmless, evidence, inputs, outside, "note")


def vanishing_gradient(layers, _inputs, thresholds):
    trained = [layer for layer in layers if layer.gradient_norm is not None]
    largest = max((layer.gradient_norm for layer in trained), default=0)
    hit = []
    # Only the first layers count: all gradients to them pass through the others. Inside, a small gradient
    # need not mean anything, as that of the queries and keys of an attention that is still uniform.
    for layer in trained:
        if not layer.gradient_norm <= thresholds.vanishing_gradient * largest:
            break
        hit.append(layer)
    if any(map(_has_zeros, layers)):
        # Nothing passes back through zeros, which are named already.
        hit = [layer for layer in hit if layer.gradient_norm]
    if not hit or not math.isfinite(largest):
        return
    strongest = max(trained, key=lambda layer: layer.gradient_norm)
    evidence = (
        f"the gradient of {hit[0].name} has norm {number(hit[0].gradient_norm)}, that of {strongest.name} "
        f"{number(largest)}{others(hit)}"
    )
    yield Verdict(
        "vanishing gradient",
        tuple(layer.name for layer in hit),
        evidence if largest else f"all gradients are 0{others(hit)}",
        f"{suggestion(hit[0])} in all layers, or Orthogonal, which keeps lengths backward too; an activation that "
        "does not saturate",
        "warning" if largest else "error",
    )


def exploding_gradient(layers, _inputs, thresholds):
    hit = [
        layer
        for layer in layers
        if layer.gradient_norm is not None and not layer.gradient_norm <= thresholds.exploding_gradient
    ]
    if not hit:
        return
    remedy = f"smaller weights: {suggestion(hit[0])}, or Orthogonal, which keeps lengths backward too"
    if all(layer.signal is None or not layer.signal.nonfinite for layer in layers):
        remedy = "a loss that suits the outputs (`from_logits=True` where there is no softmax), or " + remedy
    yield Verdict(
        "exploding gradient",
        tuple(layer.name for layer in hit),
        f"the gradient of {hit[0].name} has norm {number(hit[0].gradient_norm)}{others(hit)}",
        remedy,
        "warning" if all(math.isfinite(layer.gradient_norm) for layer in hit) else "error",
    )


def _has_zeros(layer):
    return any(weight.zero for weight in layer.weights)


def _size_verdict(problem, hit, evidence, inputs, inputs_are_outside, level):
    names = tuple(layer.name for layer in hit)
    return Verdict(problem, names, evidence, _signal_remedy(hit[0], inputs, inputs_are_outside), level)


def _judged(layers, thresholds):
    return [layer for layer in layers if layer.signal and layer.signal.size >= thresholds.least_values]


def _course(inputs, hit, verb):
    """Say how the standard deviation goes from the inputs to the last of the layers that are named."""
    first, last = hit[0], hit[-1]
    start = f"from {number(inputs.std)} of the inputs " if inputs else ""
    text = f"the standard deviation {verb} {start}to {number(first.signal.std)} in {first.name}"
    if last is not first:
        text += f" and {number(last.signal.std)} in {last.name}"
    return text + others(hit)


def _signal_remedy(layer, inputs, inputs_are_outside):
    if inputs_are_outside and inputs.nonfinite:
        return f"inputs that are finite ({inputs.nonfinite:.0%} of them are not), then {suggestion(layer)}"
    if inputs_are_outside:
        return f"inputs of mean 0 and standard deviation 1 (theirs is {number(inputs.std)}), then {suggestion(layer)}"
    return f"{suggestion(layer)} in this and the layers before it"
