"""The expectations of a weight's values from its initializer, from exact values to nothing.

    FixedValues           zeros, Identity: the values themselves
    LawExpectation        HeNormal, Orthogonal: a law that has a formula
    DrawsExpectation      the initializer of a user: what three draws tell
    NotKnown              a weight that no rule reaches, with the reason

`DeclaredFallback` compares with the layer if a weight differs from its rule, because perhaps nobody
applied the rule.
"""

import copy
import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np

from keras_initx._keras import give_seed
from keras_initx._typing import Array, DType
from keras_initx.backends._backend import Region
from keras_initx.backends._current import backend
from keras_initx.backends._moments import Moments
from keras_initx.initializers._as_ours import adapt_initializer
from keras_initx.initializers._description import description
from keras_initx.initializers._laws import FixedLaw, FrameLaw, IndependentLaw, Law, MixedLaw
from keras_initx.initializers._seeds import derived_seed, initializers_within
from keras_initx.inspection._hooks import LayerInitializer
from keras_initx.tools.audit._compare_profiles import compare_profiles
from keras_initx.tools.audit._draws import describe_variation, merge_draws
from keras_initx.tools.audit._equal_values import are_independent
from keras_initx.tools.audit._judgement import Comparison, Expectation
from keras_initx.tools.audit._profile import SAMPLE, Profile, epsilon, sample_for_moments
from keras_initx.tools.audit._property_test import ALPHA, EXPLAINED, Outcome, proven
from keras_initx.tools.audit._subjects import (
    Subject,
    profile_array,
    profile_law,
    profile_values,
)
from keras_initx.tools.audit._zeros import choose_frame_tolerance, get_frame_axis
from keras_initx.tools.initialize._initialize import needs_axes


@dataclass(frozen=True)
class NotKnown(Expectation):
    """A weight without any expectation, with the reason."""

    reason: str

    def test(self, weight: Subject) -> Comparison:
        return Comparison(weight, self, Profile("unknown"), reason=self.reason)


@dataclass(frozen=True)
class InitializerExpectation(Expectation):
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
        """Read the values of a weight.

        If processes share the weight, a process reads its own part, if this part alone has the law.
        """
        if weight.values.is_shared and isinstance(self.law, IndependentLaw):
            return np.concatenate([values.reshape(-1) for _, values in weight.values.parts()])
        return weight.values.read()


def expect_initializer(initializer: LayerInitializer, weight: Subject) -> InitializerExpectation:
    """Choose the most exact expectation that an initializer allows."""
    expectation = _expect_law(
        adapt_initializer(initializer).law(weight.shape), initializer, weight.dtype
    )
    model_weight = weight.weight
    are_guessed = (
        model_weight is not None and model_weight.has_guessed_axes and needs_axes(initializer)
    )
    return replace(expectation, has_guessed_fans=are_guessed)


def _expect_law(
    law: Law | None, initializer: LayerInitializer, dtype: DType
) -> InitializerExpectation:
    if isinstance(law, FixedLaw):
        return FixedValues(law, initializer)
    is_coarse = isinstance(law, IndependentLaw) and _is_coarse(law, dtype)
    if isinstance(law, IndependentLaw | FrameLaw) and not is_coarse:
        return LawExpectation(law, initializer)
    return DrawsExpectation(law, initializer)


def _is_coarse(law: IndependentLaw, dtype: DType) -> bool:
    # The numbers of the dtype are so far apart that rounded values have a law of their own. Up to
    # this distance, rounding changes a distribution function by 0.2 %, which no test shows.
    smallest = 2.0**-24 if dtype == "float16" else 0.0  # in which weights can vanish
    step = max(epsilon(dtype) * abs(law.mean), smallest)
    return step > 0.01 * law.std


@dataclass(frozen=True)
class FixedValues(InitializerExpectation):
    """Values that do not depend on a seed."""

    law: FixedLaw

    def test(self, weight: Subject) -> Comparison:
        moments = Moments()
        outcomes = []
        for region, values in weight.values.parts():
            moments.add(sample_for_moments(values))
            if values.size:
                outcomes.append(self.test_region(weight, values, region))
        actual = Profile("fixed", std=moments.std)
        return Comparison(weight, self, actual, Profile("fixed"), tuple(outcomes))

    def test_region(self, weight: Subject, values: Array, region: Region | None = None) -> Outcome:
        """Test each value of a region by itself."""
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
        first = np.unravel_index(int(np.argmin(same)), values.shape)
        difference = f"{count} of {values.size} differ"
        if (values == values.flat[0]).all():
            difference = f"all are {values.flat[0]:.4g}"
        index = ", ".join(str(int(number)) for number in first)
        detail = f"{difference}: [{index}] is {values[first]:.4g} instead of {expected[first]:.4g}"
        return Outcome("values", detail)


@dataclass(frozen=True)
class LawExpectation(InitializerExpectation):
    """Random values whose law has a formula."""

    law: IndependentLaw | FrameLaw

    def test(self, weight: Subject) -> Comparison:
        values = self.read(weight)
        if values.size == 0:
            return Comparison(weight, self, Profile("unknown"), reason="empty")
        expected = profile_law(self.law, weight.dtype, values.shape)
        actual = profile_values(values, weight.dtype)
        if isinstance(self.law, FrameLaw) and actual.kind == "random":
            has_blocks = self.law.has_form(values, choose_frame_tolerance(weight.dtype))
            frames = (self.law.blocks, get_frame_axis(self.law)) if has_blocks else None
            actual = replace(actual, frames=frames)
        outcomes = compare_profiles(expected, actual, weight.dtype)
        return Comparison(weight, self, actual, expected, outcomes, sample=_digest_sample(values))


@dataclass(frozen=True)
class DrawsExpectation(InitializerExpectation):
    """Random values that are only known from three draws.

    A copy of the initializer draws them, with other seeds.
    """

    def test(self, weight: Subject) -> Comparison:
        values = self.read(weight)
        if values.size == 0:
            return Comparison(weight, self, Profile("unknown"), reason="empty")
        draws = [profile_array(array, weight.dtype) for array in self.draw(weight)]
        expected = Profile("unknown", "its initializer cannot be drawn from")
        if draws:
            expected = merge_draws(draws)
        if self.law is not None:
            expected = replace(expected, varies=False)  # by chance
        if isinstance(self.law, MixedLaw):  # beside a part of zeros, others have one now and then
            expected = replace(expected, connections=(-1, -1))
        if expected.kind == "fixed":
            return self._test_fixed(weight, expected)
        actual = profile_values(values, weight.dtype)
        if self.law is None and not are_independent(draws):
            actual = replace(actual, signs="", ranks="")
        outcomes = compare_profiles(expected, actual, weight.dtype)
        reason = "" if outcomes else expected.reason
        sample = b"" if reason else _digest_sample(values)
        variation = describe_variation(expected)
        if variation:
            reason = variation
            expected = Profile("random", reason)  # of which no deviation is known
        return Comparison(weight, self, actual, expected, outcomes, reason, sample=sample)

    def _test_fixed(self, weight: Subject, expected: Profile) -> Comparison:
        """Test a weight whose draws are equal. An initializer may have had other state."""
        actual = profile_array(weight.values.read_stored(), weight.dtype)
        if actual.digest == expected.digest:
            return Comparison(weight, self, actual, expected, (proven("values"),))
        reason = "equal in each draw of its initializer, and not here"
        return Comparison(weight, self, actual, expected, reason=reason)

    def draw(self, weight: Subject) -> list[Array]:
        """Draw three times from a copy of the initializer; no draws if that fails.

        A function is not called: it may draw from a generator of the user, and change its state.
        """
        initializer: Any = self.initializer
        if not isinstance(initializer, keras.initializers.Initializer):
            return []
        draws = []
        for number in range(3):  # as a contract has
            seed = derived_seed(number, "audit", weight.path)
            keras.utils.set_random_seed(seed)  # for an initializer without a seed of its own
            try:
                copied = copy.deepcopy(initializer, _map_generators(initializer, seed))
                for index, inner in enumerate(initializers_within(copied)):
                    if hasattr(inner, "seed"):
                        give_seed(inner, derived_seed(seed, index))
                values = copied(weight.shape, dtype=weight.dtype)
                values = keras.ops.cast(keras.ops.convert_to_tensor(values), weight.dtype)
                array = np.array(backend.host_view(values))
            except Exception:  # a user's class may raise anything
                return []
            if array.shape != weight.shape:
                return []
            draws.append(array)
        return draws


def _map_generators(initializer: Any, seed: int) -> dict[int, Any]:
    """Make new generators for an initializer, in the form of the memo of `deepcopy`."""
    generators = {}
    for inner in initializers_within(initializer):
        for value in vars(inner).values():
            if isinstance(value, keras.random.SeedGenerator):
                generators[id(value)] = keras.random.SeedGenerator(seed)
    return generators


def _digest_sample(values: Array) -> bytes:
    # Of a sample of the values and their number.
    step = max(1, values.size // SAMPLE)
    sample = np.ascontiguousarray(values.reshape(-1)[::step])
    digest = hashlib.blake2b(sample.tobytes(), digest_size=16)
    digest.update(str(values.size).encode())
    return digest.digest()


@dataclass(frozen=True)
class DeclaredFallback(Expectation):
    """The initializer of a rule or a layer, with the layer's own initializer as a fallback.

    Attributes:
        stated: The initializer of the rule or the layer.
        declared: Function that returns the layer's own initializer in two forms: as Keras calls it,
            and with the fans of the layer. Keras takes fans from the shape, even for depthwise
            kernels.
        is_rule: Whether a rule states the initializer. Then the layer's own is only an explanation.
    """

    stated: InitializerExpectation
    declared: Callable[[], Iterable[InitializerExpectation]]
    is_rule: bool

    @property
    def text(self) -> str:  # type: ignore[override]
        """The initializer of the rule or the layer, in words."""
        return self.stated.text

    def test(self, weight: Subject) -> Comparison:
        comparison = self.stated.test(weight)
        if comparison.least_p_value >= ALPHA or weight.values.is_shared:
            return comparison
        for expectation in self.declared():
            declared = expectation.test(weight)
            if not declared.outcomes:
                continue
            if self.is_rule and declared.least_p_value > EXPLAINED:
                comparison = replace(comparison, declared=expectation.text)
            elif not self.is_rule and declared.least_p_value > comparison.least_p_value:
                comparison = replace(
                    comparison, expected=declared.expected, outcomes=declared.outcomes
                )
        return comparison
