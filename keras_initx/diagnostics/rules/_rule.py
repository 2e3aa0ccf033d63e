"""The decorator for rules: functions that find one problem; and the wording that they share."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from keras_initx.diagnostics._layers import is_bounded, suitable_initializer
from keras_initx.diagnostics._measure import LayerReport, Measurements
from keras_initx.diagnostics._signal import Signal
from keras_initx.diagnostics._verdicts import Level, Verdict
from keras_initx.diagnostics._weights import WeightReport

Pair: TypeAlias = tuple[LayerReport, WeightReport]


def pairs_of(measured: Measurements) -> list[Pair]:
    """Return all pairs of a layer and one of its weights."""
    return [(layer, weight) for layer in measured.layers for weight in layer.weights]


def names_of(layers: Sequence[LayerReport]) -> tuple[str, ...]:
    """Return the names of layers, without repeats."""
    return tuple(dict.fromkeys(layer.name for layer in layers))


def layer_names(pairs: Sequence[Pair]) -> tuple[str, ...]:
    """Return the names of the layers in pairs of a layer and a weight, without repeats."""
    return names_of([layer for layer, _ in pairs])


def weight_name(layer: LayerReport, weight: WeightReport) -> str:
    """Return the name of a weight, prefixed with that of its layer."""
    return f"{layer.name}/{weight.name}"


def weight_names(pairs: Sequence[Pair], between: str = ", ") -> str:
    """Return the names of the first few weights."""
    return join_names([weight_name(*pair) for pair in pairs], between)


def join_names(names: Sequence[str], between: str = ", ") -> str:
    """Return the first few names."""
    return between.join(names[:4]) + and_more(names, 4)


def and_more(items: Sequence[object], shown: int) -> str:
    """Return a phrase with the number of `items` beyond those `shown`."""
    return f" and {len(items) - shown} more" if len(items) > shown else ""


def in_first(pairs: Sequence[Pair]) -> str:
    """Return a phrase with the name of the first weight if there are several."""
    return f" in {weight_name(*pairs[0])}" if len(pairs) > 1 else ""


def and_others(pairs: Sequence[Pair]) -> str:
    """Return a phrase with the number of other weights."""
    return f", and {len(pairs) - 1} more weights" if len(pairs) > 1 else ""


def others(layers: Sequence[LayerReport]) -> str:
    """Return a phrase with the number of layers if there are several."""
    return f" ({len(layers)} layers)" if len(layers) > 1 else ""


def number(value: float) -> str:
    """Format a number with three digits."""
    return f"{value:.3g}"


def root_mean_square(signal: Signal) -> float:
    """Return the root mean square of a signal."""
    return math.hypot(signal.mean, signal.std)


def is_rescaled(layer: LayerReport) -> bool:
    """Return whether a normalization is the only consumer of `layer`, so that the scale does not matter."""
    return layer.normalized_by is not None and not is_bounded(layer.activation)


def normalization_of(layer: LayerReport) -> str:
    """Return a phrase with the normalization that makes the output scale of `layer` harmless."""
    return f"; {layer.normalized_by} directly after {layer.name} normalizes this scale"


def has_zeros(layer: LayerReport) -> bool:
    """Return whether a kernel, or the scale of a normalization, is all 0."""
    return any(weight.zero for weight in layer.weights)


def suggestion(layer: LayerReport) -> str:
    """Return a suitable initializer for `layer`, as text."""
    return suitable_initializer(layer.activation)


@dataclass(frozen=True)
class Finding:
    """A `Verdict` without the name of the problem, which is that of the rule.

    Attributes:
        layers: See `Verdict`.
        evidence: See `Verdict`.
        remedy: See `Verdict`.
        level: See `Verdict`. `None` means the first level of the rule.
    """

    layers: tuple[str, ...]
    evidence: str
    remedy: str
    level: Level | None = None


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
        reason: Why this is a problem, and why at this threshold.
        remedy: How to fix it.
        level_reason: Why it has these levels.
        check: The function, which takes measurements and yields a `Finding` for each level.
    """

    problem: str
    levels: Mapping[Level, str]
    finds: str
    reason: str
    remedy: str
    level_reason: str
    check: _Check

    def verdicts(self, measured: Measurements) -> Iterator[Verdict]:
        """Yield the verdicts on the measurements."""
        first, *_ = self.levels
        for found in self.check(measured):
            yield Verdict(self.problem, found.layers, found.evidence, found.remedy, found.level or first)


def rule(
    problem: str, *, levels: Mapping[Level, str], finds: str, reason: str, remedy: str, level_reason: str
) -> Callable[[_Check], Rule]:
    """Turn a function into a rule. Arguments are the attributes of `Rule`."""
    return lambda check: Rule(problem, levels, finds, reason, remedy, level_reason, check)
