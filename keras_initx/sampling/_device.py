"""Draw on a device: compiled programs make blocks of a fixed size, which are joined on the device.

A program is a traced draw of a fixed number of elements. Everything else is an argument: key, draw,
start, the parameters of the affine function, and the table. So one program serves all shapes and
standard deviations. On torch, a Triton kernel replaces it if Triton is available.
"""

import functools
import math
from collections.abc import Callable

import numpy as np

from keras_initx._typing import Array, DType, Shape, Tensor
from keras_initx.backends import backend
from keras_initx.sampling._conversion import Convert, affine_by, as_words
from keras_initx.sampling._namespace import TRACED
from keras_initx.sampling._words import words_at

# Elements per block: enough to amortize two calls, and small compared to arrays that are worth a device.
BLOCK = 1 << 22


def draws(
    key: tuple[Tensor, Tensor],
    draw: int,
    shape: Shape,
    start: int,
    convert: Convert,
    table: Array | None,
    numbers: Array,
    dtype: DType,
    out: DType,
) -> Tensor:
    """Return draws of `shape`, made and finished on the device.

    Args:
        key: The two words of the stream's key, as integers or scalar tensors.
        draw: Number of the draw.
        shape: Shape of the result.
        start: Number of the first element.
        convert: The kind of draw.
        table: The table that `convert` takes, or `None`.
        numbers: The numbers of the `Affine` that is applied to all draws except words.
        dtype: The dtype in which draws are computed.
        out: The dtype of the result.
    """
    words, size = (int(key[0]), int(key[1]), int(draw)), math.prod(shape)
    tables = TRACED.convert_to_tensor(numbers), *([] if table is None else [TRACED.convert_to_tensor(table)])
    if backend.has_triton() and size:
        from keras_initx.sampling import _triton

        return _triton.draws(words, shape, start, convert, tables, out)
    length = block_length(size)
    program = _program(convert, dtype, out, length)
    return backend.joined(lambda first: program(word_tensor(*words, start + first), *tables), length, shape, out)


@functools.cache
def _program(convert: Convert, dtype: DType, out: DType, length: int) -> Callable[..., Tensor]:
    """Return the program that makes one block."""

    def block(words: Tensor, numbers: Tensor, table: Tensor = None) -> Tensor:
        key0, key1, draw, start = (words[i : i + 1] for i in range(4))
        index = TRACED.arange(length, dtype=TRACED.word) + start
        values = convert(TRACED, words_at(TRACED, (key0, key1), draw, index), table, dtype)
        return TRACED.cast(values if convert is as_words else affine_by(TRACED, values, numbers), out)

    return backend.program(block)


def block_length(size: int, unit: int = 1) -> int:
    """Return the number of elements per block for `size` elements, a multiple of `unit`."""
    length = max(BLOCK // unit, 1) * unit
    return length if backend.compiles_shapes else max(min(length, size), 1)


def word_tensor(*values: int) -> Tensor:
    """Return integers as words on the device."""
    return TRACED.convert_to_tensor(np.array([value & 0xFFFFFFFF for value in values], "uint32").view(TRACED.word))
