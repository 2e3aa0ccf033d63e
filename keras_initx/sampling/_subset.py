"""Exactly k distinct inputs for each unit, and what lies on them.

Both algorithms give every subset of k the same chance. Which one runs depends on k alone, never
on where it runs, so that the values are the same everywhere.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from keras_initx._typing import Array, DType, Elementwise, Tensor
from keras_initx.backends import backend
from keras_initx.sampling._affine import Affine, affine_by
from keras_initx.sampling._device import as_words, block_length
from keras_initx.sampling._namespace import HOST, TRACED, Namespace
from keras_initx.sampling._stream import Draw, Stream, check_size

# Up to here Floyd's algorithm, with k^2/2 comparisons a unit; above, one key for each entry.
_MAX_FLOYD = 32
_KEY_BITS = 31
# Keys held at a time on the host, to keep the extra memory a small part of the result.
_KEYS_PER_BLOCK = 1 << 17


def sparse_normal(
    stream: Stream, inputs: int, units: int, connections: int, stddev: float = 1.0, dtype: DType = "float32"
) -> Tensor:
    """Return an `(inputs, units)` matrix, `N(0, stddev^2)` at `connections` random places of each column.

    Args:
        stream: The `Stream` to draw from.
        inputs: Number of rows.
        units: Number of columns.
        connections: Number of places in each column, at most `inputs`.
        stddev: Standard deviation of the values there.
        dtype: `"float32"` or `"float64"`.

    Returns:
        A matrix of the stream's namespace, in the dtype of finished draws.
    """
    if connections > _MAX_FLOYD:
        check_size((units, inputs))
    if stream.on_device:
        return _in_blocks(stream, inputs, units, connections, stddev, dtype)
    if not stream.on_host:
        return _in_trace(stream, inputs, units, units, 0, connections, _scaled(stream.xp, stddev), dtype)
    if connections <= _MAX_FLOYD:
        rows = _floyd(stream, stream.words(Draw.SUPPORT, (connections, units)), inputs)
        values = stream.normal(Draw.VALUES, (connections, units), dtype, then=_scaled(stream.xp, stddev))
        return _place_on_host(rows, values, inputs)
    return _smallest_keys_on_host(stream, inputs, units, connections, stddev, dtype)


def _in_blocks(stream: Stream, inputs: int, units: int, connections: int, stddev: float, dtype: DType) -> Tensor:
    """Return the matrix made on the device, a few units at a time."""
    out, length = stream.finished_dtype(dtype), block_length(inputs * units, max(inputs, 1))
    program = _block_program(inputs, connections, length // max(inputs, 1), dtype, out)
    numbers = stream.xp.convert_to_tensor(_scaled(stream.xp, stddev).numbers(dtype))
    key = int(stream.key[0]), int(stream.key[1])

    def block(first: int) -> Tensor:
        return program(as_words(*key, units, first // inputs), numbers)

    return stream.xp.transpose(backend.joined(block, length, (units, inputs), out))


@functools.lru_cache(maxsize=64)
def _block_program(inputs: int, connections: int, count: int, dtype: DType, out: DType) -> Callable[..., Tensor]:
    """Return the program that makes `count` columns, one after the other."""

    def columns(words: Tensor, numbers: Tensor) -> Tensor:
        key0, key1, units, first = (words[i : i + 1] for i in range(4))
        stream = Stream((key0, key1), xp=TRACED)

        def scaled(values: Tensor) -> Tensor:
            return affine_by(TRACED, values, numbers)

        matrix = _in_trace(stream, inputs, count, units, first, connections, scaled, dtype)
        return TRACED.cast(TRACED.reshape(TRACED.transpose(matrix), (-1,)), out)

    return backend.program(columns)


def _in_trace(
    stream: Stream,
    inputs: int,
    count: int,
    units: Tensor,
    first: Tensor,
    connections: int,
    scaled: Elementwise,
    dtype: DType,
) -> Tensor:
    """Return columns `first` and up of the matrix, `count` of them, in `keras.ops`.

    Args:
        stream: The `Stream` to draw from.
        inputs: Number of rows.
        count: Number of columns returned.
        units: Number of columns of the whole matrix, an integer or words.
        first: Number of the first column, an integer or words.
        connections: Number of places in each column.
        scaled: Function that is applied to the draws.
        dtype: The dtype of the draws.
    """
    xp, first = stream.xp, stream.word(first)
    if connections > _MAX_FLOYD:
        return _smallest_keys_in_trace(stream, inputs, count, first, connections, scaled, dtype)
    columns = first + xp.arange(count, dtype=xp.word)
    index = xp.reshape(xp.arange(connections, dtype=xp.word), (-1, 1)) * stream.word(units) + columns
    rows = _floyd(stream, stream.words_at(Draw.SUPPORT, index), inputs)
    return _place_in_trace(xp, rows, scaled(stream.normal_at(Draw.VALUES, index, dtype)), inputs)


def _floyd(stream: Stream, words: Tensor, inputs: int) -> Tensor:
    """Return the row numbers of each unit's connections, from as many words.

    Reference:
        Bentley and Floyd, "A sample of brilliance", Communications of the ACM 30 (1987).
    """
    xp, connections = stream.xp, words.shape[0]
    lasts = range(inputs - connections, inputs)
    bounds = xp.reshape(xp.arange(inputs - connections + 1, inputs + 1, dtype=xp.word), (connections, 1))
    draws = stream.integers_from(words, bounds)
    rows = draws[:1]
    for step, last in enumerate(lasts[1:], start=1):
        row = draws[step : step + 1]
        taken = xp.any(rows == row, axis=0, keepdims=True)
        # Only from this step on can `last` be drawn, so it is free.
        rows = xp.concatenate([rows, xp.where(taken, last, row)])
    return rows


def _place_on_host(rows: Array, values: Array, inputs: int) -> Array:
    out = HOST.zeros((inputs, values.shape[1]), values.dtype)
    out[rows, np.arange(values.shape[1])] = values
    return out


def _place_in_trace(xp: Namespace, rows: Tensor, values: Tensor, inputs: int) -> Tensor:
    # Entry by entry, without a scatter: it fuses into one loop, and a shard needs no other.
    here = xp.reshape(xp.arange(inputs, dtype=xp.word), (inputs, 1))
    out = xp.zeros((inputs, values.shape[1]), values.dtype)
    for step in range(values.shape[0]):
        out = xp.where(here == rows[step], values[step], out)
    return out


def _smallest_keys_on_host(
    stream: Stream, inputs: int, units: int, connections: int, stddev: float, dtype: DType
) -> Array:
    """Give each entry a random key; the entries with a unit's `connections` smallest keys stay."""
    out = HOST.empty((inputs, units), stream.finished_dtype(dtype))
    scaled = _scaled(np, stddev)
    step = max(1, _KEYS_PER_BLOCK // inputs)
    # Columns of a block whose rows have a power of two of entries lie on few lines of the cache.
    row = inputs + (8 - inputs) % 16
    for begin in range(0, units, step):
        count = min(step, units - begin)
        keys = stream.words(Draw.SUPPORT, (count, inputs), start=begin * inputs) >> (32 - _KEY_BITS)
        threshold = np.partition(keys, connections - 1, axis=1)[:, connections - 1 : connections]
        chosen = np.zeros((count, row), bool)
        np.less_equal(keys, threshold, out=chosen[:, :inputs])
        if np.count_nonzero(chosen) > count * connections:
            chosen[:, :inputs] = _without_late_ties(np, keys, threshold, connections)
        values = stream.normal(Draw.VALUES, (count, connections), dtype, start=begin * connections, then=scaled)
        block = np.zeros(chosen.shape, out.dtype)
        # By numbers, because a mask as index takes several times as long.
        block.reshape(-1)[np.flatnonzero(chosen)] = values.reshape(-1)
        out[:, begin : begin + step] = block[:, :inputs].T
    return out


def _smallest_keys_in_trace(
    stream: Stream, inputs: int, units: int, begin: Tensor, connections: int, scaled: Elementwise, dtype: DType
) -> Tensor:
    """The same entries and values as on the host, entry by entry, by bisection instead of sorting."""
    xp = stream.xp
    index = stream.flat_index((units, inputs), begin * inputs)
    keys = xp.shift_right(stream.words_at(Draw.SUPPORT, index), 32 - _KEY_BITS)
    keys = backend.optimization_barrier(keys)
    threshold = xp.zeros((units, 1), xp.word)
    for bit in reversed(range(_KEY_BITS)):
        candidate = threshold + (1 << bit)
        smaller = xp.sum(xp.cast(keys < candidate, xp.word), axis=1, keepdims=True)
        # The largest number that fewer than `connections` keys are below is the last key chosen.
        threshold = xp.where(smaller < connections, candidate, threshold)
    chosen = _without_late_ties(xp, keys, threshold, connections)
    rank = xp.cumsum(xp.cast(chosen, xp.word), axis=1) - 1
    first = xp.reshape(begin + xp.arange(units, dtype=xp.word), (units, 1)) * connections
    values = scaled(stream.normal_at(Draw.VALUES, first + rank, dtype))
    return xp.transpose(xp.where(chosen, values, xp.zeros_like(values)))


def _scaled(xp: Any, stddev: float) -> Affine:
    """Return a function that multiplies by `stddev`, after moving draws that are zero, one in 65,536, to the next."""
    return Affine(xp, factor=stddev, zero=2.0**-15)


def _without_late_ties(xp: Any, keys: Tensor, threshold: Tensor, connections: int) -> Tensor:
    """Choose from each row the keys below its `threshold`, and of those that equal it the first ones."""
    below, equal = keys < threshold, keys == threshold
    missing = connections - xp.sum(below, axis=1, keepdims=True)
    return below | (equal & (xp.cumsum(equal, axis=1) <= missing))
