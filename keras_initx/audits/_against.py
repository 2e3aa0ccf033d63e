"""Compare weights with a contract, or with other weights: are they draws of the same laws?"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_initx._typing import DType, Shape
from keras_initx.audits._compare import Test, epsilon, holm, impossible, smallest_effect
from keras_initx.audits._contract import (
    INFINITE,
    NOT_FINITE,
    Contract,
    WeightContract,
    contract_of,
)
from keras_initx.audits._groups import without_numbers
from keras_initx.audits._pair_rows import rows_of
from keras_initx.audits._pairs import Pair, Scale, dtypes_of, note_resolution, paired, scale_of
from keras_initx.audits._reference import source_of
from keras_initx.audits._report import AuditReport
from keras_initx.audits._subjects import TIED, Audited, opened, plain_subjects
from keras_initx.audits._two_samples import FEWEST, tests_of

# A random weight that is constant by chance has fewer values.
_FEWEST_CONSTANT = 4
# Rounding of what was computed, relative to the largest value.
_ROUNDING = 1e-5


def audit_against(
    weights: Contract | Audited,
    like: Contract | Audited,
    *,
    alpha: float,
    names: Mapping[str, str] | None,
) -> AuditReport:
    """Return the report of weights that are compared with others or their contract, see `audit`."""
    found = _contract_of("weights", weights)
    expected = _contract_of("expected", like)
    pairs = paired(found, expected, names)
    _test(pairs, found, expected, alpha)
    return AuditReport(rows_of(pairs, expected), source_of(like))


def _contract_of(name: str, given: Contract | Audited) -> Contract:
    """Return the contract of what is given; `name` is that of the argument in error messages."""
    if isinstance(given, Contract):
        return given
    with opened(name, given) as found:
        return contract_of(plain_subjects(found))


def _reshaped(found: Shape, expected: Shape) -> Test:
    return impossible("reshaped", f"{found}, and {expected} before")


def _other_dtype(found: DType, expected: DType) -> Test:
    return impossible("dtype", f"{found}, and {expected} before")


def _test(pairs: Sequence[Pair], found: Contract, expected: Contract, alpha: float) -> None:
    """Test all weights together, and note what failed."""
    draws = found.draws, expected.draws
    for pair in pairs:
        if pair.expected is not None:
            _test_one(pair, pair.expected, *draws)
    _test_equal(pairs, found.equal, expected.equal)
    _test_together(pairs, found, expected)
    tests = {id(test): test for pair in pairs for test in pair.tests}
    failed = {id(test) for test in holm(tests.values(), alpha)}
    for pair in pairs:
        least_effect = max(map(smallest_effect, dtypes_of(pair)))
        for test in pair.tests:
            if id(test) in failed and test.deviation > least_effect:
                pair.failed.append(test)
        note_resolution(pair, alpha / max(len(tests), 1))


def _test_one(pair: Pair, expected: WeightContract, found_draws: int, expected_draws: int) -> None:
    """Add the tests of a weight.

    Args:
        pair: The weight.
        expected: What it is compared with.
        found_draws: The number of draws that the weight is known from.
        expected_draws: The number of those that it is compared with.
    """
    found = pair.found
    # Axes may be in another order, of a square too.
    is_transposed = pair.is_renamed and sorted(found.shape) == sorted(expected.shape)
    if found.shape != expected.shape and not is_transposed:
        pair.tests.append(_reshaped(found.shape, expected.shape))
        return
    if found.dtype != expected.dtype:
        pair.tests.append(_other_dtype(found.dtype, expected.dtype))
    if _is_lost(found, expected):
        pair.tests.append(impossible("not finite", "values that are not finite"))
    elif pair.has_same_bits:
        pair.tests.append(Test("values", "", p=1.0, deviation=0.0))
    elif found.reason.startswith(TIED) != expected.reason.startswith(TIED):
        evidence = (
            f"{found.reason}, and was not" if found.reason else f"no longer {expected.reason}"
        )
        pair.tests.append(impossible("equal weights", evidence))
    elif expected.kind == "fixed" and found.digest is not None:
        pair.tests.append(_test_fixed(expected, found))
    elif expected.kind == "unknown" or found.kind == "unknown":
        pair.reason = expected.reason or found.reason
    elif expected.kind == "fixed":
        pair.tests.append(impossible("values", "another in each draw, which was fixed"))
    elif expected.kind == "constant":
        _compare_constant(pair, expected, expected_draws)
    elif pair.statistics is not None:
        own, other = pair.statistics
        if min(own.size, other.size) < FEWEST:
            pair.reason = f"fewer than {FEWEST} values"
        for test in tests_of(own, other, is_transposed=is_transposed):
            if test.verdict != "precision" or found.dtype == expected.dtype:
                pair.tests.append(test)
    elif found.kind == "constant":
        if math.prod(found.shape) >= _FEWEST_CONSTANT:
            pair.tests.append(_test_constant_now(expected, found))
    elif expected_draws > 1:
        evidence = "the same in each draw, where it was random"
        pair.tests.append(impossible("constant", evidence))


def _is_lost(found: WeightContract, expected: WeightContract) -> bool:
    """Return whether values are not finite that were."""
    if expected.reason in (NOT_FINITE, INFINITE):
        return False
    if expected.kind == "fixed":  # perhaps a mask
        return found.reason == NOT_FINITE
    # Of a mask, there are no statistics.
    is_mask = found.kind == "fixed" and found.statistics is None
    return found.reason in (NOT_FINITE, INFINITE) or (is_mask and expected.kind == "random")


def _compare_constant(pair: Pair, expected: WeightContract, expected_draws: int) -> None:
    """Add the test of a weight that was constant."""
    found = pair.found
    assert expected.value is not None
    if found.kind == "constant" and found.value is not None:
        tolerance = 2 * max(map(epsilon, dtypes_of(pair))) * abs(expected.value)
        if abs(found.value - expected.value) <= tolerance:
            pair.tests.append(Test("values", "", p=1.0, deviation=0.0))
        elif expected_draws == 1 and math.prod(expected.shape) == 1:
            pair.reason = "one value, of one draw"
        else:
            evidence = f"all are {found.value:.4g} where they were {expected.value:.4g}"
            pair.tests.append(impossible("values", evidence))
        return
    evidence = f"not all are {expected.value:.4g} any more"
    if found.kind == "random" and found.statistics is not None and found.statistics.std:
        evidence = (
            f"drawn, with a standard deviation of {found.statistics.std:.3g}, where all were "
            f"{expected.value:.4g}"
        )
    pair.tests.append(impossible("values", evidence))


def _test_constant_now(expected: WeightContract, found: WeightContract) -> Test:
    """Return the test of a constant where values were drawn, of which all may be 0 by chance."""
    evidence = f"all are {found.value:.4g} where it was drawn"
    if found.value != 0:
        return impossible("constant", evidence)
    assert expected.statistics is not None
    p = expected.statistics.zeros ** math.prod(found.shape)
    return Test("zeros", evidence, p, deviation=math.inf)


def _test_fixed(expected: WeightContract, found: WeightContract) -> Test:
    own, other = np.array(expected.places), np.array(found.places)
    if len(own) and len(own) == len(other):
        rounding = 2 * max(epsilon(found.dtype), epsilon(expected.dtype))
        tolerance = max(_ROUNDING, rounding) * float(np.abs(own).max())
        if (np.abs(own - other) <= tolerance).all():
            return Test("values", "", p=1.0, deviation=0.0)
    if found.kind == "constant":
        return impossible("values", f"all are {found.value:.4g} where they were not")
    cause = ""
    if expected.statistics is not None and found.statistics is not None:
        tests = tests_of(expected.statistics, found.statistics, is_transposed=False)
        is_alike = min((test.p for test in tests), default=0.0) > 1e-3
        if is_alike and expected.statistics.size >= 64:
            cause = "distributed as before: another seed?"
    return Test("values", "other values, which were fixed", 0.0, math.inf, cause)


def _test_equal(
    pairs: Sequence[Pair], found: Sequence[Sequence[str]], expected: Sequence[Sequence[str]]
) -> None:
    """Add tests of weights that are equal and were not, or the reverse.

    Args:
        pairs: The weights.
        found: Sets of those that are equal.
        expected: Sets of those that were.
    """
    set_now = {path: number for number, paths in enumerate(found) for path in paths}
    set_before = {path: number for number, paths in enumerate(expected) for path in paths}
    first_now: dict[int, Pair] = {}
    first_before: dict[int, Pair] = {}
    for pair in pairs:
        # New weights are not compared: two buffers may be equal by intention.
        if pair.statistics is None or pair.expected is None:
            continue
        now = set_now.get(pair.found.path)
        before = set_before.get(pair.expected.path)
        if now is not None:
            other = first_now.setdefault(now, pair)
            if pair.expected is not other.expected and not _share(set_before, pair, other):
                evidence = f"equal to {other.found.path!r}, of which it was independent"
                pair.tests.append(impossible("equal weights", evidence))
        if before is not None:
            other = first_before.setdefault(before, pair)
            if pair is not other and (now is None or now != set_now.get(other.found.path)):
                evidence = f"no longer equal to {other.found.path!r}"
                pair.tests.append(impossible("equal weights", evidence))


def _share(sets: Mapping[str, int], pair: Pair, other: Pair) -> bool:
    """Return whether what two weights are compared with is in one set."""
    assert pair.expected is not None
    assert other.expected is not None
    own = sets.get(pair.expected.path)
    return own is not None and own == sets.get(other.expected.path)


def _test_together(pairs: Sequence[Pair], found: Contract, expected: Contract) -> None:
    """Add tests of the scale of weights that have one name in several layers."""
    # Equal weights are one draw.
    again = {path for paths in (*found.equal, *expected.equal) for path in paths[1:]}
    groups: dict[Any, list[tuple[Pair, Scale]]] = {}
    for pair in pairs:
        scale = scale_of(pair)
        is_again = pair.found.path in again or pair.name in again
        # Frames have an exact scale.
        if scale is not None and scale.error and not pair.has_same_bits and not is_again:
            key = (without_numbers(pair.found.path), pair.found.shape, pair.found.dtype)
            groups.setdefault(key, []).append((pair, scale))
    for alike in groups.values():
        if len(alike) < 2:
            continue
        weights = np.array([scale.error**-2 for _, scale in alike])
        mean = float(np.average([scale.log for _, scale in alike], weights=weights))
        error = 1 / math.sqrt(weights.sum())
        if any(abs(scale.log - mean) > 4 * scale.error for _, scale in alike):
            continue  # they differ in different ways
        test = Test(
            "scale",
            f"{math.exp(mean):.3g} times the standard deviation, in {len(alike)} layers together",
            p=math.erfc(abs(mean) / error / math.sqrt(2)),
            deviation=abs(mean) - 2 * error,
        )
        for pair, _ in alike:
            pair.tests.append(test)
            pair.together = Scale(mean, error)
