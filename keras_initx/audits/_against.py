"""Compare weights with a contract, or with other weights: are they draws of the same laws?"""

import contextlib
import itertools
import math
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_initx._checkpoints import checkpoint_paths, names_weights
from keras_initx._checks import check_type, close_matches, similar_paths
from keras_initx._files import parse_json
from keras_initx._recipe_names import recipe_of
from keras_initx._typing import DType, Shape
from keras_initx.audits._compare import Test, epsilon, holm, impossible, smallest_effect
from keras_initx.audits._contract import (
    INFINITE,
    NOT_FINITE,
    Contract,
    WeightContract,
    contract_of,
    is_contract,
    needs_no_arguments,
    outline,
    read_contract,
)
from keras_initx.audits._differences import Difference, difference_of
from keras_initx.audits._groups import WeightAudit
from keras_initx.audits._report import AuditReport
from keras_initx.audits._statistics import Statistics
from keras_initx.audits._subjects import (
    NO_ARRAY,
    TIED,
    Audited,
    Subject,
    is_readable,
    opened,
    plain_subjects,
)
from keras_initx.audits._two_samples import FEWEST, error_of_ratio, tests_of
from keras_initx.models import InitializationPlan, is_plan
from keras_initx.rendering import progress
from keras_initx.sampling import truncated_quantiles
from keras_initx.structure import captured_texts

# What is reported of a weight, the first that was found.
_ORDER = (
    "not finite",
    "reshaped",
    "changed",
    "constant",
    "zeros",
    "values",
    "equal weights",
    "copies",
    "orthonormality",
    "scale",
    "parts",
    "mean",
    "shape",
    "bounds",
    "outliers",
    "precision",
    "dtype",
)
# A random weight that is constant by chance has fewer values.
_FEWEST_CONSTANT = 4
# Rounding of what was computed, relative to the largest value.
_ROUNDING = 1e-5
# With a larger error of the scale, too much could be the cause.
_COARSEST = 0.05
# Unmatched names for which similar ones are looked for.
_MOST_HINTS = 50
# The normal quantile of the probability with which a deviation is found that "would be seen".
_POWER = 1.645
_NUMBER = re.compile(r"\d+")


def reference_of(expected: Any) -> Contract | Audited | None:
    """Return the contract or the weights to compare with, `None` for rules, a recipe or a plan.

    Raises:
        TypeError: If it is none of these, such as a function that makes weights.
        ValueError: If it is the path of a file that is none of these.
    """
    if isinstance(expected, Contract | keras.Model):
        return expected
    if isinstance(expected, Mapping):
        return expected if _has_arrays(expected) else None
    paths = checkpoint_paths(expected)
    if paths is None:
        _check_recipe(expected)
        return None
    if isinstance(expected, str) and recipe_of(expected) is not None:
        return None
    if len(paths) > 1:
        return list(paths)
    path = paths[0]
    if names_weights(path):
        return path
    if not os.path.isfile(path):
        return None
    content = None
    problem = "is none of these"
    try:
        content = parse_json(Path(path).read_bytes())
    except ValueError as error:
        problem = str(error)
    if is_contract(content):
        return read_contract("expected", path)
    if is_plan(content):
        return None
    raise ValueError(
        "`expected` must be a file that `Contract.save` or `InitializationPlan.save` wrote, or one "
        f"of weights; this one {problem}. Received: expected={path!r}"
    )


def _check_recipe(expected: Any) -> None:
    """Raise `TypeError` unless this may be a recipe or a plan."""
    if expected is None or isinstance(expected, InitializationPlan):
        return
    if not callable(expected) or isinstance(expected, keras.Layer):
        raise TypeError(
            "`expected` must be rules, a recipe, a plan, a contract or weights. "
            f"Received: {expected=!r}"
        )
    if not isinstance(expected, type) and needs_no_arguments(expected):
        raise TypeError(
            "`expected` must be what a function returns, or `contract(function)`, which calls it "
            f"several times. Received: {expected=!r}"
        )


def _has_arrays(values: Mapping[Any, Any]) -> bool:
    """Return whether a dict has arrays, or numbers in lists, and not the initializers of rules."""
    for value in values.values():
        if _is_array(value) or isinstance(value, list | tuple):
            return True
        if isinstance(value, Mapping) and any(map(_is_array, value.values())):
            return True
    return False


def _is_array(value: Any) -> bool:
    """Return whether a value of a dict is an array, a tensor or a variable of any framework."""
    return hasattr(value, "shape") and hasattr(value, "dtype") and not callable(value)


@dataclass
class _Pair:
    """A weight, and what it is compared with.

    Attributes:
        found: The weight.
        expected: What it is compared with, or `None` if it is new.
        name: The path of what it is compared with, from `names`, or its own.
        is_renamed: Whether that is from `names`.
        tests: The tests.
        failed: Those that failed.
        reason: Why it was not compared.
        together: The scale of this weight and of those of its name in other layers, if it has one.
        resolution: The smallest factor of the scale that would be seen, in 95 of 100 cases.
        difference: How the values differ, if they are compared place by place.
    """

    found: WeightContract
    expected: WeightContract | None
    name: str
    is_renamed: bool
    tests: list[Test] = field(default_factory=list)
    failed: list[Test] = field(default_factory=list)
    reason: str = ""
    together: "_Scale | None" = None
    resolution: float | None = None
    difference: Difference | None = None

    @property
    def has_same_bits(self) -> bool:
        """Whether all values are known to be equal bit for bit."""
        if self.expected is None or self.expected.digest is None:
            return False
        return self.expected.digest == self.found.digest

    @property
    def statistics(self) -> tuple[Statistics, Statistics] | None:
        """The statistics expected and found, if it was and is random."""
        if self.expected is None or {self.expected.kind, self.found.kind} != {"random"}:
            return None
        if self.expected.statistics is None or self.found.statistics is None:
            return None
        return self.expected.statistics, self.found.statistics


def audit_against(
    weights: Contract | Audited,
    like: Contract | Audited,
    *,
    alpha: float,
    names: Mapping[str, str] | None,
    same: bool | None,
) -> AuditReport:
    """Return the report of weights that are compared with others or their contract, see `audit`."""
    with contextlib.ExitStack() as stack:
        found, own = _open(stack, "weights", weights, same)
        expected, others = _open(stack, "expected", like, same)
        pairs = _paired(found, expected, names)
        if same is None and own and others:
            same = _are_versions(pairs)
        if same:
            _take_differences(pairs, own, others)
        else:
            _test(pairs, found, expected, alpha)
    return AuditReport(_rows(pairs, expected), _source(like))


def _open(
    stack: contextlib.ExitStack, name: str, given: Contract | Audited, same: bool | None
) -> tuple[Contract, dict[str, Subject]]:
    """Return the contract of what is given, and its weights by path, open as long as the stack.

    Args:
        stack: What closes them.
        name: Name of the argument in error messages.
        given: A contract, which has no weights, or weights.
        same: Whether values are compared place by place, so that no statistics are needed.
    """
    if isinstance(given, Contract):
        return given, {}
    subjects = plain_subjects(stack.enter_context(opened(name, given)))
    by_path = {subject.path: subject for subject in subjects}
    if same:
        return Contract([outline(subject) for subject in subjects], 1, [], {}), by_path
    return contract_of(subjects), by_path


def _source(like: Contract | Audited) -> str:
    """Return where it says how weights should be."""
    if isinstance(like, Contract):
        return "in the contract"
    paths = checkpoint_paths(like)
    if paths is not None:
        others = " and others" if len(paths) > 1 else ""
        return f"in {os.path.basename(paths[0].rstrip(os.sep))}{others}"
    if isinstance(like, keras.Model):
        return "in the other model"
    return "in the other arrays"


def _paired(found: Contract, expected: Contract, names: Mapping[str, str] | None) -> list[_Pair]:
    """Return each weight with the one that it is compared with.

    Raises:
        TypeError: If `names` is not a dict from patterns to texts.
        ValueError: If one of `names` matches no weight, or cannot be filled in.
    """
    by_path = {weight.path: weight for weight in expected.weights}
    by_slashes = {weight.path.replace(".", "/"): weight for weight in expected.weights}
    renamed = _renamed([weight.path for weight in found.weights], names)
    pairs = []
    for weight in found.weights:
        path = renamed.get(weight.path, weight.path)
        # Some packages join names by dots.
        other = by_path.get(path) or by_slashes.get(path.replace(".", "/"))
        if other is not None and _may_be_random(weight, found.draws, other, expected.draws):
            weight = replace(weight, kind="random")
        pairs.append(_Pair(weight, other, path, weight.path in renamed))
    return pairs


def _may_be_random(
    found: WeightContract, found_draws: int, expected: WeightContract, expected_draws: int
) -> bool:
    """Return whether a fixed weight may be random, like the one that it is compared with.

    Of one draw of either, a pattern may be random, or random values fixed.
    """
    if expected.kind != "random" or found.kind != "fixed" or found.statistics is None:
        return False
    return min(found_draws, expected_draws) == 1


def _renamed(paths: Sequence[str], names: Mapping[str, str] | None) -> dict[str, str]:
    """Return the paths for which `names` has another name, with it."""
    found: dict[str, str] = {}
    if names is None:
        return found
    check_type("names", names, Mapping, "a dict from patterns to names")
    for pattern, template in names.items():
        if not isinstance(pattern, str) or not isinstance(template, str):
            raise TypeError(
                "`names` must be a dict from patterns to names. "
                f"Received: {template!r} for {pattern!r}"
            )
        has_match = False
        for path in paths:
            texts = captured_texts(pattern, path)
            if texts is None:
                continue
            has_match = True
            try:
                found.setdefault(path, template.format(*texts))
            except (IndexError, KeyError, ValueError, AttributeError) as error:
                raise ValueError(
                    "`names` must have names with `{0}` for the text that the first `*` of the "
                    f"pattern stands for. Received: {template!r} for {path!r}: {error}"
                ) from None
        if not has_match:
            raise ValueError(
                "Each of `names` must match a weight. "
                f"Received: {pattern!r}, which matches none{similar_paths(pattern, paths)}"
            )
    return found


def _are_versions(pairs: Sequence[_Pair]) -> bool:
    """Return whether most random weights are equal bit for bit, so that the others have changed."""
    random = [pair for pair in pairs if pair.statistics is not None]
    return 2 * sum(pair.has_same_bits for pair in random) > len(random)


def _take_differences(
    pairs: Sequence[_Pair], own: Mapping[str, Subject], others: Mapping[str, Subject]
) -> None:
    """Compare the values of weights with those of others, place by place."""
    with progress("Comparing", len(pairs), "weights") as advance:
        for pair in pairs:
            advance(1)
            found, expected = pair.found, pair.expected
            if expected is None:
                continue
            if found.shape != expected.shape:
                pair.failed.append(_reshaped(found.shape, expected.shape))
                continue
            subject, other = own[found.path], others[expected.path]
            pair.reason = _reason_of(subject) or _reason_of(other)
            if pair.reason:
                continue
            pair.difference = difference_of(subject.values, other.values)
            if pair.difference.changed:
                test = impossible("changed", str(pair.difference))
                pair.failed.append(replace(test, cause=pair.difference.rows_text))
            elif found.dtype != expected.dtype:
                pair.failed.append(_other_dtype(found.dtype, expected.dtype))


def _reason_of(subject: Subject) -> str:
    """Return why the values of a weight are not compared, if they are not."""
    if subject.reason or is_readable(subject.dtype):
        return subject.reason
    return NO_ARRAY if subject.dtype == "object" else subject.dtype


def _reshaped(found: Shape, expected: Shape) -> Test:
    return impossible("reshaped", f"{found}, and {expected} before")


def _other_dtype(found: DType, expected: DType) -> Test:
    return impossible("dtype", f"{found}, and {expected} before")


def _test(pairs: Sequence[_Pair], found: Contract, expected: Contract, alpha: float) -> None:
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
        least_effect = max(map(smallest_effect, _dtypes(pair)))
        for test in pair.tests:
            if id(test) in failed and test.deviation > least_effect:
                pair.failed.append(test)
        _note_resolution(pair, alpha / max(len(tests), 1))


def _dtypes(pair: _Pair) -> list[DType]:
    """Return the dtype that was found and the one expected."""
    return [weight.dtype for weight in (pair.found, pair.expected) if weight is not None]


def _test_one(pair: _Pair, expected: WeightContract, found_draws: int, expected_draws: int) -> None:
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


def _compare_constant(pair: _Pair, expected: WeightContract, expected_draws: int) -> None:
    """Add the test of a weight that was constant."""
    found = pair.found
    assert expected.value is not None
    if found.kind == "constant" and found.value is not None:
        tolerance = 2 * max(map(epsilon, _dtypes(pair))) * abs(expected.value)
        if abs(found.value - expected.value) <= tolerance:
            pair.tests.append(Test("values", "", p=1.0, deviation=0.0))
        elif expected_draws == 1 and _may_be_drawn(expected):
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


def _may_be_drawn(constant: WeightContract) -> bool:
    """Return whether what one draw calls a constant is a single number, and no simple one."""
    assert constant.value is not None
    if math.prod(constant.shape) > 1:
        return False
    rounded = float(f"{constant.value:.3g}")
    return abs(rounded - constant.value) > epsilon("float32") * abs(constant.value)


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
    pairs: Sequence[_Pair], found: Sequence[Sequence[str]], expected: Sequence[Sequence[str]]
) -> None:
    """Add tests of weights that are equal and were not, or the reverse.

    Args:
        pairs: The weights.
        found: Sets of those that are equal.
        expected: Sets of those that were.
    """
    set_now = {path: number for number, paths in enumerate(found) for path in paths}
    set_before = {path: number for number, paths in enumerate(expected) for path in paths}
    first_now: dict[int, _Pair] = {}
    first_before: dict[int, _Pair] = {}
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


def _share(sets: Mapping[str, int], pair: _Pair, other: _Pair) -> bool:
    """Return whether what two weights are compared with is in one set."""
    assert pair.expected is not None
    assert other.expected is not None
    own = sets.get(pair.expected.path)
    return own is not None and own == sets.get(other.expected.path)


@dataclass(frozen=True)
class _Scale:
    """The ratio of a standard deviation to the expected one: its logarithm, and the error of it."""

    log: float
    error: float


def _scale_of(pair: _Pair) -> _Scale | None:
    """Return the scale of a random weight."""
    if pair.statistics is None or pair.reason:
        return None
    expected, found = pair.statistics
    if not expected.std or not found.std:
        return None
    return _Scale(math.log(found.std / expected.std), error_of_ratio(expected, found))


def _test_together(pairs: Sequence[_Pair], found: Contract, expected: Contract) -> None:
    """Add tests of the scale of weights that have one name in several layers."""
    # Equal weights are one draw.
    again = {path for paths in (*found.equal, *expected.equal) for path in paths[1:]}
    groups: dict[Any, list[tuple[_Pair, _Scale]]] = {}
    for pair in pairs:
        scale = _scale_of(pair)
        is_again = pair.found.path in again or pair.name in again
        # Frames have an exact scale.
        if scale is not None and scale.error and not pair.has_same_bits and not is_again:
            key = (_NUMBER.sub("*", pair.found.path), pair.found.shape, pair.found.dtype)
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
            pair.together = _Scale(mean, error)


def _note_resolution(pair: _Pair, alpha: float) -> None:
    """Note which factor of the scale would be seen, with tests at `alpha`."""
    scale = _scale_of(pair)
    if scale is None:
        return
    quantile = math.sqrt(2 * math.log(1 / alpha))  # of the normal distribution, a little high
    factor = math.exp((quantile + _POWER) * scale.error)
    pair.resolution = max(factor, 1 + max(map(smallest_effect, _dtypes(pair))))


def _rows(pairs: Sequence[_Pair], expected: Contract) -> list[WeightAudit]:
    """Return the rows of the report, those of missing weights last."""
    taken = {pair.expected.path for pair in pairs if pair.expected is not None}
    missing = [weight for weight in expected.weights if weight.path not in taken]
    new = [pair.found.path for pair in pairs if pair.expected is None]
    siblings = Counter(
        _NUMBER.sub("*", pair.found.path)
        for pair in pairs
        if any(test.verdict == "scale" for test in pair.failed)
    )
    has_hints = len(missing) + len(new) <= _MOST_HINTS
    rows = []
    for pair in pairs:
        if pair.expected is None:
            evidence = f"there is no {pair.name!r}" if pair.is_renamed else "it was not there"
            if has_hints:
                evidence += close_matches(pair.name, [weight.path for weight in missing])
            row = _row(pair.found, verdict="new", evidence=evidence)
            rows.append(replace(row, std=pair.found.std))
        else:
            rows.append(_row_of_pair(pair, pair.expected, siblings, expected.draws))
    for weight in missing:
        evidence = "it is not there any more"
        if has_hints:
            evidence += close_matches(weight.path, new)
        row = _row(weight, verdict="missing", evidence=evidence)
        rows.append(replace(row, initializer=weight.text, expected_std=weight.std))
    return rows


def _row(weight: WeightContract, **fields: Any) -> WeightAudit:
    return WeightAudit(weight.path, weight.shape, weight.dtype, "", **fields)


def _row_of_pair(
    pair: _Pair, expected: WeightContract, siblings: Mapping[str, int], draws: int
) -> WeightAudit:
    """Return the row of a weight that was compared.

    Args:
        pair: The weight.
        expected: What it was compared with.
        siblings: The number of weights with another scale, by what is common to their names.
        draws: The number of draws that `expected` is known from.
    """
    found = pair.found
    row = _row(
        found,
        reason=pair.reason,
        std=found.std,
        expected_std=expected.std,
        difference=pair.difference,
        resolution=pair.resolution,
    )
    if expected.kind != "unknown":
        row = replace(row, initializer=expected.text)
    if expected.std and found.std is not None:
        row = replace(row, ratio=found.std / expected.std)
    if pair.difference is not None:
        is_unchanged = pair.difference.changed == 0
        row = replace(row, is_unchanged=is_unchanged, rows_unchanged=pair.difference.unchanged_rows)
    elif draws == 1 and expected.digest is not None and found.digest is not None:
        row = replace(row, is_unchanged=pair.has_same_bits)
    if pair.failed:
        worst = min(pair.failed, key=lambda test: (_ORDER.index(test.verdict), test.p))
        cause = worst.cause
        if worst.verdict == "scale":
            cause = _scale_cause(pair, siblings[_NUMBER.sub("*", found.path)])
        row = replace(row, verdict=worst.verdict, evidence=worst.evidence, cause=cause, reason="")
    return row


def _scale_cause(pair: _Pair, siblings: int) -> str:
    """Return the factor of the scale, with what explains it if a single thing does."""
    scale = pair.together or _scale_of(pair)
    if scale is None:
        return ""
    text = f"{math.exp(scale.log):.3g} times"
    tolerance = 4 * scale.error + 0.002
    if tolerance > _COARSEST:
        return text
    causes = []
    for cause, factor in _scale_candidates(pair.found.shape, siblings):
        if abs(scale.log - math.log(factor)) < tolerance and cause not in causes:
            causes.append(cause)
    if len(causes) == 1:
        return f"{text}: {causes[0]}"
    return text


def _scale_candidates(shape: Shape, siblings: int) -> Iterator[tuple[str, float]]:
    """Yield what may have happened, each with the factor of the standard deviation."""
    if siblings > 1:
        yield f"factor 1/sqrt({siblings}) for the depth", siblings**-0.5
        yield f"factor 1/sqrt({siblings}) for the depth left out", siblings**0.5
    yield "a gain of sqrt(2)", math.sqrt(2)
    yield "a gain of sqrt(2) left out", math.sqrt(0.5)
    kept = truncated_quantiles(-2.0, 2.0).stddev
    yield "the standard deviation is that before truncation", kept
    yield "corrected for truncation", 1 / kept
    fans: set[float] = set()
    for size in range(1, len(shape) + 1):
        fans.update(math.prod(axes) for axes in itertools.combinations(shape, size))
    if len(shape) == 2:
        fans.add(sum(shape) / 2)
    for one, other in itertools.permutations(sorted(fans), 2):
        yield f"a fan of {one:g} instead of {other:g}", math.sqrt(other / one)
