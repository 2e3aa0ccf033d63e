"""Why a weight is not as expected: what the numbers single out."""

import itertools
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from keras_initx._typing import Shape
from keras_initx.audits._groups import without_numbers
from keras_initx.audits._pairs import Pair, Scale
from keras_initx.audits._tests import other_family
from keras_initx.initializers import (
    Mode,
    RandomNormal,
    Scaled,
    VarianceScaling,
    fans,
    stddev_for,
)
from keras_initx.models import description
from keras_initx.sampling import truncated_quantiles

# With a larger error of the scale, too much could be the cause; of what other weights of the model
# should be, with a much larger one.
_COARSEST = 0.05
_COARSEST_OF_RULES = 0.25
# With a smaller probability, a distribution has another shape.
IMPLAUSIBLE = 1e-5
_SHARDS = (2, 4, 8, 16, 32, 64)
_MODES: tuple[Mode, ...] = ("fan_in", "fan_out", "fan_avg")
_FAMILIES: dict[str, tuple[float, Mode]] = {
    "He": (2.0, "fan_in"),
    "LeCun": (1.0, "fan_in"),
    "Glorot": (1.0, "fan_avg"),
}


def note_causes(pairs: Sequence[Pair]) -> dict[str, str]:
    """Return what explains the weights that are off, by path, where a single thing does."""
    off = [pair for pair in pairs if any(test.verdict == "scale" for test in pair.failed)]
    scales = {}
    for pair in pairs:
        if isinstance(pair.initializer, RandomNormal) and pair.expected and pair.expected.std:
            scales[pair.expected.std] = description(pair.initializer)
    # Weights with one rule, or of one name in several layers.
    alike = Counter(_kind(pair) for pair in (pairs if scales else off))
    fitting = {}
    for pair in off:
        fitting[pair.path] = _fitting(pair, scales, alike[_kind(pair)])
    causes = {}
    for pair in pairs:
        cause = _scale_cause(pair, off, fitting) if pair.path in fitting else ""
        if not cause and pair.declared:
            cause = f"as its layer declares: {pair.declared}"
        elif not cause and pair.expected is not None and _may_be_of_another_family(pair):
            cause = other_family(pair.expected, pair.found)
        causes[pair.path] = cause
    return causes


def _kind(pair: Pair) -> object:
    """Return what weights that a factor of depth concerns have in common."""
    if pair.initializer is not None and pair.expected is not None:
        return pair.expected.std
    return without_numbers(pair.path)


def _keeps_shape(pair: Pair) -> bool:
    """Return whether nothing but the scale is off."""
    return all(test.p > IMPLAUSIBLE for test in pair.tests if test.verdict == "shape")


def _may_be_of_another_family(pair: Pair) -> bool:
    """Return whether the distribution has another shape, or other bounds at the same scale."""
    failed = {test.verdict for test in pair.failed}
    return not _keeps_shape(pair) or ("bounds" in failed and "scale" not in failed)


def _scale_cause(pair: Pair, off: Sequence[Pair], fitting: Mapping[str, Sequence[str]]) -> str:
    """Return what explains the scale of a weight, or nothing if two things do."""
    swapped = [other for other in off if other is not pair and _are_swapped(pair, other)]
    if swapped:
        # In many blocks that are alike, the one of the same block.
        nearest = max(swapped, key=lambda other: _shared_numbers(pair.path, other.path))
        return f"swapped with {nearest.path!r}"
    own = fitting[pair.path]
    if len(own) < 2:
        return "".join(own)
    # Two may explain one weight, and only one of them others too.
    counts = Counter(cause for causes in fitting.values() for cause in causes if cause in own)
    (first, most), (_, less) = counts.most_common(2)
    return first if most > less else ""


def _shared_numbers(path: str, other: str) -> int:
    """Return how many numbers two paths have at the same place."""
    numbers = zip(re.findall(r"\d+", path), re.findall(r"\d+", other), strict=False)
    return sum(one == two for one, two in numbers)


def _are_swapped(one: Pair, other: Pair) -> bool:
    """Return whether each of two weights has the scale that the other should have."""
    if one.scale is None or other.scale is None or one.initializer is None:
        return False
    assert one.expected is not None
    assert other.expected is not None
    apart = math.log(other.expected.std / one.expected.std)
    if abs(apart) < 0.2:
        return False
    return abs(one.scale.log - apart) < 0.05 and abs(other.scale.log + apart) < 0.05


def _fitting(pair: Pair, scales: Mapping[float, str], alike: int) -> list[str]:
    """Return what explains the scale of a weight by itself."""
    scale = pair.together or pair.scale
    if scale is None:
        return []
    # Four times the error of the standard deviation, and of what is rounded.
    tolerance = 4 * scale.error + 0.002
    if tolerance > _COARSEST_OF_RULES or not _keeps_shape(pair):
        return []
    found = _near(scale, _depth(pair, scales, alike), tolerance)
    if tolerance > _COARSEST:
        return found
    found += _near(scale, _candidates(pair), tolerance)
    if not found:
        found = _near(scale, _fans_of_axes(pair), tolerance)
    return list(dict.fromkeys(found))


def _near(scale: Scale, causes: Iterator[tuple[str, float]], tolerance: float) -> list[str]:
    """Return the causes whose factor the scale has."""
    return [cause for cause, factor in causes if abs(scale.log - math.log(factor)) < tolerance]


def _depth(pair: Pair, scales: Mapping[float, str], alike: int) -> Iterator[tuple[str, float]]:
    """Yield that the weight is as other weights of the model should be, or a factor of depth."""
    assert pair.expected is not None
    if pair.initializer is None and alike > 1:
        yield f"factor 1/sqrt({alike}) for the depth", alike**-0.5
        yield f"factor 1/sqrt({alike}) for the depth left out", alike**0.5
    for std, rule in scales.items():
        if math.isclose(std, pair.expected.std, rel_tol=1e-6):
            continue
        factor = std / pair.expected.std
        # One factor for each branch, and as many branches as there are weights with this rule.
        if alike > 1 and math.isclose(factor**2, alike, rel_tol=1e-3):
            yield f"depth scaling 1/sqrt({alike}) not applied", factor
        else:
            yield f"as for {rule}", factor


def _candidates(pair: Pair) -> Iterator[tuple[str, float]]:
    """Yield what else may have happened, each with the factor of the standard deviation."""
    assert pair.expected is not None
    initializer = pair.initializer
    if isinstance(initializer, Scaled) and initializer.factor:
        yield f"factor {initializer.factor:.3g} not applied", 1 / abs(float(initializer.factor))
    if isinstance(initializer, VarianceScaling):
        yield from _other_fans(pair, initializer)
    kept = truncated_quantiles(-2.0, 2.0).stddev
    if "truncated normal" in pair.expected.families:
        yield "standard deviation is that before truncation", kept
        yield "truncated twice", kept**2
    if initializer is None:
        yield "corrected for truncation", 1 / kept
        yield "a gain of sqrt(2)", math.sqrt(2)
        yield "a gain of sqrt(2) left out", math.sqrt(0.5)


def _other_fans(pair: Pair, initializer: VarianceScaling) -> Iterator[tuple[str, float]]:
    """Yield other fans and scales of the variance family."""
    assert pair.expected is not None
    shape = pair.shape
    expected = pair.expected.std
    own = initializer._fans(shape)
    mode = initializer.mode
    scale = float(initializer.scale)
    if pair.fans is not None and pair.fans != own:
        std = stddev_for(scale, mode, *pair.fans)
        yield f"the fans of the layer, {pair.fans}", std / expected
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


def _fans_of_axes(pair: Pair) -> Iterator[tuple[str, float]]:
    """Yield the sizes of other axes as fans, each with the factor of the standard deviation."""
    own = set()
    if isinstance(pair.initializer, VarianceScaling):
        own = set(pair.initializer._fans(pair.shape))
    elif pair.initializer is not None:
        return
    for one, other in itertools.permutations(sorted(_products(pair.shape)), 2):
        if not own or other in own:
            yield f"a fan of {one:g} instead of {other:g}", math.sqrt(other / one)


def _products(shape: Shape) -> set[float]:
    """Return the sizes of all sets of axes, and the mean of both of a matrix."""
    found: set[float] = set()
    for size in range(1, len(shape) + 1):
        found.update(math.prod(axes) for axes in itertools.combinations(shape, size))
    if len(shape) == 2:
        found.add(sum(shape) / 2)
    return found
