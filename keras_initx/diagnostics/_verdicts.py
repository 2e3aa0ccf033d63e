"""The rules by which what has been measured is judged, each with its evidence and a remedy."""

import itertools
import math
from dataclasses import dataclass

from keras_initx.diagnostics._report import LayerReport
from keras_initx.diagnostics._statistics import Signal
from keras_initx.initializers._checks import check_number

# Activations for which He's variance is right; the others get Glorot's.
_RELU_LIKE = {"relu", "relu6", "leaky_relu", "prelu", "elu", "gelu", "silu", "swish", "mish", "softplus"}


@dataclass(frozen=True)
class Thresholds:
    """Where a problem begins. All are arguments of `diagnose`, positive numbers.

    Args:
        vanishing: Standard deviation of a signal below which it has vanished. Inputs and weights that are made
            for each other keep it near 1, and what is a thousand times smaller is lost beside a bias that
            has taken its first step.
        exploding: Standard deviation above which a signal has exploded: a thousand times more than inputs have,
            and enough for a softmax to be certain of anything.
        vanishing_gradient: The gradient of the first layers over the largest gradient of a layer, below which the
            first layers do not learn. One learning rate cannot serve both.
        exploding_gradient: Norm of a layer's gradient above which a step of any usual length goes astray.
            Batch normalization makes it grow with depth: a ResNet-50 begins at a thousand, and trains.
        saturated: Share of saturated outputs above which an activation passes on too little. An input of
            standard deviation 1 saturates 1% of tanh, one of 2.3 a quarter.
        saturation_margin: How near a limit an output counts as saturated, as a share of the distance between
            the limits: beyond 0.99 for tanh, where 2% of the slope is left.
        dead: Share of units silent for the whole batch above which too few take part. Symmetric weights
            silence half at most, and by chance some more: in a deep network the examples of a batch become
            alike, and a unit is then on or off for all of them.
        wrong_fan: Factor between the standard deviation of a depthwise or transposed kernel and the one that its
            initializer stands for. Small kernels are off by chance, but not by so much.
        least_values: Number of values that a signal must have to be judged, and of examples to call units dead.

    Raises:
        TypeError: If a threshold is not a number.
        ValueError: If it is not positive.
    """

    vanishing: float = 1e-3
    exploding: float = 1e3
    vanishing_gradient: float = 1e-4
    exploding_gradient: float = 1e5
    saturated: float = 0.25
    saturation_margin: float = 0.005
    dead: float = 0.75
    wrong_fan: float = 1.5
    least_values: float = 16

    def __post_init__(self):
        for name, value in vars(self).items():
            check_number(name, value, positive=True)


@dataclass(frozen=True)
class Verdict:
    """A problem that was found.

    Attributes:
        problem: What it is: `"vanishing"`.
        layers: Names of the layers that have it.
        evidence: What has been measured.
        remedy: What to use instead.
    """

    problem: str
    layers: tuple[str, ...]
    evidence: str
    remedy: str


def judge(layers: list[LayerReport], inputs: Signal | None, thresholds: Thresholds) -> list[Verdict]:
    """Return a `Verdict` for each problem, causes before effects."""
    verdicts = (rule(layers, inputs, thresholds) for rule in _RULES)
    return [verdict for verdict in verdicts if verdict]


def _all_zero(layers, _inputs, _thresholds):
    hit = [(layer, weight) for layer in layers for weight in layer.weights if _is_zero(weight)]
    if not hit:
        return None
    return Verdict(
        "all-zero weights",
        _names(hit),
        f"all weights of {_list(hit)} are 0: units give the same output, and no gradient passes back through them",
        f"random weights: {_suggestion(hit[0][0])}; zeros are right only where they are meant, at the end of a "
        "residual branch or for the outputs",
    )


def _constant(layers, _inputs, _thresholds):
    hit = [(layer, weight) for layer in layers for weight in layer.weights if weight.constant and not _is_zero(weight)]
    if not hit:
        return None
    return Verdict(
        "constant weights",
        _names(hit),
        f"all weights of {_list(hit)} are the same, {_number(hit[0][1].mean)}{_first(hit)}: the units are one unit, "
        "and training changes them alike",
        f"random weights: {_suggestion(hit[0][0])}",
    )


def _identical_units(layers, _inputs, _thresholds):
    hit = [
        (layer, weight)
        for layer in layers
        for weight in layer.weights
        if weight.identical_units and not weight.constant
    ]
    if not hit:
        return None
    return Verdict(
        "identical units",
        _names(hit),
        f"{hit[0][1].identical_units} units of {_name(*hit[0])} have the very weights of another unit"
        f"{_and_others(hit)}: where they also go to the same weights, training changes them alike",
        f"independent random weights for each unit: {_suggestion(hit[0][0])}",
    )


def _twins(layers, _inputs, _thresholds):
    groups: dict = {}
    for layer in layers:
        for weight in layer.weights:
            if weight.digest:
                groups.setdefault(weight.digest, []).append((layer, weight))
    twins = [group for group in groups.values() if len(group) > 1]
    if not twins:
        return None
    return Verdict(
        "twin tensors",
        _names([pair for group in twins for pair in group]),
        "the same random values: " + "; ".join(_list(group, " = ") for group in twins[:3]) + _more(twins, 3),
        "an initializer of its own for each weight, without a seed or with a seed of its own: "
        'a string id, `kernel_initializer="initx.glorot_uniform"`, makes a new one for each layer',
    )


def _forget_bias(layers, _inputs, _thresholds):
    hit = [layer for layer in layers if layer.forget_bias_overwritten]
    if not hit:
        return None
    return Verdict(
        "forget bias overwritten",
        tuple(layer.name for layer in hit),
        f"{_join([layer.name for layer in hit])}: the bias initializer fills the other gates, but the forget gates "
        "are 1, because `unit_forget_bias=True` writes ones over what it gave",
        "unit_forget_bias=False with bias_initializer=LSTMForgetBias(1.0), 2.0 for a longer memory",
    )


def _wrong_fan(layers, _inputs, thresholds):
    hit = []
    for layer in layers:
        for weight in layer.weights:
            if weight.expected_std and not _within(weight.std / weight.expected_std, thresholds.wrong_fan):
                hit.append((layer, weight))
    if not hit:
        return None
    layer, weight = hit[0]
    input_axes, output_axes = (list(axes) for axes in weight.axes)
    return Verdict(
        "wrong fan",
        _names(hit),
        f"{_name(layer, weight)} has standard deviation {_number(weight.std)}; its initializer stands for "
        f"{_number(weight.expected_std)} with the {weight.fan_in} inputs that a unit has{_and_others(hit)}: "
        "from the shape of this kernel, inputs and outputs are counted wrongly",
        f"HeNormal(input_axes={input_axes}, output_axes={output_axes}), or another of its family with these axes",
    )


def _vanishing(layers, inputs, thresholds):
    # What comes after a kernel of zeros is its effect, and named already.
    before_zeros = itertools.takewhile(lambda layer: not any(map(_is_zero, layer.weights)), layers)
    hit = [layer for layer in _judged(before_zeros, thresholds) if layer.signal.std < thresholds.vanishing]
    if not hit:
        return None
    return Verdict(
        "vanishing",
        tuple(layer.name for layer in hit),
        _course(inputs, hit, "falls"),
        _signal_remedy(hit[0], inputs, inputs is not None and inputs.std < thresholds.vanishing),
    )


def _exploding(layers, inputs, thresholds):
    judged = _judged(layers, thresholds)
    hit = [
        layer
        for layer in layers
        if layer.signal and (layer.signal.nonfinite or (layer in judged and layer.signal.std > thresholds.exploding))
    ]
    if not hit:
        return None
    lost = next((layer for layer in hit if layer.signal.nonfinite), None)
    evidence = _course(inputs, hit, "grows")
    if lost:
        evidence += f"; {lost.signal.nonfinite:.0%} of what {lost.name} gives is not finite"
    outside = inputs is not None and (inputs.nonfinite or inputs.std > thresholds.exploding / 10)
    return Verdict("exploding", tuple(layer.name for layer in hit), evidence, _signal_remedy(hit[0], inputs, outside))


def _saturated(layers, inputs, thresholds):
    hit = [layer for layer in _judged(layers, thresholds) if (layer.saturated or 0) > thresholds.saturated]
    if not hit:
        return None
    worst = max(hit, key=lambda layer: layer.saturated)
    before = f", its input has standard deviation {_number(worst.before.std)}" if worst.before else ""
    outside = inputs is not None and inputs.std > 10
    return Verdict(
        "saturated",
        tuple(layer.name for layer in hit),
        f"{worst.saturated:.0%} of the outputs of {worst.name} are at the limits of {worst.activation}{before}"
        f"{_others(hit)}: almost no gradient passes",
        _signal_remedy(hit[0], inputs, outside),
    )


def _dead(layers, _inputs, thresholds):
    hit = [
        layer
        for layer in layers
        if (layer.dead or 0) > thresholds.dead and layer.shape and layer.shape[0] >= thresholds.least_values
    ]
    if not hit:
        return None
    worst = max(hit, key=lambda layer: layer.dead)
    return Verdict(
        "dead units",
        tuple(layer.name for layer in hit),
        f"{worst.dead:.0%} of the units of {worst.name} give 0 for all {worst.shape[0]} examples, their inputs have "
        f"mean {_number(worst.before.mean)} and standard deviation {_number(worst.before.std)}{_others(hit)}: "
        "they get no gradient",
        "weights of mean 0 and a bias that is not negative: HeNormal() with bias_initializer=ReLUBias(0.01)",
    )


def _vanishing_gradient(layers, _inputs, thresholds):
    trained = [layer for layer in layers if layer.gradient_norm is not None]
    largest = max((layer.gradient_norm for layer in trained), default=0)
    hit = []
    # Only the first layers count: all gradients to them pass through the others. Inside, a small gradient
    # need not mean anything, as that of the queries and keys of an attention that is still uniform.
    for layer in trained:
        if not layer.gradient_norm <= thresholds.vanishing_gradient * largest:
            break
        hit.append(layer)
    if any(_is_zero(weight) for layer in layers for weight in layer.weights):
        # Nothing passes back through zeros, which are named already.
        hit = [layer for layer in hit if layer.gradient_norm]
    if not hit or not math.isfinite(largest):
        return None
    strongest = max(trained, key=lambda layer: layer.gradient_norm)
    return Verdict(
        "vanishing gradient",
        tuple(layer.name for layer in hit),
        f"the gradient of {hit[0].name} has norm {_number(hit[0].gradient_norm)}, that of {strongest.name} "
        f"{_number(largest)}{_others(hit)}",
        f"{_suggestion(hit[0])} in all layers, or Orthogonal, which keeps lengths backward too; an activation that "
        "does not saturate",
    )


def _exploding_gradient(layers, _inputs, thresholds):
    hit = [
        layer
        for layer in layers
        if layer.gradient_norm is not None and not layer.gradient_norm <= thresholds.exploding_gradient
    ]
    if not hit:
        return None
    remedy = f"smaller weights: {_suggestion(hit[0])}, or Orthogonal, which keeps lengths backward too"
    if all(layer.signal is None or not layer.signal.nonfinite for layer in layers):
        remedy = "a loss that suits the outputs (`from_logits=True` where there is no softmax), or " + remedy
    return Verdict(
        "exploding gradient",
        tuple(layer.name for layer in hit),
        f"the gradient of {hit[0].name} has norm {_number(hit[0].gradient_norm)}{_others(hit)}",
        remedy,
    )


_RULES = (
    _all_zero,
    _constant,
    _identical_units,
    _twins,
    _forget_bias,
    _wrong_fan,
    _exploding,
    _saturated,
    _dead,
    _vanishing,
    _vanishing_gradient,
    _exploding_gradient,
)


def _is_zero(weight):
    return weight.constant and weight.zeros == 1


def _judged(layers, thresholds):
    return [layer for layer in layers if layer.signal and layer.signal.size >= thresholds.least_values]


def _within(ratio, factor):
    return 1 / factor <= ratio <= factor


def _course(inputs, hit, verb):
    """Say how the standard deviation goes from the inputs to the last of the layers that are named."""
    first, last = hit[0], hit[-1]
    start = f"from {_number(inputs.std)} of the inputs " if inputs else ""
    text = f"the standard deviation {verb} {start}to {_number(first.signal.std)} in {first.name}"
    if last is not first:
        text += f" and {_number(last.signal.std)} in {last.name}"
    return text + _others(hit)


def _signal_remedy(layer, inputs, inputs_are_outside):
    if inputs_are_outside and inputs.nonfinite:
        return f"inputs that are finite ({inputs.nonfinite:.0%} of them are not), then {_suggestion(layer)}"
    if inputs_are_outside:
        return f"inputs of mean 0 and standard deviation 1 (theirs is {_number(inputs.std)}), then {_suggestion(layer)}"
    return f"{_suggestion(layer)} in this and the layers before it"


def _suggestion(layer):
    """Return the initializer that suits the activation of `layer`."""
    if layer.activation == "selu":
        return "LecunNormal()"
    return "HeNormal()" if layer.activation in _RELU_LIKE else "GlorotUniform()"


def _names(pairs):
    return tuple(dict.fromkeys(layer.name for layer, _ in pairs))


def _name(layer, weight):
    return f"{layer.name}/{weight.name}"


def _list(pairs, between=", "):
    return _join([_name(*pair) for pair in pairs], between)


def _join(names, between=", "):
    return between.join(names[:4]) + _more(names, 4)


def _more(items, shown):
    return f" and {len(items) - shown} more" if len(items) > shown else ""


def _first(pairs):
    return f" in {_name(*pairs[0])}" if len(pairs) > 1 else ""


def _and_others(pairs):
    return f", and so in {len(pairs) - 1} more" if len(pairs) > 1 else ""


def _others(hit):
    return f" ({len(hit)} layers)" if len(hit) > 1 else ""


def _number(value):
    return f"{value:.3g}"
