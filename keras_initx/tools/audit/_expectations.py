"""What rules, layers and plans say of a weight: a law, draws, values, or nothing that is known."""

import copy
import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np

from keras_initx._typing import Array, DType
from keras_initx.backends._backend import Region
from keras_initx.backends._current import backend
from keras_initx.backends._moments import Moments
from keras_initx.checkpoints._sources import to_lazy
from keras_initx.initializers._as_ours import adapt_initializer
from keras_initx.initializers._description import description
from keras_initx.initializers._laws import FixedLaw, FrameLaw, IndependentLaw, Law, SlicesLaw
from keras_initx.initializers._seeds import derived_seed, initializers_within
from keras_initx.inspection._hooks import LayerInitializer
from keras_initx.tools.audit._distribution import excess_of_shape
from keras_initx.tools.audit._draws import merged
from keras_initx.tools.audit._equal_values import are_independent, largest_atom
from keras_initx.tools.audit._judgement import Comparison, Expectation
from keras_initx.tools.audit._kinds import compare
from keras_initx.tools.audit._profile import SAMPLE, Profile, epsilon, sampled
from keras_initx.tools.audit._property_test import Outcome, proven
from keras_initx.tools.audit._subjects import Subject, Values, of_array, of_law, of_values
from keras_initx.tools.audit._zeros import axis_of, tolerance_of_frames
from keras_initx.tools.initialize._initialize import needs_axes

# Draws of an initializer whose law is not known, or has no formula.
_DRAWS = 3
# Rounding of a law to a dtype whose numbers are farther apart, in deviations, changes its shape.
_COARSE = 0.01
# The smallest positive numbers of the dtypes in which weights can vanish.
_SMALLEST = {"float16": 2.0**-24}
_UNDRAWN = Profile("unknown", "its initializer cannot be drawn from")
# What is said of a whole whose slices have laws of their own.
_OF_WHOLE = ("copies", "equal slices")
# What is said of values whose scale differs from draw to draw.
_WITHOUT_SCALE = ("not finite", "constant", "shape")
# By so much more may shapes of draws differ than three tell.
_UNSURE = 1.25
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
        has_guessed_fans: See `Expectation`.
    """

    law: Law | None
    initializer: LayerInitializer
    has_guessed_fans: bool = False

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
    stated = _of_law(adapt_initializer(initializer).law(weight.shape), initializer, weight.dtype)
    of_model = weight.weight
    is_guessed = of_model is not None and of_model.has_guessed_axes and needs_axes(initializer)
    return replace(stated, has_guessed_fans=is_guessed)


def _of_law(law: Law | None, initializer: LayerInitializer, dtype: DType) -> OfInitializer:
    if isinstance(law, FixedLaw):
        return FixedValues(law, initializer)
    is_coarse = isinstance(law, IndependentLaw) and _is_coarse(law, dtype)
    if isinstance(law, IndependentLaw | FrameLaw) and not is_coarse:
        return OfLaw(law, initializer)
    if isinstance(law, SlicesLaw):
        return OfSlices(law, initializer)
    return OfDraws(law, initializer)


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
        return Comparison(weight, self, found, Profile("fixed"), tuple(outcomes))

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
            return Outcome("not finite", "values that are not finite")
        place = np.unravel_index(int(np.argmin(same)), values.shape)
        found = f"{count} of {values.size} differ"
        if (values == values.flat[0]).all():
            found = f"all are {values.flat[0]:.4g}"
        where = ", ".join(str(int(index)) for index in place)
        evidence = f"{found}: [{where}] is {values[place]:.4g} instead of {expected[place]:.4g}"
        return Outcome("values", evidence)


@dataclass(frozen=True)
class OfLaw(OfInitializer):
    """Random values whose law has a formula."""

    law: IndependentLaw | FrameLaw

    def test(self, weight: Subject) -> Comparison:
        values = self.read(weight)
        if values.size == 0:
            return Comparison(weight, self, Profile("unknown"), reason="empty")
        expected = of_law(self.law, weight.dtype, values.shape)
        share = largest_atom(expected) if expected.has_distribution else None
        found = of_values(values, weight.dtype, share)
        if isinstance(self.law, FrameLaw) and found.kind == "random":
            has_blocks = self.law.has_form(values, tolerance_of_frames(weight.dtype))
            frames = (self.law.blocks, axis_of(self.law)) if has_blocks else None
            found = replace(found, frames=frames)
        outcomes = compare(expected, found, weight.dtype)
        return Comparison(weight, self, found, expected, outcomes, sample=_sample(values))


@dataclass(frozen=True)
class OfDraws(OfInitializer):
    """Random values of which no more is known than what three draws tell.

    They are drawn from a copy of the initializer with other seeds.
    """

    def test(self, weight: Subject) -> Comparison:
        values = self.read(weight)
        if values.size == 0:
            return Comparison(weight, self, Profile("unknown"), reason="empty")
        draws = [of_array(drawn, weight.dtype) for drawn in self.draws(weight)]
        return self.compared(weight, values, draws)

    def compared(self, weight: Subject, values: Array, draws: Sequence[Profile]) -> Comparison:
        """Return a weight with these values, compared with draws of its initializer."""
        expected = _UNDRAWN if not draws else merged(draws)
        if self.law is not None:
            expected = replace(expected, varies=())  # by chance
        if expected.kind == "fixed":
            return self._test_fixed(weight, expected)
        found = of_values(values, weight.dtype)
        if expected.has_levels and found.kind == "random":
            found = found.with_levels()
        if self.law is None and not are_independent(draws):
            found = replace(found, signs="", ranks="")
        outcomes = compare(expected, found, weight.dtype)
        if "scale" in expected.varies and self.law is None:
            expected = Profile("random", "its scale differs from draw to draw")
            outcomes = _of_shape(draws, found, weight.dtype)
        reason = "" if outcomes else expected.reason
        sample = b"" if reason else _sample(values)
        return Comparison(weight, self, found, expected, outcomes, reason, sample=sample)

    def _test_fixed(self, weight: Subject, expected: Profile) -> Comparison:
        """Test a weight whose draws are equal: what ignores its seed may have had another state."""
        found = of_array(weight.values.stored(), weight.dtype)
        if found.digest == expected.digest:
            return Comparison(weight, self, found, expected, (proven("values"),))
        reason = "equal in each draw of its initializer, and not here"
        return Comparison(weight, self, found, expected, reason=reason)

    def draws(self, weight: Subject) -> list[Array]:
        """Return three draws of a copy of the initializer, none if it cannot be drawn from.

        A function is not called: what it draws from may be a generator of the user.
        """
        initializer: Any = self.initializer
        if not isinstance(initializer, keras.initializers.Initializer):
            return []
        draws = []
        for number in range(_DRAWS):
            seed = derived_seed(number, "audit", weight.path)
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
                return []
            if drawn.shape != weight.shape:
                return []
            draws.append(drawn)
        return draws


@dataclass(frozen=True)
class OfSlices(OfDraws):
    """Slices along axes that have laws of their own, each tested by its law.

    Those whose law is not known are compared with slices of draws; whether slices repeat others,
    with draws of the whole.
    """

    law: SlicesLaw

    has_parts = True

    def test(self, weight: Subject) -> Comparison:
        values = self.read(weight)
        if values.size == 0:
            return Comparison(weight, self, Profile("unknown"), reason="empty")
        drawn = self.draws(weight)
        whole = self.compared(weight, values, [of_array(one, weight.dtype) for one in drawn])
        if whole.found.kind != "random" or whole.is_proven:
            return whole
        outcomes = [outcome for outcome in whole.outcomes if outcome.verdict in _OF_WHOLE]
        for name, law, (of_part, *of_draws) in _slices_of(self.law, [values, *drawn]):
            if of_part.size == 0:
                continue
            part = Subject(weight.path, of_part.shape, weight.dtype, Values(to_lazy(of_part)))
            stated = _of_law(law, self.initializer, weight.dtype)
            if isinstance(stated, OfDraws):
                profiles = [of_array(one, weight.dtype) for one in of_draws]
                comparison = stated.compared(part, of_part, profiles)
            else:
                comparison = stated.test(part)
            for outcome in comparison.outcomes:
                if not outcome.proof:
                    outcomes.append(replace(outcome, evidence=f"{name}: {outcome.evidence}"))
        reason = "" if outcomes else whole.reason
        return replace(whole, outcomes=tuple(outcomes), reason=reason)


def _slices_of(
    law: Law | None, arrays: Sequence[Array], name: str = ""
) -> Iterator[tuple[str, Law | None, Sequence[Array]]]:
    """Yield the slices of arrays at the cuts of a law, each with its name and its own law."""
    if not isinstance(law, SlicesLaw):
        yield name, law, arrays
        return
    cuts = np.cumsum([shape[law.axis] for shape in law.shapes])[:-1]
    parts = zip(*[np.split(array, cuts, law.axis) for array in arrays], strict=True)
    within = f" of {name}" if name else ""
    axis = law.axis % arrays[0].ndim
    for number, of_part in enumerate(parts):
        of_axis = f"part {number + 1} of {len(law.laws)} along axis {axis}{within}"
        yield from _slices_of(law.laws[number], of_part, of_axis)


def _other_generators(initializer: Any, seed: int) -> dict[int, Any]:
    """Return generators in the place of those of an initializer, by the identity of these."""
    others = {}
    for part in initializers_within(initializer):
        for value in vars(part).values():
            if isinstance(value, keras.random.SeedGenerator):
                others[id(value)] = keras.random.SeedGenerator(seed)
    return others


def _of_shape(draws: Sequence[Profile], found: Profile, dtype: DType) -> tuple[Outcome, ...]:
    """Return what is said of values whose scale differs from draw to draw, without the scale.

    Their shape may differ from draw to draw too, more than that of independent values does.
    """
    alike = [_standardized(draw) for draw in draws]
    pairs = itertools.combinations(alike, 2)
    excess = max(1.0, _UNSURE * max(excess_of_shape(*pair) for pair in pairs))
    expected, standard = merged(alike), _standardized(found)
    expected = replace(expected, independent=expected.independent / excess**2)
    standard = replace(standard, independent=standard.independent / excess**2)
    outcomes = compare(expected, standard, dtype)
    return tuple(outcome for outcome in outcomes if outcome.verdict in _WITHOUT_SCALE)


def _standardized(profile: Profile) -> Profile:
    """Return the profile of values with the mean 0 and the deviation 1, if they vary."""
    if profile.kind != "random" or not profile.std:
        return profile
    return profile.moved(0.0, 1.0)


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
        alpha: See `audit`. No test fails whose probability is larger.
    """

    stated: OfInitializer
    declared: Callable[[], Iterable[OfInitializer]]
    is_rule: bool
    alpha: float

    @property
    def text(self) -> str:  # type: ignore[override]
        """What is said."""
        return self.stated.text

    def test(self, weight: Subject) -> Comparison:
        found = self.stated.test(weight)
        if found.least >= max(_SUSPICIOUS, self.alpha) or weight.values.is_shared:
            return found
        for other in self.declared():
            of_layer = other.test(weight)
            if not of_layer.outcomes:
                continue
            if self.is_rule and of_layer.least > _PLAUSIBLE:
                found = replace(found, declared=other.text)
            elif not self.is_rule and of_layer.least > found.least:
                found = replace(found, expected=of_layer.expected, outcomes=of_layer.outcomes)
        return found
