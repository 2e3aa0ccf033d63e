"""Convert random words to standard draws: one function per kind, with integer operations and single roundings.

Every function takes the namespace of the words, the words, a table or `None`, and the dtype of the draws.
"""

from collections.abc import Callable

from keras_initx._typing import DType, Tensor
from keras_initx.sampling._namespace import Namespace

Convert = Callable[[Namespace, Tensor, Tensor, DType], Tensor]


def as_words(xp: Namespace, words: Tensor, table: Tensor, dtype: DType) -> Tensor:
    """Return the words unchanged."""
    return words


def as_uniform(xp: Namespace, words: Tensor, table: Tensor, dtype: DType) -> Tensor:
    """Return uniform values in the open interval (0, 1), multiples of 2**-24."""
    x = xp.cast(xp.shift_right(words, 9), dtype)
    x += 0.5
    x *= 2.0**-23
    return x


def as_normal(xp: Namespace, words: Tensor, table: Tensor, dtype: DType) -> Tensor:
    """Return draws from N(0, 1); the table is `normal_table(dtype)`."""
    x = xp.take(table, xp.shift_right(words, 16))
    x += xp.take(table, words & 0xFFFF)
    return x


def as_interpolated(xp: Namespace, words: Tensor, table: Tensor, dtype: DType) -> Tensor:
    """Return integers interpolated between the quantiles in the table, see `Stream.interpolated`."""
    cell = xp.shift_right(words, 16)
    low = xp.take(table, cell)
    width = xp.take(table, cell + 1) - low
    # The midpoints of 128 equal parts, in 256ths. The product may need all 32 bits.
    part = (xp.shift_right(words, 8) & 0xFE) | 1
    return xp.cast(low + xp.shift_right(width * part, 8), dtype)
