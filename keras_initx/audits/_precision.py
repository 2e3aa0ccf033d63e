"""The precision of values: whether they were rounded to 16 bits."""

import numpy as np

from keras_initx.audits._outcome import Outcome
from keras_initx.audits._profile import Profile
from keras_initx.audits._property_test import property_test
from keras_initx.audits._reading import Reading

# The bits of the mantissa of bfloat16 and float16.
BITS = {7: "bfloat16", 10: "float16"}
# Independent values with more bits are different numbers.
BITS_OF_RANDOM = 16


def bits_of(reading: Reading) -> int:
    """Return how many bits of the mantissa of float32 are used, up to the last that is not 0."""
    bits = np.bitwise_or.reduce(reading.sample.astype("float32").view("uint32"))
    used = int(bits & 0x7FFFFF)
    if not used:
        return 0
    return 24 - (used & -used).bit_length()


def are_exact(expected: Profile, found: Profile) -> bool:
    """Return whether both have so many bits that no two values are equal by rounding."""
    return min(expected.bits, found.bits) > BITS_OF_RANDOM


@property_test()
def precision(expected: Profile, found: Profile) -> Outcome | None:
    """Test whether values were rounded to 16 bits."""
    # The coarsest dtype that holds all of them.
    bits = next((bits for bits in BITS if found.bits <= bits), None)
    if bits is None or expected.bits <= 2 * bits:
        return None
    if min(found.size, expected.independent) * (expected.bits - bits) <= 100:
        return None
    return Outcome("precision", f"values that were rounded to {BITS[bits]}")
