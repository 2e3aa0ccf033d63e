"""What is expected of the values that an initializer gives, and whether a weight has them."""

import copy
import math
from typing import Any

import keras
import numpy as np

from keras_initx._seeds import derived_seed, initializers_within
from keras_initx._typing import Array
from keras_initx.audits._profile import Profile, merged, of_array, of_frame, of_law, spread_of
from keras_initx.audits._repeated import epsilon
from keras_initx.audits._subjects import Subject
from keras_initx.audits._tests import SAME, Test, impossible
from keras_initx.backends import backend
from keras_initx.initializers import FixedLaw, FrameLaw, IndependentLaw, Law

# Draws of an initializer whose law is not known, or has no formula.
_DRAWS = 3
# Rounding of a law to a dtype whose numbers are farther apart, in deviations, changes its shape.
_COARSE = 0.01
# The smallest positive numbers of the dtypes in which weights can vanish.
_SMALLEST = {"float16": 2.0**-24}


def expected_of(subject: Subject, law: Law | None) -> Profile:
    """Return what is expected of the values of a weight, whose law is not fixed.

    Independent values and frames have a formula. What has none is drawn three times from a copy
    of the initializer with other seeds.
    """
    if isinstance(law, IndependentLaw) and not _is_coarse(law, subject.dtype):
        return of_law(law, subject.dtype)
    if isinstance(law, FrameLaw):
        return of_frame(law, subject.shape, subject.dtype)
    draws = []
    for number in range(_DRAWS):
        drawn = _drawn(subject, number)
        if drawn is None:
            return Profile("unknown", "its initializer cannot be drawn from")
        draws.append(of_array(drawn, subject.dtype))
    if spread_of(draws) > 1:
        return Profile("unknown", "its scale differs from draw to draw")
    return merged(draws)


def _is_coarse(law: IndependentLaw, dtype: str) -> bool:
    """Return whether the numbers of a dtype are so far apart that they have a law of their own."""
    step = max(epsilon(dtype) * abs(law.mean), _SMALLEST.get(dtype, 0.0))
    return step > _COARSE * law.std


def _drawn(subject: Subject, number: int) -> Array | None:
    """Return values of a copy of the initializer of a weight, or `None` if none can be made.

    A function is not called: what it draws from may be a generator of the user.
    """
    initializer: Any = subject.initializer
    if not isinstance(initializer, keras.initializers.Initializer):
        return None
    seed = derived_seed(number, "audit", subject.path)
    keras.utils.set_random_seed(seed)  # of what has none of its own
    try:
        made = copy.deepcopy(initializer, _other_generators(initializer, seed))
        for place, part in enumerate(initializers_within(made)):
            if hasattr(part, "seed"):
                part.seed = part._init_seed = derived_seed(seed, place)
        values = made(subject.shape, dtype=subject.dtype)
        values = keras.ops.cast(keras.ops.convert_to_tensor(values), subject.dtype)
        drawn = np.array(backend.host_view(values))
    except Exception:  # a user's class may raise anything
        return None
    return drawn if drawn.shape == subject.shape else None


def _other_generators(initializer: Any, seed: int) -> dict[int, Any]:
    """Return generators in the place of those of an initializer, by the identity of these."""
    others = {}
    for part in initializers_within(initializer):
        for value in vars(part).values():
            if isinstance(value, keras.random.SeedGenerator):
                others[id(value)] = keras.random.SeedGenerator(seed)
    return others


def fixed_test(law: FixedLaw, values: Array, subject: Subject, region: Any = ...) -> Test:
    """Return the test that values do not depend on a seed, each by itself."""
    expected = np.broadcast_to(law.make(), subject.shape)[region]
    # Logarithms and exponentials differ in their last bits.
    tolerance = 2 * epsilon(subject.dtype) * np.abs(expected)
    with np.errstate(invalid="ignore"):  # of two infinities there is no difference
        is_near = np.isfinite(expected) & (np.abs(values - expected) <= tolerance)
    same = is_near | (values == expected)
    count = int(np.count_nonzero(~same))
    if not count:
        return SAME
    if not np.isfinite(values[~same]).all():
        return impossible("not finite", "values that are not finite")
    place = np.unravel_index(int(np.argmin(same)), values.shape)
    found = f"{count} of {values.size} differ"
    if (values == values.flat[0]).all():
        found = f"all are {values.flat[0]:.4g}"
    where = ", ".join(str(int(index)) for index in place)
    evidence = f"{found}: [{where}] is {values[place]:.4g} instead of {expected[place]:.4g}"
    return Test("values", evidence, 0.0, math.inf)
