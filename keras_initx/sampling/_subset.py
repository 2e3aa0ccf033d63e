"""Exactly k distinct inputs for each unit, and what lies on them.

Both algorithms give every subset of k the same chance. Which one runs depends on k alone, never
on where it runs, so that the values are the same everywhere.
"""

from typing import Any

import numpy as np

from keras_initx._typing import Array, DType, Elementwise, Tensor
from keras_initx.backends import backend
from keras_initx.sampling._namespace import HOST, Namespace
from keras_initx.sampling._stream import Draw, Stream

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
    if connections <= _MAX_FLOYD:
        rows = _floyd(stream, inputs, units, connections)
        values = stream.normal(Draw.VALUES, (connections, units), dtype, then=_scaled(stream.xp, stddev))
        if stream.on_host:
            return _place_on_host(rows, values, inputs)
        return _place_in_trace(stream.xp, rows, values, inputs)
    if stream.on_host:
        return _smallest_keys_on_host(stream, inputs, units, connections, stddev, dtype)
    return _smallest_keys_in_trace(stream, inputs, units, connections, stddev, dtype)


def _floyd(stream: Stream, inputs: int, units: int, connections: int) -> Tensor:
    """Return the row numbers of each unit's connections, `(connections, units)`.

    Reference:
        Bentley and Floyd, "A sample of brilliance", Communications of the ACM 30 (1987).
    """
    xp = stream.xp
    lasts = range(inputs - connections, inputs)
    bounds = xp.reshape(xp.arange(inputs - connections + 1, inputs + 1, dtype=xp.word), (connections, 1))
    draws = stream.integers(Draw.SUPPORT, (connections, units), bounds)
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
    stream: Stream, inputs: int, units: int, connections: int, stddev: float, dtype: DType
) -> Tensor:
    """The same entries and values as on the host, entry by entry, by bisection instead of sorting."""
    xp = stream.xp
    keys = xp.shift_right(stream.words(Draw.SUPPORT, (units, inputs)), 32 - _KEY_BITS)
    keys = backend.optimization_barrier(keys)
    threshold = xp.zeros((units, 1), xp.word)
    for bit in reversed(range(_KEY_BITS)):
        candidate = threshold + (1 << bit)
        smaller = xp.sum(xp.cast(keys < candidate, xp.word), axis=1, keepdims=True)
        # The largest number that fewer than `connections` keys are below is the last key chosen.
        threshold = xp.where(smaller < connections, candidate, threshold)
    chosen = _without_late_ties(xp, keys, threshold, connections)
    rank = xp.cumsum(xp.cast(chosen, xp.word), axis=1) - 1
    first = xp.reshape(xp.arange(units, dtype=xp.word) * connections, (units, 1))
    values = _scaled(xp, stddev)(stream.normal_at(Draw.VALUES, first + rank, dtype))
    return xp.transpose(xp.where(chosen, values, xp.zeros_like(values)))


def _scaled(xp: Any, stddev: float) -> Elementwise:
    """Return a function that multiplies by `stddev`, after moving draws that are zero, one in 65,536, to the next."""
    return lambda values: xp.where(values == 0, xp.full_like(values, 2.0**-15), values) * stddev


def _without_late_ties(xp: Any, keys: Tensor, threshold: Tensor, connections: int) -> Tensor:
    """Choose from each row the keys below its `threshold`, and of those that equal it the first ones."""
    below, equal = keys < threshold, keys == threshold
    missing = connections - xp.sum(below, axis=1, keepdims=True)
    return below | (equal & (xp.cumsum(equal, axis=1) <= missing))
