"""The decorator for rules: functions that find one problem; and what rules share."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from keras_initx.diagnostics._measure import LayerReport, Measurements
from keras_initx.diagnostics._outputs import OutputFacts
from keras_initx.diagnostics._signal import Signal
from keras_initx.diagnostics._verdicts import Level, Verdict
from keras_initx.diagnostics._weights import WeightReport
from keras_initx.initializers import default_axes
from keras_initx.structure import is_bounded

_Hit = TypeVar("_Hit")


@dataclass(frozen=True)
class Finding:
    """A `Verdict` without the name of the problem, which is that of the rule.

    Attributes:
        layers: The affected layers, whose names are those of the `Verdict`.
        evidence: See `Verdict`.
        remedy: See `Verdict`.
        level: See `Verdict`.
    """

    layers: Sequence[LayerReport]
    evidence: str
    remedy: str
    level: Level = "warning"


_Check = Callable[[Measurements], Iterator[Finding]]


@dataclass(frozen=True)
class Rule:
    """A function that finds one problem.

    The other attributes are Markdown texts for the documentation.

    Attributes:
        problem: Name of the problem.
        levels: Dict from each possible level to its condition; `""` means whenever no other
            applies.
        finds: What the rule reports. `{vanishing}` is replaced by the threshold of this name and
            its default.
        reason: Why this is a problem, at this threshold and of these levels.
        remedy: How to fix it.
        check: The function, which takes measurements and yields a `Finding` for each level.
    """

    problem: str
    levels: Mapping[Level, str]
    finds: str
    reason: str
    remedy: str
    check: _Check

    def verdicts(self, measured: Measurements) -> Iterator[Verdict]:
        """Yield the verdicts on the measurements."""
        for found in self.check(measured):
            names = names_of(found.layers)
            yield Verdict(self.problem, names, found.evidence, found.remedy, found.level)


def rule(
    problem: str, *, levels: Mapping[Level, str], finds: str, reason: str, remedy: str
) -> Callable[[_Check], Rule]:
    """Turn a function into a rule. Arguments are the attributes of `Rule`."""

    def decorate(check: _Check) -> Rule:
        return Rule(problem, levels, finds, reason, remedy, check)

    return decorate


def names_of(layers: Sequence[LayerReport]) -> tuple[str, ...]:
    """Return the names of layers, without repeats."""
    return tuple(dict.fromkeys(layer.name for layer in layers))


def by_level(
    hit: Iterable[_Hit], level: Level, does_harm: Callable[[_Hit], object]
) -> list[tuple[Level, list[_Hit]]]:
    """Return what does harm with its `level`, then the others with that of a note.

    There is no group without members.
    """
    harmful: list[_Hit] = []
    harmless: list[_Hit] = []
    for one in hit:
        if does_harm(one):
            harmful.append(one)
        else:
            harmless.append(one)
    groups: list[tuple[Level, list[_Hit]]] = []
    if harmful:
        groups.append((level, harmful))
    if harmless:
        groups.append(("note", harmless))
    return groups


def exceeds(value: float | None, limit: float) -> bool:
    """Return whether a measurement was made and is above `limit`."""
    return value is not None and bool(value > limit)


def signal_of(layer: LayerReport) -> Signal:
    """Return the signal before the activation or of the output.

    It is an empty one if neither is accessible.
    """
    return layer.signal or Signal()


def inputs_of(layer: LayerReport) -> Signal:
    """Return the inputs of `layer` from outside the model, an empty signal if it has none."""
    return layer.first_inputs or Signal()


def root_mean_square(signal: Signal) -> float:
    """Return the root mean square of the finite values of `signal`."""
    return math.hypot(signal.mean, signal.std)


def has_unscaled_inputs(layer: LayerReport, measured: Measurements) -> bool:
    """Return whether `layer` gets inputs from outside the model that are too large."""
    limit = measured.thresholds.unscaled_inputs
    return bool(root_mean_square(inputs_of(layer)) > limit) or has_uneven_inputs(layer, measured)


def has_uneven_inputs(layer: LayerReport, measured: Measurements) -> bool:
    """Return whether a single one of the inputs from outside the model is too large."""
    if layer.largest_input is None:
        return False
    return bool(layer.largest_input[1] > measured.thresholds.unscaled_inputs)


def inputs_first(measured: Measurements) -> str:
    """Return the start of a remedy, empty unless inputs from outside the model are too large."""
    if any(has_unscaled_inputs(layer, measured) for layer in measured.layers):
        return "standardize the inputs, then "
    return ""


def gradient_norms(measured: Measurements) -> list[tuple[LayerReport, float]]:
    """Return the layers with trainable weights, each with the norm of its gradient."""
    norms = []
    for layer in measured.layers:
        if layer.gradient_norm is not None:
            norms.append((layer, layer.gradient_norm))
    return norms


def has_zeros(layer: LayerReport) -> bool:
    """Return whether a kernel, or the scale of a normalization, is all 0."""
    return any(weight.zero for weight in layer.weights)


def layer_count(layers: Sequence[LayerReport]) -> str:
    """Return the number of layers in parentheses if there are several."""
    if len(layers) < 2:
        return ""
    return f" ({len(layers)} layers)"


def is_rescaled(layer: LayerReport) -> bool:
    """Return whether a normalization is the only consumer of `layer`.

    Then the scale of its output does not matter.
    """
    return layer.normalized_by is not None and not is_bounded(layer.activation)


def is_gate(layer: LayerReport, measured: Measurements) -> bool:
    """Return whether `layer` learns, but what is before it does not yet.

    That is because it still adds little to a larger signal, as ReZero does.
    """
    if layer.loses_signal or layer.is_starved or layer.is_output:
        return False
    if layer.signal is None or not layer.signal.std < measured.thresholds.vanishing:
        return False
    return any(weight.gradient for weight in layer.weights if weight.name != "bias")


def normalization_of(layer: LayerReport) -> str:
    """Return a phrase with the normalization that makes the output scale of `layer` harmless."""
    return f"; {layer.normalized_by} directly after {layer.name} normalizes this scale"


# Remedies by the gate of which a layer has a bias.
OPEN_GATES = {
    "forget": "unit_forget_bias=False with bias_initializer=keras_initx.LSTMForgetBias(1.0)",
    "update": "bias_initializer=keras_initx.GRUUpdateBias(1.0)",
}
LSUV = "keras_initx.lsuv(model, x)"
# For activations whose signals no initializer keeps at one size in depth. Normalization before each
# of them does too, but forty such layers of GELU do not train. After LSUV they do not with SGD.
SCALED = f"{LSUV}, and train with Adam"

# Activations for which He initialization is suitable.
_RELU_LIKE = (
    "celu",
    "elu",
    "gelu",
    "hard_silu",
    "leaky_relu",
    "mish",
    "prelu",
    "relu",
    "relu6",
    "silu",
    "softplus",
    "swish",
)
# Of these, those that no gain keeps at one size in depth.
_UNSTABLE = ("gelu", "hard_silu", "mish", "silu", "swish")
# The number of kernels from which on the guide on choosing an initializer calls a network deep.
_DEEP = 10


def suggestion(layer: LayerReport, weight: WeightReport) -> str:
    """Return an initializer for a kernel of `layer` that suits its activation, as an expression."""
    arguments = ""
    # `EinsumDense` passes its axes on by itself.
    if weight.axes not in (None, default_axes(len(weight.shape))) and layer.kind != "EinsumDense":
        inputs, outputs = weight.axes
        arguments = f"input_axes={list(inputs)}, output_axes={list(outputs)}"
    if is_steep(layer):
        return _for_steep([layer], arguments)
    return f"keras_initx.{_suitable(activation_after(layer))}({arguments})"


def suggestion_for_all(layers: Sequence[LayerReport], measured: Measurements) -> str:
    """Return what keeps a signal in all of `layers`, the last of which is affected."""
    if any(map(is_steep, layers)):
        return _for_steep(layers)
    activation = activation_after(layers[-1]) or common_activation(layers)
    if sum(map(has_kernel, measured.layers)) < _DEEP:
        return f"keras_initx.{_suitable(activation)}()"
    return suggestion_in_depth(layers, activation)


def suggestion_in_depth(layers: Sequence[LayerReport], activation: str | None) -> str:
    """Return what keeps signals and gradients in `layers` of this activation, however many."""
    if any(map(is_steep, layers)):
        return _for_steep(layers)
    if activation in _UNSTABLE:
        return SCALED
    suitable = f"keras_initx.{_suitable(activation)}()"
    # The gain of softplus keeps signals only.
    if activation == "softplus" or _loss_by_widening(layers) > 10:
        return suitable
    gain = ""
    if activation in _RELU_LIKE:
        # The slope of PReLU starts at 0.
        gain = 'gain="relu"' if activation == "prelu" else f'gain="{activation}"'
    return f"keras_initx.Orthogonal({gain}) or {suitable}"


def is_steep(layer: LayerReport) -> bool:
    """Return whether an activation of slopes that Keras' do not have follows the kernel."""
    return layer.slopes is not None and layer.slopes[1] > 2


def _for_steep(layers: Sequence[LayerReport], arguments: str = "") -> str:
    """Return what suits the steepest activation, by the rule of Sitzmann and others (2020)."""
    largest = 0.0
    for layer in layers:
        if layer.slopes is not None:
            largest = max(largest, layer.slopes[1])
    options = f'2 / {largest:.2g}**2, distribution="uniform"'
    if arguments:
        options += f", {arguments}"
    return f"keras_initx.VarianceScaling({options})"


# Activations whose slope is so small that gradients vanish with any weights.
_FLAT = ("hard_sigmoid", "sigmoid")


def remedy_in_depth(layers: Sequence[LayerReport]) -> str:
    """Return the remedy where gradients, or the differences of examples, vanish in `layers`."""
    activation = common_activation(layers)
    if activation in _FLAT:
        return (
            f'activation="tanh" with keras_initx.GlorotUniform() instead of {activation}, or '
            "keras.layers.BatchNormalization() before it: its slope is at most 1/4, which no "
            "initializer makes up for"
        )
    if activation == "softplus":
        return (
            "keras.layers.BatchNormalization() before each softplus, whose mean makes examples "
            "alike with any initializer"
        )
    initializers = suggestion_in_depth(layers, activation)
    if initializers == SCALED:
        return SCALED
    if has_large_biases(layers):
        initializers = f'bias_initializer="zeros" and {initializers}'
    return f"{initializers} in all layers"


def has_large_biases(layers: Sequence[LayerReport]) -> bool:
    """Return whether biases are as large as what kernels give, so that these hardly count."""
    for layer in layers:
        for weight in layer.weights:
            if weight.name == "bias" and weight.norm > math.sqrt(math.prod(weight.shape)) / 2:
                return True
    return False


RECURRENT = "recurrent_initializer=keras_initx.Orthogonal()"


def has_growing_state(layer: LayerReport, measured: Measurements) -> bool:
    """Return whether the recurrent kernel of `layer` makes a state larger in each step."""
    if layer.recurrent_gains is None:
        return False
    mean, _ = layer.recurrent_gains
    return mean > measured.thresholds.recurrent_gain


def branch_zeros(measured: Measurements) -> str | None:
    """Return the remedy where the sum of residual branches grows, `None` without branches."""
    ends = [layer for layer in measured.layers if layer.ends_branch]
    if not ends:
        return None
    return (
        'kernel_initializer="zeros" in the last layer of each residual branch: '
        f"{listed(names_of(ends))}"
    )


def growing_sums(measured: Measurements) -> str | None:
    """Return the remedy where a signal grows by the sum of branches alone, otherwise `None`.

    Then no kernel makes it much larger.
    """
    zeros = branch_zeros(measured)
    if zeros is None or any(exceeds(layer.gain, 2) for layer in measured.layers):
        return None
    return f"{zeros}; or a normalization at the start of each branch"


def listed(names: Sequence[str], between: str = ", ", shown: int = 4) -> str:
    """Return the first names, and the number of the others."""
    text = between.join(names[:shown])
    if len(names) > shown:
        text += f" and {len(names) - shown} more"
    return text


def common_activation(layers: Sequence[LayerReport]) -> str | None:
    """Return the most common activation of the layers with a kernel, or of all if none has one."""
    with_kernel = [layer for layer in layers if has_kernel(layer)]
    activations = [activation_after(layer) for layer in with_kernel or layers]
    return max(activations, key=activations.count)


def activation_after(layer: LayerReport) -> str | None:
    """Return the activation that is applied to the output of the kernel of `layer`."""
    return layer.activation or layer.activated_by


def has_kernel(layer: LayerReport) -> bool:
    return any(weight.axes for weight in layer.weights)


def _loss_by_widening(layers: Sequence[LayerReport]) -> float:
    """Return the factor by which orthogonal kernels with more units than inputs shrink a signal."""
    factor = 1.0
    for layer in layers:
        for weight in layer.weights:
            if weight.fan_in and weight.axes == default_axes(len(weight.shape)):
                factor *= math.sqrt(max(1.0, weight.shape[-1] / weight.fan_in))
    return factor


def _suitable(activation: str | None) -> str:
    """Return the name of an initializer that suits an activation."""
    if activation == "selu":
        return "LecunNormal"
    if activation in _RELU_LIKE:
        return "HeNormal"
    return "GlorotUniform"


def gives_one_class(layer: LayerReport, measured: Measurements) -> bool:
    """Return whether `layer` makes an output of the model that is a probability of a single class.

    Then it is always 1.
    """
    if layer.is_output and layer.activation == "softmax":
        return layer.shape is not None and layer.shape[-1] == 1
    for other, facts in measured.outputs:
        if other is layer and facts.units == 1 and facts.loss.kind in ("categorical", "sparse"):
            return True
    return False


def has_probabilities_as_logits(facts: OutputFacts) -> bool:
    """Return whether a loss takes probabilities for logits."""
    if facts.loss.kind == "distance" or not facts.loss.from_logits:
        return False
    if facts.loss.kind == "binary":
        return facts.activation in ("hard_sigmoid", "sigmoid", "softmax")
    return facts.sums_to_one


def has_no_probabilities(facts: OutputFacts) -> bool:
    """Return whether a loss takes for probabilities what is none."""
    if facts.loss.kind == "distance" or facts.loss.from_logits:
        return False
    # Without an activation these are logits, even if those of this batch lie between 0 and 1.
    if facts.activation == "linear":
        return True
    # 16 bits round.
    is_beyond = facts.outputs.min < -1e-2
    if facts.loss.kind == "binary":
        return is_beyond or facts.outputs.max > 1.01 or facts.activation == "relu"
    # A row of positive numbers is divided by its sum, as of softplus.
    return is_beyond or (facts.units > 1 and facts.activation in ("relu", "sigmoid"))


def is_misread(layer: LayerReport, measured: Measurements) -> bool:
    """Return whether the loss does not take the output of `layer` for what it is."""
    if gives_one_class(layer, measured):
        return True
    for other, facts in measured.outputs:
        if other is layer and (has_probabilities_as_logits(facts) or has_no_probabilities(facts)):
            return True
    return False


STANDARDIZED_TARGETS = "standardized targets, or a bias of the last layer at their mean"


def misses_targets(layer: LayerReport) -> bool:
    """Return whether errors are beyond the outputs, so that they are due to the targets."""
    size = layer.output_size
    if size is None:
        size = root_mean_square(signal_of(layer))
    return layer.loss_kind != "crossentropy" and exceeds(layer.loss, 2 * size)


def batch_of_one(measured: Measurements) -> str | None:
    """Return the remedy where a batch normalization got a single example, otherwise `None`.

    It then gives its offset whatever the weights are.
    """
    for layer in measured.layers:
        is_of_one = layer.kind == "BatchNormalization" and layer.shape and layer.shape[0] == 1
        if is_of_one and signal_of(layer).std == 0:
            return f"a batch of several examples, because {layer.name} normalizes over them"
    return None
