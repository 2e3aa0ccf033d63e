"""The rows of a report: the worst of what is said of each weight, and what explains it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from keras_initx._checks import close_matches
from keras_initx.audits._causes import causes_of
from keras_initx.audits._contract import Contract
from keras_initx.audits._contract_lines import WeightContract
from keras_initx.audits._groups import WeightAudit
from keras_initx.audits._judgement import Judged

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
        hint = close_matches(weight.path, new) if len(missing) <= _MOST_HINTS else ""
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
        hint = close_matches(weight.path, [before.path for before in expected.rows])
    return WeightAudit(
        weight.path,
        weight.shape,
        weight.dtype,
        None,
        std=weight.profile.std_of_all,
        verdict="new",
        evidence=f"it was not there{hint}",
    )
