"""The decorator for rules: functions that find one problem; and what rules share."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from keras_initx.diagnostics._measure import LayerReport, Measurements
from keras_initx.diagnostics._signal import Signal
from keras_initx.diagnostics._verdicts import Level, Verdict
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
    """A function that finds one problem. The other attributes are Markdown texts for the documentation.

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
            yield Verdict(
                self.problem, names_of(found.layers), found.evidence, found.remedy, found.level
            )


def rule(
    problem: str, *, levels: Mapping[Level, str], finds: str, reason: str, remedy: str
) -> Callable[[_Check], Rule]:
    """Turn a function into a rule. Arguments are the attributes of `Rule`."""
    return lambda check: Rule(problem, levels, finds, reason, remedy, check)


def names_of(layers: Sequence[LayerReport]) -> tuple[str, ...]:
    """Return the names of layers, without repeats."""
    return tuple(dict.fromkeys(layer.name for layer in layers))


def by_level(
    hit: Iterable[_Hit], level: Level, does_harm: Callable[[_Hit], object]
) -> list[tuple[Level, list[_Hit]]]:
    """Return what does harm with its `level`, then the others with that of a note, without empty groups."""
    groups: dict[Level, list[_Hit]] = {level: [], "note": []}
    for one in hit:
        groups[level if does_harm(one) else "note"].append(one)
    return [(level, group) for level, group in groups.items() if group]


def signal_of(layer: LayerReport) -> Signal:
    """Return the signal before the activation or of the output, an empty one if neither is accessible."""
    return layer.signal or Signal()


def inputs_of(layer: LayerReport) -> Signal:
    """Return the inputs of `layer` from outside the model, an empty signal if it has none."""
    return layer.first_inputs or Signal()


def root_mean_square(signal: Signal) -> float:
    """Return the root mean square of the finite values of `signal`."""
    return math.hypot(signal.mean, signal.std)


def has_unscaled_inputs(layer: LayerReport, measured: Measurements) -> bool:
    """Return whether `layer` gets inputs from outside the model that are too large."""
    return bool(root_mean_square(inputs_of(layer)) > measured.thresholds.unscaled_inputs)


def inputs_first(measured: Measurements) -> str:
    """Return the start of a remedy, empty unless inputs from outside the model are too large."""
    if any(has_unscaled_inputs(layer, measured) for layer in measured.layers):
        return "standardize the inputs, then "
    return ""


def gradient_norms(measured: Measurements) -> list[tuple[LayerReport, float]]:
    """Return the layers with trainable weights, each with the norm of its gradient."""
    return [
        (layer, layer.gradient_norm) for layer in measured.layers if layer.gradient_norm is not None
    ]


def has_zeros(layer: LayerReport) -> bool:
    """Return whether a kernel, or the scale of a normalization, is all 0."""
    return any(weight.zero for weight in layer.weights)


def layer_count(layers: Sequence[LayerReport]) -> str:
    """Return the number of layers in parentheses if there are several."""
    return f" ({len(layers)} layers)" if len(layers) > 1 else ""


def is_rescaled(layer: LayerReport) -> bool:
    """Return whether a normalization is the only consumer of `layer`, so that the scale does not matter."""
    return layer.normalized_by is not None and not is_bounded(layer.activation)


def is_gate(layer: LayerReport, measured: Measurements) -> bool:
    """Return whether `layer` learns, but adds so little to a larger signal yet that what is before it does not."""
    is_small = layer.signal is not None and layer.signal.std < measured.thresholds.vanishing
    learns = any(weight.gradient for weight in layer.weights if weight.name != "bias")
    return is_small and learns and not (layer.loses_signal or layer.is_starved or layer.is_output)


def normalization_of(layer: LayerReport) -> str:
    """Return a phrase with the normalization that makes the output scale of `layer` harmless."""
    return f"; {layer.normalized_by} directly after {layer.name} normalizes this scale"


# Activations for which He initialization is suitable.
_RELU_LIKE = {
    *("relu", "relu6", "leaky_relu", "prelu", "celu", "elu"),
    *("gelu", "hard_silu", "silu", "swish", "mish", "softplus"),
}


def suggestion(layer: LayerReport) -> str:
    """Return a suitable initializer for the activation of `layer`, as text."""
    activation = layer.activation or layer.activated_by
    if activation == "selu":
        return "LecunNormal()"
    return "HeNormal()" if activation in _RELU_LIKE else "GlorotUniform()"


STANDARDIZED_TARGETS = "standardized targets, or a bias of the last layer at their mean"


def misses_targets(layer: LayerReport) -> bool:
    """Return whether errors are beyond the outputs, so that they are due to the targets."""
    return bool((layer.loss or 0) > 2 * math.hypot(signal_of(layer).mean, signal_of(layer).std))
