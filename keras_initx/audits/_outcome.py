"""What a test says of a weight, and which deviations matter."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from keras_initx._typing import DType

# Smaller deviations do not matter, however surely they are there; in 16 bits, where backends round
# what they draw, twice as large ones.
SMALL = 0.01
_SMALL_IN_16_BITS = 0.02
# All verdicts: of those of a weight, the first is reported.
_VERDICTS = (
    "not finite",
    "reshaped",
    "constant",
    "values",
    "equal weights",
    "connections",
    "zeros",
    "equal slices",
    "copies",
    "orthonormality",
    "equal norms",
    "scale",
    "parts",
    "bounds",
    "mean",
    "shape",
    "outliers",
    "precision",
    "dtype",
    "bits",
)


@dataclass(frozen=True)
class Outcome:
    """What a test of one property says.

    Attributes:
        verdict: What is wrong if it fails, e.g. `"scale"`.
        evidence: The numbers.
        p: The probability of such values; 0 where they are impossible.
        deviation: How far they are off, relative to what is expected.
        cause: What explains it, if the test tells.
        proof: What proves that the values are those expected, otherwise empty: equal `"values"`, up
            to rounding; `"bits"`; or the `"digest"` of a plan.
    """

    verdict: str
    evidence: str
    p: float = 0.0
    deviation: float = math.inf
    cause: str = ""
    proof: str = ""

    @property
    def place(self) -> tuple[int, float]:
        """The place among the outcomes of a weight, of which the first that failed is reported."""
        return _VERDICTS.index(self.verdict), self.p


def proven(proof: str) -> Outcome:
    """Return the outcome where values are those expected."""
    return Outcome("values", "", p=1.0, deviation=0.0, proof=proof)


def smallest_effect(dtypes: Iterable[DType]) -> float:
    """Return the deviation of weights with these dtypes below which nothing is reported."""
    return SMALL if {"float16", "bfloat16"}.isdisjoint(dtypes) else _SMALL_IN_16_BITS


def least(outcomes: Iterable[Outcome]) -> float:
    """Return the smallest probability of a deviation that matters, 1 if there is none."""
    return min((outcome.p for outcome in outcomes if outcome.deviation > SMALL), default=1.0)
