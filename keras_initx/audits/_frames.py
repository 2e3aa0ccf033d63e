"""Orthonormality: whether the rows or columns of a weight, or of blocks of it, are orthonormal."""

import math

import numpy as np

from keras_initx._typing import Array, DType
from keras_initx.audits._outcome import Outcome
from keras_initx.audits._profile import Profile
from keras_initx.audits._property_test import property_test
from keras_initx.audits._reading import Reading, epsilon
from keras_initx.initializers._laws import FrameLaw, is_frame

# The numbers of frames beside each other along the last axis: one for each gate.
_FRAMES = (1, 3, 4)
_FEWEST_COLUMNS = 4


def frames_of(reading: Reading) -> tuple[int, str] | None:
    """Return the number of orthonormal blocks and their axis, see `Profile`."""
    values, tolerance = reading.values, tolerance_of_frames(reading.dtype)
    matrices = {"last": values.reshape(-1, values.shape[-1])} if values.ndim > 1 else {}
    if values.ndim > 2:
        matrices["first"] = values.reshape(values.shape[0], -1)
    for axis, matrix in matrices.items():
        if not matrix[0].any():  # as beside the center of a window
            matrix = matrix[matrix.any(axis=1)]
        for count in _FRAMES:
            if matrix.shape[1] % count or (count > 1 and axis == "first"):
                continue
            blocks = np.split(matrix, count, axis=1)
            if all(_are_enough(block, tolerance) for block in blocks) and all(
                is_frame(block, 2 * tolerance) for block in blocks
            ):
                return count, axis
    return None


def tolerance_of_frames(dtype: DType) -> float:
    """Return how far orthonormal values may be from that by rounding."""
    return max(1e-3, 8 * epsilon(dtype))


def _are_enough(block: Array, tolerance: float) -> bool:
    """Return whether a block has more columns than are orthogonal by chance.

    Long columns are nearly so.
    """
    count, length = sorted(block.shape)
    return count >= _FEWEST_COLUMNS and math.sqrt(count / length) >= 10 * tolerance


def axis_of(law: FrameLaw) -> str:
    """Return the axis along which the blocks of a law are orthonormal, see `Profile`."""
    return "first" if 0 in law.output_axes else "last"


@property_test()
def orthonormality(expected: Profile, found: Profile) -> Outcome | None:
    """Test whether blocks are orthonormal."""
    if expected.frames == found.frames:
        return None
    if not expected.frames:
        return Outcome("orthonormality", "orthonormal where it was not")
    if not found.frames:
        return Outcome("orthonormality", "not orthonormal, or with other singular values")
    evidence = f"{_text(*found.frames)}, expected {_text(*expected.frames)}"
    return Outcome("orthonormality", evidence)


def _text(count: int, axis: str) -> str:
    blocks = "orthonormal" if count == 1 else f"{count} orthonormal blocks"
    return f"{blocks} along the {axis} axis"
