"""The rows of a report: the worst of what is said of each weight, and what explains it."""

import itertools
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from keras_initx._alike import strip_numbers
from keras_initx._checks import suggest_matches
from keras_initx._typing import Shape
from keras_initx.initializers._description import description
from keras_initx.initializers._random import RandomNormal
from keras_initx.initializers._scale import fans
from keras_initx.initializers._variance import FanMode, VarianceScaling, stddev_for
from keras_initx.inspection._hooks import LayerInitializer
from keras_initx.sampling._conversion import truncated_quantiles
from keras_initx.tools.audit._audit_report import WeightAudit
from keras_initx.tools.audit._contract import Contract
from keras_initx.tools.audit._contract_lines import WeightContract
from keras_initx.tools.audit._judgement import Judged
from keras_initx.tools.audit._profile import Profile
from keras_initx.tools.audit._subjects import Subject

# Why a weight is not as expected: what the numbers single out.


# With a larger error of the scale, too much could be the cause; of what other weights of the model
# should be, with a much larger one.
_COARSEST = 0.05
_COARSEST_OF_RULES = 0.25
# With a smaller probability, a distribution has another shape.
_IMPLAUSIBLE = 1e-5
_MODES: tuple[FanMode, ...] = ("fan_in", "fan_out", "fan_avg")
_FAMILIES: dict[str, tuple[float, FanMode]] = {
    "He": (2.0, "fan_in"),
    "LeCun": (1.0, "fan_in"),
    "Glorot": (1.0, "fan_avg"),
}


def causes_of(weights: Sequence[Judged], depths: Callable[[], Mapping[str, int]]) -> list[str]:
    """Return what explains the weights that are off; where several things may, all of them.

    Args:
        weights: What is said of all weights.
        depths: Returns the number of branches of the model by the path of each kernel that ends
            one, as far as that is known. It is asked if a scale is off.
    """
    off = [judged for judged in weights if "scale" in judged.verdicts]
    branches = depths() if off else {}
    scales = {}
    for judged in weights:
        expected, initializer = judged.comparison.expected, _initializer(judged)
        if isinstance(initializer, RandomNormal) and expected is not None and expected.std:
            scales[expected.std] = description(initializer)
    counted = weights if scales else off
    # Weights with one rule, or of one name in several layers.
    alike = Counter(map(_kind, counted))
    fitting = {}
    for judged in off:
        depth = branches.get(judged.comparison.path, 0)
        count = depth if branches else alike[_kind(judged)]
        fitting[id(judged)] = _fitting(judged, scales, depth, count)
    causes = []
    for judged in weights:
        found = _scale_causes(judged, off, fitting) if id(judged) in fitting else []
        declared = _declared(judged)
        if declared:
            # Of several others, none is singled out beside what the layer says.
            found = [*declared, *(found if len(found) == 1 else [])]
        causes.append(" or ".join(found) or _other_family(judged))
    return causes


def _declared(judged: Judged) -> list[str]:
    """Return that a weight is as its layer declares, and not as a rule says, if it is."""
    declared = judged.comparison.declared
    return [f"as its layer declares: {declared}"] if declared else []


def _initializer(judged: Judged) -> LayerInitializer | None:
    return judged.comparison.expectation.initializer


def _expected(judged: Judged) -> Profile:
    """Return what is expected of a weight whose scale or distribution is off."""
    expected = judged.comparison.expected
    assert expected is not None
    return expected


def _kind(judged: Judged) -> object:
    """Return what weights that a factor of depth concerns have in common."""
    if _initializer(judged) is not None and judged.comparison.expected is not None:
        return judged.comparison.expected.std
    return strip_numbers(judged.comparison.path)


def _keeps_shape(judged: Judged) -> bool:
    """Return whether nothing but the scale is off."""
    outcomes = judged.comparison.outcomes
    return all(outcome.p > _IMPLAUSIBLE for outcome in outcomes if outcome.verdict == "shape")


def _other_family(judged: Judged) -> str:
    """Return which family of distributions values are of instead of another, in words.

    Their distribution has another shape, or other bounds at the same scale.
    """
    failed = judged.verdicts
    expected, found = judged.comparison.expected, judged.comparison.found
    has_other_bounds = "bounds" in failed and "scale" not in failed
    if expected is None or (_keeps_shape(judged) and not has_other_bounds):
        return ""
    if not (expected.families and found.families) or {*expected.families} & {*found.families}:
        return ""
    return f"{' or '.join(found.families)} instead of {' or '.join(expected.families)}"


def _scale_causes(
    judged: Judged, off: Sequence[Judged], fitting: Mapping[int, Sequence[str]]
) -> Sequence[str]:
    """Return what explains the scale of a weight; of several things one that explains others."""
    path = judged.comparison.path
    swapped = []
    for other in off:
        if _are_swapped(judged, other):
            swapped.append(other.comparison.path)
    if swapped:
        # In many blocks that are alike, the one of the same block.
        nearest = max(swapped, key=lambda one: _shared_numbers(path, one))
        return [f"swapped with {nearest!r}"]
    own = fitting[id(judged)]
    if len(own) < 2:
        return own
    # Two may explain one weight, and only one of them others too.
    counts: Counter[str] = Counter()
    for causes in fitting.values():
        counts.update(cause for cause in causes if cause in own)
    (first, most), (_, less) = counts.most_common(2)
    return [first] if most > less else own


def _shared_numbers(path: str, other: str) -> int:
    """Return how many numbers two paths have at the same place."""
    numbers = zip(re.findall(r"\d+", path), re.findall(r"\d+", other), strict=False)
    return sum(one == two for one, two in numbers)


def _are_swapped(one: Judged, other: Judged) -> bool:
    """Return whether each of two weights has the scale that the other should have."""
    scale, other_scale = one.comparison.scale, other.comparison.scale
    if scale is None or other_scale is None or _initializer(one) is None:
        return False
    apart = math.log(_expected(other).std / _expected(one).std)
    if abs(apart) < 0.2:
        return False
    return abs(scale.log - apart) < 0.05 and abs(other_scale.log + apart) < 0.05


def _fitting(judged: Judged, scales: Mapping[float, str], depth: int, count: int) -> list[str]:
    """Return what explains the scale of a weight by itself.

    Args:
        judged: What is said of it.
        scales: The rules of the model, by their standard deviations.
        depth: How many residual branches there are if it is known to end one, otherwise 0.
        count: The same, or where no branches are known, how many weights are like it: rules that
            differ by its root tell that they scale by the depth.
    """
    scale = judged.together or judged.comparison.scale
    if scale is None:
        return []
    # Four times the error of the standard deviation, and of what is rounded.
    tolerance = 4 * scale.error + 0.002
    if tolerance > _COARSEST_OF_RULES or not _keeps_shape(judged):
        return []
    expected = _expected(judged).std
    found = scale.log + math.log(expected)
    near = _near(found, _depth(expected, judged, scales, depth, count), tolerance)
    if tolerance > _COARSEST:
        return near
    near += _near(found, _candidates(expected, judged), tolerance)
    if not near and _initializer(judged) is None:
        shape = judged.comparison.weight.shape
        near = _near(found, _fans_of_axes(expected, shape), tolerance)
    return list(dict.fromkeys(near))


def _near(found: float, causes: Iterator[tuple[str, float]], tolerance: float) -> list[str]:
    """Return the causes that would make a standard deviation with this logarithm."""
    near = []
    for cause, std in causes:
        if abs(found - math.log(std)) < tolerance:
            near.append(cause)
    return near


def _depth(
    expected: float, judged: Judged, scales: Mapping[float, str], depth: int, count: int
) -> Iterator[tuple[str, float]]:
    """Yield that the weight is as other weights of the model should be, or a factor of depth.

    All causes come with the standard deviation that they would make.
    """
    if _initializer(judged) is None and depth > 1:
        yield f"factor 1/sqrt({depth}) for the depth left out", expected * depth**0.5
    if depth > 1:
        yield f"factor 1/sqrt({depth}) for the depth applied twice", expected * depth**-0.5
    for std, rule in scales.items():
        if math.isclose(std, expected, rel_tol=1e-6):
            continue
        if count > 1 and math.isclose((std / expected) ** 2, count, rel_tol=1e-3):
            yield f"depth scaling 1/sqrt({count}) not applied", std
        else:
            yield f"as for {rule}", std


def _candidates(expected: float, judged: Judged) -> Iterator[tuple[str, float]]:
    """Yield what else may have happened."""
    initializer = _initializer(judged)
    has_guessed_fans = judged.comparison.expectation.has_guessed_fans
    if isinstance(initializer, VarianceScaling) and not has_guessed_fans:
        yield from _other_fans(expected, judged.comparison.weight, initializer)
    yield "the variance given as the standard deviation", expected**2
    yield "the standard deviation given as the variance", expected**0.5
    if "truncated normal" in _expected(judged).families:
        kept = truncated_quantiles(-2.0, 2.0).stddev
        yield "standard deviation is that before truncation", expected * kept
        yield "truncated twice", expected * kept**2
    if initializer is None:
        yield "a gain of sqrt(2)", expected * math.sqrt(2)
        yield "a gain of sqrt(2) left out", expected * math.sqrt(0.5)


def _other_fans(
    expected: float, weight: Subject | WeightContract, initializer: VarianceScaling
) -> Iterator[tuple[str, float]]:
    """Yield other fans and scales of the variance family."""
    shape = weight.shape
    own = initializer.fans(shape)
    scale, mode = float(initializer.scale), initializer.mode
    by_shape = fans(shape)  # which Keras takes, also of transposed and depthwise kernels
    if by_shape != own:
        std = stddev_for(scale, mode, *by_shape)
        yield f"the fans of the shape, {by_shape}, instead of {own}", std
    for other in _MODES:
        if other != mode:
            yield f"{other} instead of {mode}", stddev_for(scale, other, *own)
    for name, (other_scale, other) in _FAMILIES.items():
        if scale != other_scale:
            yield f"{name}'s scale", stddev_for(other_scale, other, *own)
    fan = scale / expected**2
    if scale != 1:  # where it is the variance
        yield f"1/{fan:g} instead of 1/sqrt({fan:g})", expected * fan**-0.5
    if isinstance(weight, Subject):
        std = stddev_for(scale, mode, *initializer.fans(weight.shard_shape))
        if not math.isclose(std, expected):
            count = math.prod(shape) // math.prod(weight.shard_shape)
            yield f"the fan of one of {count} shards", std


def _fans_of_axes(expected: float, shape: Shape) -> Iterator[tuple[str, float]]:
    """Yield that one size of axes was taken as the fan, and before another.

    A ratio that is a power of 2 has too many other causes.
    """
    sizes = {float(sum(shape)) / 2} if len(shape) == 2 else set()
    for number in range(1, len(shape) + 1):
        sizes.update(map(math.prod, itertools.combinations(shape, number)))
    for one, other in itertools.permutations(sorted(sizes), 2):
        if math.log2(other / one).is_integer():
            continue
        yield f"a fan of {one:g} instead of {other:g}", expected * math.sqrt(other / one)


# Verdicts that a scale or a distribution explains, not what is equal or zero.
_EXPLAINED = ("values", "orthonormality", "scale", "bounds", "mean", "shape", "zeros")
# Unmatched names for which similar ones are looked for.
_MOST_HINTS = 50


def rows_of(
    weights: Sequence[Judged], depths: Callable[[], Mapping[str, int]]
) -> list[WeightAudit]:
    """Return the rows of weights that were compared.

    Args:
        weights: What is said of them.
        depths: See `causes_of`.
    """
    causes = causes_of(weights, depths)
    knows_bits = any(judged.comparison.is_unchanged is not None for judged in weights)
    rows = []
    for judged, cause in zip(weights, causes, strict=True):
        row = _row(judged, cause)
        expected = judged.comparison.expected
        is_fixed = expected is not None and expected.kind == "fixed"
        if knows_bits and is_fixed and row.is_unchanged is None:
            row = replace(row, is_unchanged=not row.verdict)
        rows.append(row)
    return rows


def _row(judged: Judged, cause: str) -> WeightAudit:
    """Return the row of a weight; `cause` is what explains its scale or its distribution."""
    this = judged.comparison
    std = this.found.std_of_all
    expected_std = None if this.expected is None else this.expected.std_of_all
    ratio = None
    if expected_std and std is not None:
        ratio = std / expected_std
    row = WeightAudit(
        this.path,
        this.weight.shape,
        this.weight.dtype,
        this.text,
        expected_std,
        std,
        ratio,
        reason=this.reason,
        resolution=judged.resolution,
        is_unchanged=this.is_unchanged,
        rows_unchanged=this.rows_unchanged,
    )
    if not judged.failed:
        return row
    worst = min(judged.failed, key=lambda outcome: outcome.place)
    if worst.cause or worst.verdict not in _EXPLAINED:
        cause = worst.cause
    return replace(row, verdict=worst.verdict, evidence=worst.evidence, cause=cause, reason="")


def rows_like(
    weights: Sequence[Judged],
    found: Contract,
    expected: Contract,
    reasons: Mapping[str, str],
    depths: Callable[[], Mapping[str, int]],
) -> list[WeightAudit]:
    """Return the rows of all weights found, and then of those that are missing.

    Args:
        weights: What is said of the weights that were there before.
        found: All weights.
        expected: The weights before.
        reasons: Why it is not known which of both are the same, by their paths.
        depths: See `causes_of`.
    """
    rows = {row.path: row for row in rows_of(weights, depths)}
    taken = {judged.comparison.path_of_expected for judged in weights}
    compared = {*rows, *reasons}
    new = [weight.path for weight in found.rows if weight.path not in compared]
    missing = [weight for weight in expected.rows if weight.path not in taken]
    result = []
    for weight in found.rows:
        row = rows.get(weight.path)
        if row is None and weight.path in reasons:
            row = _left_row(weight, reasons[weight.path])
        result.append(row or _new_row(weight, expected))
    shapes_left = {weight.shape for weight in found.rows if weight.path in reasons}
    for weight in missing:
        hint = suggest_matches(weight.path, new) if len(missing) <= _MOST_HINTS else ""
        evidence = f"it is not there any more{hint}"
        if weight.shape in shapes_left:
            evidence = "it is not known which it is now"
        row = WeightAudit(
            weight.path,
            weight.shape,
            weight.dtype,
            weight.text,
            weight.profile.std_of_all,
            verdict="missing",
            evidence=evidence,
        )
        result.append(row)
    return result


def _left_row(weight: WeightContract, reason: str) -> WeightAudit:
    std = weight.profile.std_of_all
    return WeightAudit(weight.path, weight.shape, weight.dtype, None, std=std, reason=reason)


def _new_row(weight: WeightContract, expected: Contract) -> WeightAudit:
    hint = ""
    if len(expected.rows) <= _MOST_HINTS:
        hint = suggest_matches(weight.path, [before.path for before in expected.rows])
    return WeightAudit(
        weight.path,
        weight.shape,
        weight.dtype,
        None,
        std=weight.profile.std_of_all,
        verdict="new",
        evidence=f"it was not there{hint}",
    )
