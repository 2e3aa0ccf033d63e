"""Why the scale of a weight is off: what the numbers single out."""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from keras_initx.audits._subjects import Subject
from keras_initx.initializers import Mode, Scaled, VarianceScaling, fans, stddev_for
from keras_initx.sampling import truncated_quantiles

# With a larger error of the scale, too much could be the cause; of what other weights of the model
# should be, with a much larger one.
_COARSEST = 0.05
_COARSEST_OF_RULES = 0.25
_SHARDS = (2, 4, 8, 16, 32, 64)
_MODES: tuple[Mode, ...] = ("fan_in", "fan_out", "fan_avg")
_FAMILIES: dict[str, tuple[float, Mode]] = {
    "He": (2.0, "fan_in"),
    "LeCun": (1.0, "fan_in"),
    "Glorot": (1.0, "fan_avg"),
}


@dataclass(frozen=True)
class Finding:
    """A weight with the wrong scale.

    Attributes:
        subject: The weight.
        expected_std: Its standard deviation under the law.
        std: The one found.
        siblings: The number of weights of the model with the same expected standard deviation.
        is_truncated: Whether the law is a truncated normal distribution.
        keeps_shape: Whether nothing but the scale is off.
    """

    subject: Subject
    expected_std: float
    std: float
    siblings: int
    is_truncated: bool
    keeps_shape: bool


def scale_cause(finding: Finding, others: Sequence[Finding], scales: dict[float, str]) -> str:
    """Return what explains the scale of a weight, or nothing if two things do.

    Args:
        finding: The weight.
        others: All weights with the wrong scale.
        scales: The standard deviations that fixed rules give to weights of this model, with the
            text of the rule.
    """
    for other in others:
        if other is not finding and _are_swapped(finding, other):
            return f"swapped with {other.subject.path!r}"
    own = _fitting(finding, scales)
    if len(own) < 2:
        return "".join(own)
    # Two may explain one weight, and only one of them others too.
    counts = dict.fromkeys(own, 0)
    for other in others:
        for cause in _fitting(other, scales):
            if cause in counts:
                counts[cause] += 1
    first, second = sorted(own, key=lambda cause: -counts[cause])[:2]
    if counts[first] > counts[second]:
        return first
    return ""


def _fitting(finding: Finding, scales: dict[float, str]) -> list[str]:
    """Return what explains the scale of a weight by itself."""
    ratio = finding.std / finding.expected_std
    size = math.prod(finding.subject.shape)
    # Four times the error of the standard deviation, and of what is rounded.
    tolerance = 4 * math.sqrt(0.5 / size) + 0.002
    if tolerance > _COARSEST_OF_RULES or not finding.keeps_shape:
        return []
    candidates = _candidates(finding, scales)
    if tolerance > _COARSEST:
        candidates = _depth(finding, scales)
    found: list[str] = []
    for cause, factor in candidates:
        if abs(math.log(ratio / factor)) < tolerance and cause not in found:
            found.append(cause)
    if found or tolerance > _COARSEST:
        return found
    for cause, factor in _other_axes(finding):
        if abs(math.log(ratio / factor)) < tolerance:
            found.append(cause)
    return found


def _are_swapped(one: Finding, other: Finding) -> bool:
    """Return whether each of two weights has the scale that the other should have."""
    if math.isclose(one.expected_std, other.expected_std, rel_tol=0.2):
        return False
    first = math.isclose(one.std, other.expected_std, rel_tol=0.05)
    second = math.isclose(other.std, one.expected_std, rel_tol=0.05)
    return first and second


def _candidates(finding: Finding, scales: dict[float, str]) -> Iterator[tuple[str, float]]:
    """Yield what may have happened, each with the factor of the standard deviation."""
    initializer = finding.subject.initializer
    if isinstance(initializer, Scaled) and initializer.factor:
        yield f"factor {initializer.factor:.3g} not applied", 1 / abs(float(initializer.factor))
    yield from _depth(finding, scales)
    if isinstance(initializer, VarianceScaling):
        yield from _other_fans(finding, initializer)
    if finding.is_truncated:
        truncated = truncated_quantiles(-2.0, 2.0).stddev
        yield "standard deviation is that before truncation", truncated
        yield "truncated twice", truncated**2


def _depth(finding: Finding, scales: dict[float, str]) -> Iterator[tuple[str, float]]:
    """Yield that the weight is as other weights of the model should be."""
    for std, rule in scales.items():
        if math.isclose(std, finding.expected_std, rel_tol=1e-6):
            continue
        factor = std / finding.expected_std
        # One factor for each branch, and as many branches as there are weights with this rule.
        if finding.siblings > 1 and math.isclose(factor**2, finding.siblings, rel_tol=1e-3):
            yield f"depth scaling 1/sqrt({finding.siblings}) not applied", factor
        else:
            yield f"as for {rule}", factor


def _other_fans(finding: Finding, initializer: VarianceScaling) -> Iterator[tuple[str, float]]:
    """Yield other fans and scales of the variance family."""
    shape = finding.subject.shape
    expected = finding.expected_std
    own = initializer._fans(shape)
    mode = initializer.mode
    scale = float(initializer.scale)
    if finding.subject.fans is not None and finding.subject.fans != own:
        std = stddev_for(scale, mode, *finding.subject.fans)
        yield f"the fans of the layer, {finding.subject.fans}", std / expected
    by_shape = fans(shape)
    if by_shape != own:
        std = stddev_for(scale, mode, *by_shape)
        yield f"the fans of the shape, {by_shape}, instead of {own}", std / expected
    for other in _MODES:
        if other != mode:
            yield f"{other} instead of {mode}", stddev_for(scale, other, *own) / expected
    for name, (other_scale, other) in _FAMILIES.items():
        if scale != other_scale:
            yield f"{name}'s scale", stddev_for(other_scale, other, *own) / expected
    for axis, length in enumerate(shape):
        for count in _SHARDS:
            if length % count:
                continue
            shard = (*shape[:axis], length // count, *shape[axis + 1 :])
            std = stddev_for(scale, mode, *initializer._fans(shard))
            if not math.isclose(std, expected):
                yield f"the fan of one of {count} shards", std / expected


def _other_axes(finding: Finding) -> Iterator[tuple[str, float]]:
    """Yield fans of other axes, each with the factor of the standard deviation."""
    initializer = finding.subject.initializer
    shape = finding.subject.shape
    if not isinstance(initializer, VarianceScaling) or initializer.mode == "fan_avg":
        return
    own = initializer._fans(shape)
    fan = own[0] if initializer.mode == "fan_in" else own[1]
    for size in range(1, len(shape) + 1):
        for axes in itertools.combinations(range(len(shape)), size):
            other = math.prod(shape[axis] for axis in axes)
            if other not in own:
                places = ", ".join(str(axis) for axis in axes)
                cause = f"{other} instead of {fan} as {initializer.mode}: of axes {places}"
                yield cause, math.sqrt(fan / other)
