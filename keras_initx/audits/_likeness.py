"""Weights compared with those of a contract."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from keras_initx._typing import DType
from keras_initx.audits._comparison import Comparison, Expectation
from keras_initx.audits._contract import Contract
from keras_initx.audits._contract_lines import WeightContract
from keras_initx.audits._kinds import compare
from keras_initx.audits._outcome import Outcome
from keras_initx.audits._profile import NOTHING, Profile
from keras_initx.audits._property_test import FEWEST
from keras_initx.audits._reading import epsilon
from keras_initx.audits._subjects import TIED


@dataclass(frozen=True)
class OfContract(Expectation):
    """How a weight was drawn before.

    Attributes:
        line: The weight before.
        draws: The number of draws that it was measured from.
        draws_found: That of the weight that is tested.
    """

    line: WeightContract
    draws: int
    draws_found: int

    is_measured = True

    @property
    def text(self) -> str | None:  # type: ignore[override]
        """How it was drawn, in words."""
        return None if self.line.kind == "unknown" else self.line.text

    @property
    def path(self) -> str:  # type: ignore[override]
        """Its path then."""
        return self.line.path

    @property
    def dtype(self) -> DType:  # type: ignore[override]
        """Its dtype then."""
        return self.line.dtype

    def test(self, weight: WeightContract) -> Comparison:
        expected, found = self.line.profile, weight.profile
        outcomes, are_comparable = self._of_array(weight)
        reason = ""
        if are_comparable:
            found = self._as_drawn(weight)
            of_values, reason = self._of_values(weight, found)
            outcomes += of_values
        is_unchanged = None
        if self.draws == 1 and expected.kind == found.kind == "constant":
            is_unchanged = weight.dtype == self.dtype and expected.value == found.value
        elif self.draws == 1 and None not in (expected.digest, found.digest):
            is_unchanged = expected.digest == found.digest
        return Comparison(
            weight, self, found, expected, tuple(outcomes), reason, is_unchanged=is_unchanged
        )

    def _as_drawn(self, weight: WeightContract) -> Profile:
        """Return what is found: one draw of either does not tell fixed values from random ones."""
        found = weight.profile
        are_drawn = self.line.kind == "random" and found.has_distribution
        if found.kind == "fixed" and are_drawn and 1 in (self.draws, self.draws_found):
            return replace(found, kind="random")
        return found

    def _of_array(self, weight: WeightContract) -> tuple[list[Outcome], bool]:
        """Return what is said of the array as a whole, and whether values can be compared."""
        line = self.line
        if weight.shape != line.shape:
            is_exchanged = sorted(weight.shape) == sorted(line.shape)
            cause = "an axis exchanged" if is_exchanged else ""
            evidence = f"{weight.shape}, and {line.shape} before"
            return [Outcome("reshaped", evidence, cause=cause)], False
        outcomes = []
        if weight.dtype != line.dtype:
            outcomes.append(Outcome("dtype", f"{weight.dtype}, and {line.dtype} before"))
        now, before = weight.profile.reason, line.profile.reason
        if now.startswith(TIED) == before.startswith(TIED):
            return outcomes, True
        evidence = f"{now}, and was not" if now else f"no longer {before}"
        return [*outcomes, Outcome("equal weights", evidence)], False

    def _of_values(self, weight: WeightContract, found: Profile) -> tuple[list[Outcome], str]:
        """Return what tests say of the values, and why they are not compared."""
        line, expected = self.line, self.line.profile
        if self.draws == 1:
            are_constant = expected.kind == found.kind == "constant"
            if are_constant and math.prod(line.shape) == 1 and found.value != expected.value:
                return [], "one value, of one draw"
            expected = _of_one_draw(expected)
        outcomes = []
        for outcome in compare(expected, found, max(weight.dtype, line.dtype, key=epsilon)):
            if outcome.verdict != "precision" or weight.dtype == line.dtype:
                outcomes.append(outcome)
        varies = sorted({*expected.varies, *found.varies})
        reason = f"another {' and '.join(varies)} in each draw" if varies else ""
        are_few = min(expected.size, found.size) < FEWEST
        if not outcomes and "unknown" in (expected.kind, found.kind):
            reason = expected.reason or found.reason
        elif are_few and expected.kind == found.kind == "random":
            is_proven = any(outcome.proof for outcome in outcomes)
            reason = "" if is_proven else f"fewer than {FEWEST} values"
        return outcomes, reason


def _of_one_draw(profile: Profile) -> Profile:
    """Return a profile without what may be at other places in each draw."""
    crowded = profile.crowded if profile.crowded == NOTHING else None
    return replace(profile, zeros_at=None, crowded=crowded)


def compared(found: Contract, expected: Contract, names: Mapping[str, str]) -> list[Comparison]:
    """Return each weight that was there before, compared with what it was.

    Args:
        found: The weights.
        expected: Those before.
        names: The paths of those before by the paths of the weights.
    """
    by_path = {weight.path: weight for weight in expected.rows}
    comparisons = []
    for weight in found.rows:
        if weight.path in names:
            line = by_path[names[weight.path]]
            expectation = OfContract(line, expected.draws, found.draws)
            comparisons.append(expectation.test(weight))
    return comparisons
