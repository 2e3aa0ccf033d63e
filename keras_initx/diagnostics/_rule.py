"""The decorator for rules: functions that find one problem; and what rules share."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from keras_initx.diagnostics._layers import is_bounded
from keras_initx.diagnostics._measure import LayerReport, Measurements
from keras_initx.diagnostics._verdicts import Level, Verdict

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
            yield Verdict(self.problem, names_of(found.layers), found.evidence, found.remedy, found.level)


def rule(
    problem: str, *, levels: Mapping[Level, str], finds: str, reason: str, remedy: str
) -> Callable[[_Check], Rule]:
    """Turn a function into a rule. Arguments are the attributes of `Rule`."""
    return lambda check: Rule(problem, levels, finds, reason, remedy, check)


def names_of(layers: Sequence[LayerReport]) -> tuple[str, ...]:
    """Return the names of layers, without repeats."""
    return tuple(dict.fromkeys(layer.name for layer in layers))


def by_level(hit: Iterable[_Hit], level: Level, does_harm: Callable[[_Hit], object]) -> list[tuple[Level, list[_Hit]]]:
    """Return what does harm with its `level`, then the others with that of a note, without empty groups."""
    groups: dict[Level, list[_Hit]] = {level: [], "note": []}
    for one in hit:
        groups[level if does_harm(one) else "note"].append(one)
    return [(level, group) for level, group in groups.items() if group]


def is_rescaled(layer: LayerReport) -> bool:
    """Return whether a normalization is the only consumer of `layer`, so that the scale does not matter."""
    return layer.normalized_by is not None and not is_bounded(layer.activation)


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
    if layer.activation == "selu":
        return "LecunNormal()"
    return "HeNormal()" if layer.activation in _RELU_LIKE else "GlorotUniform()"
