"""The number of zeros, and frames, which are orthonormal blocks of a weight.

A *frame* is a matrix whose rows or columns are orthonormal. A weight may have several next to each
other along its last axis, one for each gate: `(4, "last")`. *Connections* are the values that are
not zero. In a kernel of `Sparse(8)`, each unit has 8.
"""

import math

import numpy as np

from keras_initx._typing import Array, DType
from keras_initx.initializers._laws import FrameLaw, is_frame
from keras_initx.tools.audit._equal_values import BITS
from keras_initx.tools.audit._probabilities import log_choose, poisson_tail, rate_p_value
from keras_initx.tools.audit._profile import Profile, Reading, epsilon
from keras_initx.tools.audit._property_test import ONCE, Outcome, property_test

# The numbers of frames next to each other along the last axis: one for each gate of GRU and LSTM.
_FRAMES = (1, 3, 4)
# The share of exact zeros that rounding may make, at most. No continuous distribution has more. Of
# normal draws, one in 65,536 is 0; of those that Keras makes in 16 bits, many more.
MOST_ZEROS = {"bfloat16": 2.0**-7, "float16": 2.0**-9}
MOST_ZEROS_ELSE = 1e-4


def find_frames(reading: Reading) -> tuple[int, str] | None:
    """Find the number of orthonormal blocks and their axis, see `Profile`."""
    values, tolerance = reading.values, choose_frame_tolerance(reading.dtype)
    matrices = {"last": values.reshape(-1, values.shape[-1])} if values.ndim > 1 else {}
    if values.ndim > 2:
        matrices["first"] = values.reshape(values.shape[0], -1)
    for axis, matrix in matrices.items():
        if not matrix[0].any():  # as next to the center of a window
            matrix = matrix[matrix.any(axis=1)]
        for count in _FRAMES:
            if matrix.shape[1] % count or (count > 1 and axis == "first"):
                continue
            blocks = np.split(matrix, count, axis=1)
            if all(_has_enough_columns(block, tolerance) for block in blocks) and all(
                is_frame(block, 2 * tolerance) for block in blocks
            ):
                return count, axis
    return None


def choose_frame_tolerance(dtype: DType) -> float:
    """Choose the tolerance for the rounding of orthonormal values: of products, and to a dtype."""
    return max(1e-3, 8 * epsilon(dtype))


def _has_enough_columns(block: Array, tolerance: float) -> bool:
    # Few columns may be orthogonal by chance, and long ones nearly are: products of random ones are
    # about 1 / sqrt(length), which must be more than the tolerance.
    count, length = sorted(block.shape)
    return count >= 4 and math.sqrt(count / length) >= 10 * tolerance


def get_frame_axis(law: FrameLaw) -> str:
    """Return the axis along which the blocks of a law are orthonormal, see `Profile`."""
    return "first" if 0 in law.output_axes else "last"


@property_test()
def compare_frames(expected: Profile, actual: Profile) -> Outcome | None:
    """Test whether blocks are orthonormal."""
    if expected.frames == actual.frames:
        return None
    if not expected.frames:
        return Outcome("orthonormality", "orthonormal, expected not")
    if not actual.frames:
        return Outcome("orthonormality", "not orthonormal, or with other singular values")
    detail = f"{_describe_frames(*actual.frames)}, expected {_describe_frames(*expected.frames)}"
    return Outcome("orthonormality", detail)


def _describe_frames(count: int, axis: str) -> str:
    blocks = "orthonormal" if count == 1 else f"{count} orthonormal blocks"
    return f"{blocks} along the {axis} axis"


def count_connections(reading: Reading) -> tuple[int, ...]:
    """Count the values that are not zero for each index of the first axis, and of the last.

    A count is -1 if it varies, or if hardly any values are zero.
    """
    values = reading.values
    if not reading.is_sparse:
        return -1, -1
    connections = []
    for matrix in (values.reshape(len(values), -1), values.reshape(-1, values.shape[-1]).T):
        counts = np.count_nonzero(matrix, axis=1)
        are_equal = (counts == counts[0]).all()
        connections.append(int(counts[0]) if are_equal else -1)
    return tuple(connections)


@property_test()
def compare_zeros_with_law(expected: Profile, actual: Profile) -> Outcome | None:
    """Test the number of zeros, if a law predicts how many rounding makes."""
    if expected.law is None:
        return None
    count = round(actual.zeros * actual.total)
    return Outcome(
        "zeros",
        f"{count} of {actual.total} values are 0",
        p=poisson_tail(count, actual.total * expected.zeros),
    )


@property_test()
def compare_input_connections(expected: Profile, actual: Profile) -> Outcome | None:
    """Test the number of values that are not zero for each index of the first axis."""
    return _compare_connections(expected, actual, axis=0)


@property_test()
def compare_unit_connections(expected: Profile, actual: Profile) -> Outcome | None:
    """Test the number of values that are not zero for each index of the last axis."""
    return _compare_connections(expected, actual, axis=1)


def _compare_connections(expected: Profile, actual: Profile, axis: int) -> Outcome | None:
    before, now = expected.connections[axis], actual.connections[axis]
    if before <= 0 or before == now:
        return None
    name = ("first", "last")[axis]
    count = "a varying number of" if now < 0 else f"{now}"
    detail = f"{count} values that are not 0 at each index of the {name} axis"
    p = _compute_chance_of_count(before, expected) ** ONCE * _compute_chance_of_count(now, actual)
    return Outcome("connections", f"{detail}, expected {before}", p)


def _compute_chance_of_count(count: int, profile: Profile) -> float:
    """Compute the probability that each index has so many connections, 1 if the count varies.

    If zeros are random, a few indices have one count by chance, by the binomial distribution.
    """
    if count < 1:
        return 1.0
    share = 1 - profile.zeros
    indices = profile.total * share / count
    length = round(profile.total / indices)
    log_chance = count * math.log(share) + (length - count) * math.log(profile.zeros)
    return math.exp((round(indices) - 1) * (float(log_choose(length, count)) + log_chance))


@property_test()
def compare_zero_shares(expected: Profile, actual: Profile) -> Outcome | None:
    """Test the share of zeros, compared with other draws."""
    if expected.law is not None:
        return None
    # Rounding to 16 bits makes zeros, on one backend more than on another.
    is_rounded = min(expected.bits, actual.bits) <= max(BITS)
    rounded = max(MOST_ZEROS.values()) if is_rounded else 0.0
    deviation = math.inf if abs(actual.zeros - expected.zeros) > rounded else 0.0
    before, now = expected.zeros * expected.total, actual.zeros * actual.total
    return Outcome(
        "zeros",
        f"a share of {actual.zeros:.3g} of the values are 0, expected {expected.zeros:.3g}",
        p=rate_p_value(before, expected.total, now, actual.total),
        deviation=deviation,
    )
