"""The very values of a plan or a seed, and what is wrong with others."""

import itertools
from dataclasses import dataclass, replace

import numpy as np

from keras_initx._typing import Array, DType
from keras_initx.audits._comparison import Comparison, Expectation
from keras_initx.audits._expectations import OfInitializer
from keras_initx.audits._outcome import Outcome, proven
from keras_initx.audits._profile import Profile
from keras_initx.audits._reading import sampled
from keras_initx.audits._subjects import Subject
from keras_initx.backends._moments import Moments
from keras_initx.initializers._sharding import is_exact
from keras_initx.models._digest import array_digest
from keras_initx.models._planned_weight import PlannedWeight


@dataclass(frozen=True)
class PlannedValues(Expectation):
    """The very values of a plan or a seed, and what is wrong with others.

    Attributes:
        stated: What gives the values.
        planned: The values.
        source: Who says so: `"plan"` or `"seed"`.
        by_law: What is wrong with others, `None` if they are cut, so that no law is known.
        alpha: See `audit`. No test fails whose probability is larger.
    """

    stated: OfInitializer
    planned: PlannedWeight
    source: str
    by_law: Expectation | None
    alpha: float

    @property
    def text(self) -> str:  # type: ignore[override]
        """What gives the values."""
        return self.stated.text

    def test(self, weight: Subject) -> Comparison:
        by_bits = self._test_bits(weight)
        (outcome,) = by_bits.outcomes
        if self.by_law is None or self.stated.law is None or outcome.proof == "bits":
            return by_bits
        by_law = self.by_law.test(weight)
        if outcome.proof and by_law.least <= self.alpha:
            # By chance, or the line was edited after its digest had been written.
            return replace(self, planned=replace(self.planned, digest=None)).test(weight)
        return replace(
            by_law,
            outcomes=(outcome, *by_law.outcomes),
            is_unchanged=by_bits.is_unchanged,
            rows_unchanged=by_bits.rows_unchanged,
        )

    def _test_bits(self, weight: Subject) -> Comparison:
        """Test whether a weight has the values.

        They are compared in the parts in which they lie on devices: no process needs those of
        others. Their digest is enough, where it is known.
        """
        planned = replace(self.planned)  # what it keeps goes with it
        moments = Moments()
        differing = total = 0
        digest = cause = ""
        rows = None
        proof = "bits"
        for region, values in weight.values.parts():
            moments.add(sampled(values))
            total += values.size
            if region is None and planned.digest is not None:
                digest = _digest(values, weight.dtype)
                if digest == planned.digest:
                    proof = "digest"
                    continue
            drawn = planned.values(region)
            differing_here = self._differing(drawn, values)
            differing += differing_here
            if region is None and differing_here:
                drawn = np.asarray(drawn, values.dtype)
                cause = "an axis exchanged" if _is_transposed(drawn, values) else ""
                rows = _equal_rows(drawn, values)
        evidence = self._evidence(weight, differing, total, digest)
        outcome = Outcome("bits", evidence, cause=cause) if evidence else proven(proof)
        # Of what is computed by matrix products, the last bits are not known.
        is_known = evidence or proof == "digest" or is_exact(self.stated.initializer)
        std = None if self.stated.law is None else self.stated.law.std
        return Comparison(
            weight,
            self.stated,
            Profile("random", std=moments.std),
            Profile("unknown", std=std or 0.0),
            (outcome,),
            is_unchanged=not evidence if is_known else None,
            rows_unchanged=rows if evidence else None,
        )

    def _evidence(self, weight: Subject, differing: int, total: int, digest: str) -> str:
        """Return how the values differ, empty if they do not."""
        planned = self.planned
        if weight.dtype != planned.row.dtype:
            return f"{weight.dtype}, and {planned.row.dtype} in the plan"
        if differing:
            return f"{differing} of {total} values are not those of the {self.source}"
        if digest and digest != planned.digest:
            return f"the digest is {digest}, and {planned.digest} in the plan"
        return ""

    def _differing(self, drawn: Array, values: Array) -> int:
        """Return how many values are not those that were drawn."""
        drawn = np.asarray(drawn, values.dtype)
        differ = drawn != values
        if not is_exact(self.stated.initializer):
            finite = np.isfinite(drawn)
            tolerance = 1e-5 * max(1.0, float(np.abs(drawn).max(initial=0, where=finite)))
            with np.errstate(invalid="ignore"):
                differ &= ~(finite & (np.abs(drawn - values) <= tolerance))
        return int(np.count_nonzero(differ))


def _digest(values: Array, dtype: DType) -> str:
    """Return the digest of values that were read as numbers."""
    if dtype != "float64":  # which is float32 on JAX, without its option
        values = values.astype(dtype, copy=False)
    return array_digest(values)


def _is_transposed(drawn: Array, values: Array) -> bool:
    """Return whether values are those that were drawn, with axes in another order."""
    flat = values.reshape(-1)
    for order in itertools.permutations(range(drawn.ndim)):
        changed = drawn.transpose(order)
        # Most arrays differ at the beginning already.
        if np.array_equal(changed.flat[:64], flat[:64]) and np.array_equal(changed.ravel(), flat):
            return True
    return False


def _equal_rows(drawn: Array, values: Array) -> int | None:
    """Return how many slices along the first axis are as drawn, `None` of a vector."""
    if values.ndim < 2:
        return None
    differ = values.reshape(len(values), -1) != drawn.reshape(len(values), -1)
    return int(np.count_nonzero(~differ.any(axis=1)))
