"""The rows of a report: the worst failed test of each weight, and its cause.

A *cause* is a mistake that would give a weight exactly its present scale, for example

    depth scaling 1/sqrt(8) not applied        the weight is sqrt(8) times as large as a rule says
    fan_out instead of fan_in                  a rule of the variance family with other fans
    swapped with 'b/kernel'                    each of two has the scale of the other

Many causes are proposed, each with the standard deviation that it would make. A cause is reported
if it alone fits within the error of the weight.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from keras_initx._checks import suggest_matches
from keras_initx._similar_paths import strip_numbers
from keras_initx._typing import Shape
from keras_initx.initializers._description import description
from keras_initx.initializers._random import RandomNormal
from keras_initx.initializers._scale import fans
from keras_initx.initializers._variance import FanMode, VarianceScaling, stddev_for
from keras_initx.inspection._hooks import LayerInitializer
from keras_initx.report._text import format_number
from keras_initx.sampling._conversion import truncated_quantiles
from keras_initx.tools.audit._audit_report import AS_EXPECTED, NOT_COMPARED, WeightAudit
from keras_initx.tools.audit._contract import Contract
from keras_initx.tools.audit._contract_lines import WeightContract
from keras_initx.tools.audit._judgement import JudgedWeight
from keras_initx.tools.audit._profile import Profile, Scale
from keras_initx.tools.audit._property_test import EXPLAINED

# A resolution: with a larger error of the logarithm of the scale, too many causes fit. Some ten of
# them are between half and twice the scale.
_COARSEST = 0.05
_MODES: tuple[FanMode, ...] = ("fan_in", "fan_out", "fan_avg")
_FAMILIES: dict[str, tuple[float, FanMode]] = {
    "He": (2.0, "fan_in"),
    "LeCun": (1.0, "fan_in"),
    "Glorot": (1.0, "fan_avg"),
}


def find_causes(
    weights: Sequence[JudgedWeight], count_branches: Callable[[], Mapping[str, int]]
) -> list[str]:
    """Find the cause of each weight that is off, empty if there is none.

    Args:
        weights: All weights.
        count_branches: Returns the number of branches of the model by the path of each kernel that
            ends one, as far as it can. It is called if a scale is off.
    """
    off = [judged for judged in weights if "scale" in judged.statuses]
    branches = count_branches() if off else {}
    scales = {}
    for judged in weights:
        expected, initializer = judged.comparison.expected, _get_initializer(judged)
        if isinstance(initializer, RandomNormal) and expected is not None and expected.std:
            scales[expected.std] = description(initializer)
    counted = weights if scales else off
    group_sizes = Counter(map(_depth_group, counted))
    causes = []
    for judged in weights:
        own_causes = []
        if "scale" in judged.statuses:
            depth = branches.get(judged.comparison.path, 0)
            count = depth if branches else group_sizes[_depth_group(judged)]
            own_causes = _find_swapped(judged, off) or _find_own_causes(
                judged, scales, depth, count
            )
        declared = judged.comparison.declared
        if declared:
            # Next to what the layer declares, another cause is named only if it is the only one.
            own_causes = own_causes if len(own_causes) == 1 else []
            own_causes = [f"as its layer declares: {declared}", *own_causes]
        causes.append(" or ".join(own_causes) or _explain_by_family(judged))
    return causes


def _get_initializer(judged: JudgedWeight) -> LayerInitializer | None:
    return judged.comparison.expectation.initializer


def _get_expected(judged: JudgedWeight) -> Profile:
    expected = judged.comparison.expected
    assert expected is not None
    return expected


def _depth_group(judged: JudgedWeight) -> object:
    # Weights that a factor of depth may concern together: of one rule, or of one name in several
    # layers.
    if _get_initializer(judged) is not None and judged.comparison.expected is not None:
        return judged.comparison.expected.std
    return strip_numbers(judged.comparison.path)


def _has_expected_shape(judged: JudgedWeight) -> bool:
    # If the shape is another, a cause of the scale explains too little.
    outcomes = judged.comparison.outcomes
    return all(outcome.p > EXPLAINED for outcome in outcomes if outcome.status == "shape")


def _explain_by_family(judged: JudgedWeight) -> str:
    """Say that values come from another family of distributions, if they do.

    Then their distribution has another shape, or other bounds at the same scale. If the scale is
    off too, another mistake explains it, or nothing does.
    """
    family = _name_family(judged)
    scale = judged.comparison.scale
    if not family or scale is None or "scale" not in judged.statuses:
        return family
    expected, tolerance = _get_expected(judged).std, _estimate_tolerance(scale)
    fitting = []
    if tolerance <= _COARSEST:
        mistakes = _propose_mistakes(expected, judged)
        fitting = _select_near(scale.log + math.log(expected), mistakes, tolerance)
    if fitting:
        return f"{family}, and {' or '.join(dict.fromkeys(fitting))}"
    return f"{family}, which leaves a factor of {format_number(math.exp(scale.log))}"


def _name_family(judged: JudgedWeight) -> str:
    failed = judged.statuses
    expected, actual = judged.comparison.expected, judged.comparison.actual
    has_other_bounds = "bounds" in failed and "scale" not in failed
    if expected is None or (_has_expected_shape(judged) and not has_other_bounds):
        return ""
    if not (expected.families and actual.families) or {*expected.families} & {*actual.families}:
        return ""
    return f"{' or '.join(actual.families)} instead of {' or '.join(expected.families)}"


def _find_swapped(judged: JudgedWeight, off: Sequence[JudgedWeight]) -> list[str]:
    """Find the weight with which the scale of a weight is swapped, if there is one."""
    path = judged.comparison.path
    swapped = []
    for other in off:
        if _are_swapped(judged, other):
            swapped.append(other.comparison.path)
    if not swapped:
        return []
    # In many similar blocks, the one of the same block.
    nearest = max(swapped, key=lambda candidate: _count_shared_numbers(path, candidate))
    return [f"swapped with {nearest!r}"]


def _count_shared_numbers(path: str, other: str) -> int:
    # "block_3/dense_1" and "block_3/dense_2" -> 1
    numbers = zip(re.findall(r"\d+", path), re.findall(r"\d+", other), strict=False)
    return sum(number == other_number for number, other_number in numbers)


def _are_swapped(judged: JudgedWeight, other: JudgedWeight) -> bool:
    """Return whether each of two weights has the scale that the other should have."""
    scale, other_scale = judged.comparison.scale, other.comparison.scale
    if scale is None or other_scale is None or _get_initializer(judged) is None:
        return False
    distance = math.log(_get_expected(other).std / _get_expected(judged).std)
    # Nearer scales do not differ by more than their errors.
    if abs(distance) < 4 * _COARSEST:
        return False
    return abs(scale.log - distance) < _COARSEST and abs(other_scale.log + distance) < _COARSEST


def _find_own_causes(
    judged: JudgedWeight, scales: Mapping[float, str], depth: int, count: int
) -> list[str]:
    """Find causes for the scale of a weight alone.

    Args:
        judged: The weight.
        scales: The rules of the model, by their standard deviations.
        depth: The number of residual branches if the weight certainly ends one, otherwise 0.
        count: The same number; without branches, the number of weights in its group. If rules
            differ by the root of this number, they scale by the depth.
    """
    scale = judged.comparison.scale
    if scale is None:
        return []
    tolerance = _estimate_tolerance(scale)
    # The scales of other rules of the model are few, and are compared up to a larger error.
    if tolerance > 5 * _COARSEST or not _has_expected_shape(judged):
        return []
    expected = _get_expected(judged).std
    log_std = scale.log + math.log(expected)
    near = _select_near(
        log_std, _propose_by_depth(expected, judged, scales, depth, count), tolerance
    )
    if tolerance > _COARSEST:
        return near
    near += _select_near(log_std, _propose_mistakes(expected, judged), tolerance)
    return list(dict.fromkeys(near))


def _estimate_tolerance(scale: Scale) -> float:
    # Four times the error of the standard deviation, and of what is rounded.
    return 4 * scale.error + 0.002


class _Cause(NamedTuple):
    """A mistake in words, and the standard deviation that it would make."""

    text: str
    std: float


def _select_near(log_std: float, causes: Iterator[_Cause], tolerance: float) -> list[str]:
    near = []
    for cause in causes:
        if abs(log_std - math.log(cause.std)) < tolerance:
            near.append(cause.text)
    return near


def _propose_by_depth(
    expected: float, judged: JudgedWeight, scales: Mapping[float, str], depth: int, count: int
) -> Iterator[_Cause]:
    """Propose a factor of depth, or the expected scale of other weights of the model."""
    if _get_initializer(judged) is None and depth > 1:
        yield _Cause(f"factor 1/sqrt({depth}) for the depth left out", expected * depth**0.5)
    if depth > 1:
        yield _Cause(f"factor 1/sqrt({depth}) for the depth applied twice", expected * depth**-0.5)
    for std, rule in scales.items():
        if math.isclose(std, expected, rel_tol=1e-6):
            continue
        if count > 1 and math.isclose((std / expected) ** 2, count, rel_tol=1e-3):
            yield _Cause(f"depth scaling 1/sqrt({count}) not applied", std)
        else:
            yield _Cause(f"as for {rule}", std)


def _propose_mistakes(expected: float, judged: JudgedWeight) -> Iterator[_Cause]:
    """Propose mistakes that concern one weight alone."""
    initializer = _get_initializer(judged)
    has_guessed_fans = judged.comparison.expectation.has_guessed_fans
    if isinstance(initializer, VarianceScaling) and not has_guessed_fans:
        yield from _propose_other_fans(expected, judged.comparison.weight.shape, initializer)
    yield _Cause("the variance given as the standard deviation", expected**2)
    yield _Cause("the standard deviation given as the variance", expected**0.5)
    expected_families = _get_expected(judged).families
    if "uniform" in (*expected_families, *judged.comparison.actual.families):
        # U(-b, b) has the standard deviation b / sqrt(3).
        std_as_bound, bound_as_std = expected / math.sqrt(3), expected * math.sqrt(3)
        yield _Cause("the standard deviation given as the bound", std_as_bound)
        yield _Cause("the bound given as the standard deviation", bound_as_std)
    if "truncated normal" in expected_families:
        kept = truncated_quantiles(-2.0, 2.0).stddev
        yield _Cause("standard deviation is that before truncation", expected * kept)
    if initializer is None:
        yield _Cause("a gain of sqrt(2)", expected * math.sqrt(2))
        yield _Cause("a gain of sqrt(2) left out", expected * math.sqrt(0.5))


def _propose_other_fans(
    expected: float, shape: Shape, initializer: VarianceScaling
) -> Iterator[_Cause]:
    """Propose other fans and scales of the variance family."""
    own = initializer.fans(shape)
    scale, mode = float(initializer.scale), initializer.mode
    by_shape = fans(shape)  # which Keras takes, also of transposed and depthwise kernels
    if by_shape != own:
        std = stddev_for(scale, mode, *by_shape)
        yield _Cause(f"the fans of the shape, {by_shape}, instead of {own}", std)
    for other in _MODES:
        if other != mode:
            yield _Cause(f"{other} instead of {mode}", stddev_for(scale, other, *own))
    for name, (other_scale, other) in _FAMILIES.items():
        if scale != other_scale:
            yield _Cause(f"{name}'s scale", stddev_for(other_scale, other, *own))


# Verdicts that a cause of the scale or the distribution explains.
_EXPLAINED = ("values", "orthonormality", "scale", "bounds", "mean", "shape", "zeros")
# A time: if so many names have no match, similar ones are not searched, for each among all.
_MOST_HINTS = 50


def make_rows(
    weights: Sequence[JudgedWeight], count_branches: Callable[[], Mapping[str, int]]
) -> list[WeightAudit]:
    """Make the rows of weights that were compared.

    Args:
        weights: The weights.
        count_branches: See `find_causes`.
    """
    causes = find_causes(weights, count_branches)
    knows_bits = any(judged.comparison.is_unchanged is not None for judged in weights)
    rows = []
    for judged, cause in zip(weights, causes, strict=True):
        row = _make_row(judged, cause)
        expected = judged.comparison.expected
        is_fixed = expected is not None and expected.kind == "fixed"
        if knows_bits and is_fixed and row.is_unchanged is None:
            row = replace(row, is_unchanged=not row.is_problem)
        rows.append(row)
    return rows


def _make_row(judged: JudgedWeight, cause: str) -> WeightAudit:
    """Make the row of a weight; `cause` explains its scale or its distribution."""
    comparison = judged.comparison
    std = comparison.actual.std_of_all
    expected_std = None if comparison.expected is None else comparison.expected.std_of_all
    ratio = None
    if expected_std and std is not None:
        ratio = std / expected_std
    is_compared = comparison.text is not None and not comparison.reason
    row = WeightAudit(
        path=comparison.path,
        status=AS_EXPECTED if is_compared else NOT_COMPARED,
        detail=comparison.reason,
        cause="",
        shape=comparison.weight.shape,
        dtype=comparison.weight.dtype,
        initializer=comparison.text,
        expected_std=expected_std,
        std=std,
        ratio=ratio,
        resolution=judged.resolution,
        is_unchanged=comparison.is_unchanged,
        rows_unchanged=comparison.rows_unchanged,
    )
    if not judged.failed:
        return row
    worst = min(judged.failed, key=lambda outcome: outcome.rank)
    if worst.cause or worst.status not in _EXPLAINED:
        cause = worst.cause
    return replace(row, status=worst.status, detail=worst.detail, cause=cause)


def make_all_rows(
    weights: Sequence[JudgedWeight],
    actual: Contract,
    expected: Contract,
    reasons: Mapping[str, str],
    count_branches: Callable[[], Mapping[str, int]],
) -> list[WeightAudit]:
    """Make the rows of all weights, and then of missing weights.

    Args:
        weights: The weights that have a counterpart, judged.
        actual: All weights.
        expected: All expected weights.
        reasons: Why the counterpart of a weight is not known, by its path.
        count_branches: See `find_causes`.
    """
    row_by_path = {row.path: row for row in make_rows(weights, count_branches)}
    paired = {judged.comparison.expected_path for judged in weights}
    known = {*row_by_path, *reasons}
    new = [weight.path for weight in actual.rows if weight.path not in known]
    missing = [weight for weight in expected.rows if weight.path not in paired]
    rows = []
    for weight in actual.rows:
        row = row_by_path.get(weight.path)
        if row is None and weight.path in reasons:
            row = _unpaired_row(weight, NOT_COMPARED, reasons[weight.path])
        rows.append(row or _new_row(weight, expected))
    unpaired_shapes = {weight.shape for weight in actual.rows if weight.path in reasons}
    for weight in missing:
        hint = suggest_matches(weight.path, new) if len(missing) <= _MOST_HINTS else ""
        detail = f"it is not there any more{hint}"
        if weight.shape in unpaired_shapes:
            detail = "it is not known which weight it is now"
        rows.append(_missing_row(weight, detail))
    return rows


def _missing_row(weight: WeightContract, detail: str) -> WeightAudit:
    row = _unpaired_row(weight, "missing", detail)
    return replace(row, initializer=weight.text, expected_std=row.std, std=None)


def _new_row(weight: WeightContract, expected: Contract) -> WeightAudit:
    hint = ""
    if len(expected.rows) <= _MOST_HINTS:
        hint = suggest_matches(weight.path, [candidate.path for candidate in expected.rows])
    return _unpaired_row(weight, "new", f"it was not there{hint}")


def _unpaired_row(weight: WeightContract, status: str, detail: str) -> WeightAudit:
    return WeightAudit(
        path=weight.path,
        status=status,
        detail=detail,
        cause="",
        shape=weight.shape,
        dtype=weight.dtype,
        initializer=None,
        std=weight.profile.std_of_all,
    )
