"""Draw on a device with a Triton kernel that fills an array of any shape in place.

Imported only if Triton is available. All parameters are words of 32 bits, passed as arguments of
the launch. A copy to the device would wait until the device is idle. For other types of arguments,
and for values that Triton looks at, Triton would compile more kernels.
"""

import math
from collections.abc import Sequence

import keras
import numpy as np
import triton
import triton.language as tl

from keras_initx._typing import Array, DType, Shape, Tensor
from keras_initx.backends._current import backend
from keras_initx.sampling import _conversion
from keras_initx.sampling._words import PARITY

# Cipher blocks per program. Each gives two elements.
_BLOCKS = 512


def draws(
    words: Sequence[int],
    shape: Shape,
    start: int,
    convert: _conversion.Convert,
    numbers: Array,
    table: Tensor | None,
    out: DType,
) -> Tensor:
    """Return draws of `shape`, made and finished in one launch.

    Args:
        words: The words of the key and the number of the draw.
        shape: Shape of the result, which must not be empty.
        start: Number of the first element.
        convert: The kind of draw.
        numbers: The `Affine.numbers`, which are applied to all draws except words.
        table: The table of `convert` if it takes one.
        out: The dtype of the result.
    """
    size = math.prod(shape)
    tensor = keras.ops.empty(shape, out)
    parameters = np.array([*words, start, size - 1], "uint32")
    # float64 as two words each, the lower one first.
    of_numbers = numbers.view("uint32").reshape(len(numbers), -1)
    lower, upper = of_numbers[:, 0], of_numbers[:, -1]
    arguments = np.concatenate([parameters, lower, upper]).view("int32").tolist()
    grid = (triton.cdiv(size + start % 2, 2 * _BLOCKS),)
    with backend.device_of(tensor):
        # Not fused: a fused product and sum would be rounded once.
        _fill[grid](
            tensor,
            tensor if table is None else table,
            *arguments,
            **_constants(convert, start, numbers.dtype.name),
            enable_fp_fusion=False,
        )
    return tensor


def _constants(convert: _conversion.Convert, start: int, dtype: DType) -> dict[str, int]:
    """Return the compile-time constants of the kernel.

    They depend on the parity of the start and the computing dtype, but not on the shape.
    """
    return {
        "odd": start % 2,
        "blocks": _BLOCKS,
        "kind": _conversion.KINDS.index(convert),
        "parity": PARITY,
        "is_double": int(dtype == "float64"),
    }


_WORDS = (
    *("key0_word", "key1_word", "draw_word", "start_word", "last_word"),
    *("zero_low", "shift_low", "factor_low", "lower_low", "upper_low"),
    *("zero_high", "shift_high", "factor_high", "lower_high", "upper_high"),
)


@triton.jit(do_not_specialize=_WORDS)  # type: ignore[untyped-decorator]
def _fill(  # type: ignore[no-untyped-def]  # Triton treats every annotation as a constant
    out,
    table,
    key0_word,
    key1_word,
    draw_word,
    start_word,
    last_word,
    zero_low,
    shift_low,
    factor_low,
    lower_low,
    upper_low,
    zero_high,
    shift_high,
    factor_high,
    lower_high,
    upper_high,
    odd: tl.constexpr,
    blocks: tl.constexpr,
    kind: tl.constexpr,
    parity: tl.constexpr,
    is_double: tl.constexpr,
):
    key0 = key0_word.to(tl.uint32, bitcast=True)
    key1 = key1_word.to(tl.uint32, bitcast=True)
    draw = draw_word.to(tl.uint32, bitcast=True)
    start = start_word.to(tl.uint32, bitcast=True).to(tl.int64)
    size = last_word.to(tl.uint32, bitcast=True).to(tl.int64) + 1
    before = tl.program_id(0).to(tl.int64) * (2 * blocks) - odd
    first = (start + before) // 2
    # `threefry2x32`.
    key2 = key0 ^ key1 ^ parity
    x0 = (first + tl.arange(0, blocks)).to(tl.uint32) + key0
    x1 = draw + key1 + tl.zeros((blocks,), tl.uint32)
    x0, x1 = _four_rounds(x0, x1, key1, key2 + 1, 13, 15, 26, 6)
    x0, x1 = _four_rounds(x0, x1, key2, key0 + 2, 17, 29, 16, 24)
    x0, x1 = _four_rounds(x0, x1, key0, key1 + 3, 13, 15, 26, 6)
    x0, x1 = _four_rounds(x0, x1, key1, key2 + 4, 17, 29, 16, 24)
    x0, x1 = _four_rounds(x0, x1, key2, key0 + 5, 13, 15, 26, 6)
    words = tl.interleave(x0, x1)
    # `as_words`, `as_uniform`, `as_normal` and `as_interpolated`, in the order of `KINDS`.
    if kind == 0:
        values = words.to(tl.int32, bitcast=True)
    elif kind == 1:
        values = ((words >> 9).to(tl.float64 if is_double else tl.float32) + 0.5) * (2.0**-23)
    elif kind == 2:
        values = tl.load(table + (words >> 16).to(tl.int32)) + tl.load(
            table + (words & 0xFFFF).to(tl.int32)
        )
    else:
        cell = (words >> 16).to(tl.int32)
        low = tl.load(table + cell)
        width = (tl.load(table + cell + 1) - low).to(tl.uint32)
        part = ((words >> 8) & 0xFE) | 1
        whole = low + ((width * part) >> 8).to(tl.int32)
        values = whole.to(tl.float64 if is_double else tl.float32)
    if kind != 0:  # as `finish` does
        values = tl.where(values == 0, _number(zero_low, zero_high, is_double), values)
        values = values + _number(shift_low, shift_high, is_double)
        values = values * _number(factor_low, factor_high, is_double)
        values = tl.maximum(values, _number(lower_low, lower_high, is_double))
        values = tl.minimum(values, _number(upper_low, upper_high, is_double))
    if out.dtype.element_ty == tl.bfloat16 and values.dtype == tl.float32:
        # Round half to even, because Triton's interpreter would truncate.
        bits = values.to(tl.uint32, bitcast=True)
        bits = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
        values = bits.to(tl.uint16).to(tl.bfloat16, bitcast=True)
    else:
        values = values.to(out.dtype.element_ty)
    place = before + tl.arange(0, 2 * blocks)
    # Without a mask, and with a separate kernel for odd starts, stores are vectorized.
    if (before >= 0) & (before + 2 * blocks <= size):
        tl.store(out + place, values)
    else:
        tl.store(out + place, values, mask=(place >= 0) & (place < size))


@triton.jit  # type: ignore[untyped-decorator]
def _four_rounds(  # type: ignore[no-untyped-def]
    x0, x1, add0, add1, r0: tl.constexpr, r1: tl.constexpr, r2: tl.constexpr, r3: tl.constexpr
):
    x0 += x1
    x1 = ((x1 << r0) | (x1 >> (32 - r0))) ^ x0
    x0 += x1
    x1 = ((x1 << r1) | (x1 >> (32 - r1))) ^ x0
    x0 += x1
    x1 = ((x1 << r2) | (x1 >> (32 - r2))) ^ x0
    x0 += x1
    x1 = ((x1 << r3) | (x1 >> (32 - r3))) ^ x0
    return x0 + add0, x1 + add1


@triton.jit  # type: ignore[untyped-decorator]
def _number(low, high, is_double: tl.constexpr):  # type: ignore[no-untyped-def]
    """Return the number that these words represent. In float32 both words are the same."""
    if is_double:
        lower = low.to(tl.uint32, bitcast=True).to(tl.int64)
        number = ((high.to(tl.int64) << 32) | lower).to(tl.float64, bitcast=True)
    else:
        number = low.to(tl.float32, bitcast=True)
    return number
