"""What rules, layers and plans say of a weight: a law, draws, values, or nothing that is known."""

import copy
import hashlib
import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np

from keras_initx._seeds import derived_seed, initializers_within
from keras_initx._typing import Array, DType
from keras_initx.audits._comparison import Comparison, Expectation
from keras_initx.audits._outcome import Outcome, impossible, proven
from keras_initx.audits._profile import (
    Profile,
    merged,
    of_array,
    of_frame,
    of_law,
    of_values,
    spread_of,
)
from keras_initx.audits._properties import compare
from keras_initx.audits._repeated import SAMPLE, epsilon, sampled
from keras_initx.audits._subjects import Subject
from keras_initx.backends import Moments, Region, backend
from keras_initx.initializers import (
    FixedLaw,
    FrameLaw,
    IndependentLaw,
    Law,
    is_exact,
    law_of,
)
from keras_initx.models import array_digest, description
from keras_initx.structure import LayerInitializer

# Draws of an initializer whose law is not known, or has no formula.
_DRAWS = 3
# Rounding of a law to a dtype whose numbers are farther apart, in deviations, changes its shape.
_COARSE = 0.01
# The smallest positive numbers of the dtypes in which weights can vanish.
_SMALLEST = {"float16": 2.0**-24}
# With a smaller probability, it is worth looking for another explanation.
_SUSPICIOUS = 1e-3
# With a larger one, that is the explanation.
_PLAUSIBLE = 1e-5


@dataclass(frozen=True)
class Nothing(Expectation):
    """Nothing is known of a weight, with the reason."""

    reason: str

    def test(self, weight: Subject) -> Comparison:
        return Comparison(weight, self, Profile("unknown"), reason=self.reason)


@dataclass(frozen=True)
class OfInitializer(Expectation):
    """The values that an initializer gives.

    Attributes:
        law: Their law, `None` if it is not known.
        initializer: The initializer.
        fans: See `Expectation`.
    """

    law: Law | None
    initializer: LayerInitializer
    fans: tuple[float, int] | None

    @property
    def text(self) -> str:  # type: ignore[override]
        """The initializer."""
        return description(self.initializer)

    def read(self, weight: Subject) -> Array:
        """Return the values of a weight.

        A process that shares it with others takes its own, if their law is known by itself.
        """
        if weight.values.is_shared and isinstance(self.law, IndependentLaw):
            return np.concatenate([part.reshape(-1) for _, part in weight.values.parts()])
        return weight.values.read()


def of_initializer(initializer: LayerInitializer, weight: Subject) -> OfInitializer:
    """Return what an initializer says of the values of a weight.

    Constants, independent values and frames have a formula. What has none is drawn.
    """
    law = law_of(initializer, weight.shape)
    if isinstance(law, FixedLaw):
        return FixedValues(law, initializer, weight.fans)
    is_coarse = isinstance(law, IndependentLaw) and _is_coarse(law, weight.dtype)
    if isinstance(law, IndependentLaw | FrameLaw) and not is_coarse:
        return OfLaw(law, initializer, weight.fans)
    return OfDraws(law, initializer, weight.fans)


def _is_coarse(law: IndependentLaw, dtype: DType) -> bool:
    """Return whether the numbers of a dtype are so far apart that they have a law of their own."""
    step = max(epsilon(dtype) * abs(law.mean), _SMALLEST.get(dtype, 0.0))
    return step > _COARSE * law.std


@dataclass(frozen=True)
class FixedValues(OfInitializer):
    """Values that do not depend on a seed."""

    law: FixedLaw

    def test(self, weight: Subject) -> Comparison:
        moments = Moments()
        outcomes = []
        for region, values in weight.values.parts():
            moments.add(sampled(values))
            if values.size:
                outcomes.append(self.outcome(weight, values, region))
        found = Profile("fixed", std=moments.std)
        expected = Profile("fixed", std=self.law.std or 0.0)
        return Comparison(weight, self, found, expected, tuple(outcomes))

    def outcome(self, weight: Subject, values: Array, region: Region | None = None) -> Outcome:
        """Return whether those in a region are as they should be, each by itself."""
        expected = np.broadcast_to(self.law.make(), weight.shape)[region or ...]
        # Logarithms and exponentials differ in their last bits.
        tolerance = 2 * epsilon(weight.dtype) * np.abs(expected)
        with np.errstate(invalid="ignore"):  # of two infinities there is no difference
            is_near = np.isfinite(expected) & (np.abs(values - expected) <= tolerance)
        same = is_near | (values == expected)
        count = int(np.count_nonzero(~same))
        if not count:
            return proven("values")
        if not np.isfinite(values[~same]).all():
            return impossible("not finite", "values that are not finite")
        place = np.unravel_index(int(np.argmin(same)), values.shape)
        found = f"{count} of {values.size} differ"
        if (values == values.flat[0]).all():
            found = f"all are {values.flat[0]:.4g}"
        where = ", ".join(str(int(index)) for index in place)
        evidence = f"{found}: [{where}] is {values[place]:.4g} instead of {expected[place]:.4g}"
        return impossible("values", evidence)


@dataclass(frozen=True)
class OfLaw(OfInitializer):
    """Random values whose law has a formula."""

    law: IndependentLaw | FrameLaw

    def test(self, weight: Subject) -> Comparison:
        values = self.read(weight)
        if values.size == 0:
            return Comparison(weight, self, Profile("unknown"), reason="empty")
        expected, found = self.profile(weight.dtype), self.profile_of(values, weight.dtype)
        outcomes = compare(expected, found, weight.dtype)
        sample = _sample(values) if found.kind == "random" else b""
        return Comparison(weight, self, found, expected, outcomes, sample=sample)

    def profile(self, dtype: DType) -> Profile:
        """Return what is expected of values in a dtype."""
        if isinstance(self.law, FrameLaw):
            return of_frame(self.law, dtype)
        return of_law(self.law, dtype)

    def profile_of(self, values: Array, dtype: DType) -> Profile:
        """Return what is known of values, as far as the law says something of it."""
        frame = self.law if isinstance(self.law, FrameLaw) else None
        return of_values(values, dtype, has_parts=False, frame=frame)


@dataclass(frozen=True)
class OfDraws(OfInitializer):
    """Random values of which no more is known than what three draws tell.

    They are drawn from a copy of the initializer with other seeds.
    """

    def test(self, weight: Subject) -> Comparison:
        values = self.read(weight)
        if values.size == 0:
            return Comparison(weight, self, Profile("unknown"), reason="empty")
        expected = self.profile(weight)
        if expected.kind == "fixed":
            return self._test_fixed(weight, expected)
        found = of_values(values, weight.dtype, has_parts=bool(expected.parts))
        outcomes = compare(expected, found, weight.dtype)
        reason = "" if outcomes else expected.reason
        is_drawn = found.kind == "random" and not reason
        sample = _sample(values) if is_drawn else b""
        return Comparison(weight, self, found, expected, outcomes, reason, sample=sample)

    def _test_fixed(self, weight: Subject, expected: Profile) -> Comparison:
        """Test a weight whose draws are equal: what ignores its seed may have had another state."""
        found = of_array(weight.values.stored(), weight.dtype)
        if found.digest == expected.digest:
            return Comparison(weight, self, found, expected, (proven("values"),))
        reason = "equal in each draw of its initializer, and not here"
        return Comparison(weight, self, found, expected, reason=reason)

    def profile(self, weight: Subject) -> Profile:
        """Return what three draws say about the values of a weight."""
        draws = []
        for number in range(_DRAWS):
            drawn = self._drawn(weight, derived_seed(number, "audit", weight.path))
            if drawn is None:
                return Profile("unknown", "its initializer cannot be drawn from")
            draws.append(of_array(drawn, weight.dtype))
        if spread_of(draws) > 1:
            return Profile("unknown", "its scale differs from draw to draw")
        return merged(draws)

    def _drawn(self, weight: Subject, seed: int) -> Array | None:
        """Return values of a copy of the initializer, or `None` if none can be made.

        A function is not called: what it draws from may be a generator of the user.
        """
        initializer: Any = self.initializer
        if not isinstance(initializer, keras.initializers.Initializer):
            return None
        keras.utils.set_random_seed(seed)  # of what has none of its own
        try:
            made = copy.deepcopy(initializer, _other_generators(initializer, seed))
            for place, part in enumerate(initializers_within(made)):
                if hasattr(part, "seed"):
                    part.seed = part._init_seed = derived_seed(seed, place)
            values = made(weight.shape, dtype=weight.dtype)
            values = keras.ops.cast(keras.ops.convert_to_tensor(values), weight.dtype)
            drawn = np.array(backend.host_view(values))
        except Exception:  # a user's class may raise anything
            return None
        return drawn if drawn.shape == weight.shape else None


def _other_generators(initializer: Any, seed: int) -> dict[int, Any]:
    """Return generators in the place of those of an initializer, by the identity of these."""
    others = {}
    for part in initializers_within(initializer):
        for value in vars(part).values():
            if isinstance(value, keras.random.SeedGenerator):
                others[id(value)] = keras.random.SeedGenerator(seed)
    return others


def _sample(values: Array) -> bytes:
    """Return a digest of a sample of the values and their number."""
    step = max(1, values.size // SAMPLE)
    sample = np.ascontiguousarray(values.reshape(-1)[::step])
    whole = hashlib.blake2b(sample.tobytes(), digest_size=16)
    whole.update(str(values.size).encode())
    return whole.digest()


@dataclass(frozen=True)
class OrDeclared(Expectation):
    """What a rule or a layer says, and where values are not so, what the layer declares.

    Attributes:
        stated: What is said.
        declared: Function that returns what the layer declares, as Keras calls its initializer and
            with the fans of the layer. Keras takes those of the shape, also of depthwise kernels.
        is_rule: Whether a rule says it, so that what the layer declares is only an explanation.
    """

    stated: OfInitializer
    declared: Callable[[], Iterable[OfInitializer]]
    is_rule: bool

    @property
    def text(self) -> str:  # type: ignore[override]
        """What is said."""
        return self.stated.text

    def test(self, weight: Subject) -> Comparison:
        found = self.stated.test(weight)
        if found.least >= _SUSPICIOUS or weight.values.is_shared:
            return found
        for other in self.declared():
            of_layer = other.test(weight)
            if self.is_rule and of_layer.least > _PLAUSIBLE:
                found = replace(found, declared=other.text)
            elif not self.is_rule and of_layer.least > found.least:
                found = replace(found, expected=of_layer.expected, outcomes=of_layer.outcomes)
        return found


@dataclass(frozen=True)
class Planned:
    """The values that a weight must have.

    Attributes:
        source: Who says so: `"plan"` or `"seed"`.
        dtype: The name of their dtype.
        digest: Their digest, or `None` if it is not known.
        draw: Function that returns those in a region, or all for `None`.
    """

    source: str
    dtype: DType
    digest: str | None
    draw: Callable[[Region | None], Array]


@dataclass(frozen=True)
class PlannedValues(Expectation):
    """The very values of a plan or a seed, and what is wrong with others.

    Attributes:
        stated: What gives the values.
        planned: The values.
        by_law: What is wrong with others, `None` if they are cut, so that no law is known.
        alpha: See `audit`. No test fails whose probability is larger.
    """

    stated: OfInitializer
    planned: Planned
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
        moments = Moments()
        differing = total = 0
        digest = cause = ""
        rows = None
        proof = "bits"
        for region, values in weight.values.parts():
            moments.add(sampled(values))
            total += values.size
            if region is None and self.planned.digest is not None:
                digest = _digest(values, weight.dtype)
                if digest == self.planned.digest:
                    proof = "digest"
                    continue
            drawn = self.planned.draw(region)
            differing_here = self._differing(drawn, values)
            differing += differing_here
            if region is None and differing_here:
                drawn = np.asarray(drawn, values.dtype)
                cause = "an axis exchanged" if _is_transposed(drawn, values) else ""
                rows = _equal_rows(drawn, values)
        evidence = self._evidence(weight, differing, total, digest)
        outcome = impossible("bits", evidence, cause) if evidence else proven(proof)
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
        if weight.dtype != planned.dtype:
            return f"{weight.dtype}, and {planned.dtype} in the plan"
        if differing:
            return f"{differing} of {total} values are not those of the {planned.source}"
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
