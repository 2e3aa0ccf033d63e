"""The rows of a report of weights that are compared with others, and causes of another scale."""

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from keras_initx._checks import close_matches
from keras_initx._typing import Shape
from keras_initx.audits._contract import Contract, WeightContract
from keras_initx.audits._groups import WeightAudit, without_numbers
from keras_initx.audits._pairs import Pair, scale_of
from keras_initx.sampling import truncated_quantiles

# What is reported of a weight, the first that was found.
_ORDER = (
    "not finite",
    "reshaped",
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
# With a larger error of the scale, too much could be the cause.
_COARSEST = 0.05
# Unmatched names for which similar ones are looked for.
_MOST_HINTS = 50


def rows_of(pairs: Sequence[Pair], expected: Contract) -> list[WeightAudit]:
    """Return the rows of the report, those of missing weights last."""
    taken = {pair.expected.path for pair in pairs if pair.expected is not None}
    missing = [weight for weight in expected.weights if weight.path not in taken]
    new = [pair.found.path for pair in pairs if pair.expected is None]
    siblings = Counter(
        without_numbers(pair.found.path)
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
    pair: Pair, expected: WeightContract, siblings: Mapping[str, int], draws: int
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
        resolution=pair.resolution,
    )
    if expected.kind != "unknown":
        row = replace(row, initializer=expected.text)
    if expected.std and found.std is not None:
        row = replace(row, ratio=found.std / expected.std)
    if draws == 1 and expected.digest is not None and found.digest is not None:
        row = replace(row, is_unchanged=pair.has_same_bits)
    if pair.failed:
        worst = min(pair.failed, key=lambda test: (_ORDER.index(test.verdict), test.p))
        cause = worst.cause
        if worst.verdict == "scale":
            cause = _scale_cause(pair, siblings[without_numbers(found.path)])
        row = replace(row, verdict=worst.verdict, evidence=worst.evidence, cause=cause, reason="")
    return row


def _scale_cause(pair: Pair, siblings: int) -> str:
    """Return the factor of the scale, with what explains it if a single thing does."""
    scale = pair.together or scale_of(pair)
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
