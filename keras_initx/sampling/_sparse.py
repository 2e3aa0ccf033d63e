"""Choose exactly k distinct inputs for each unit, and draw their weights."""

import functools
from collections.abc import Callable

import numpy as np

from keras_initx._kernel import kernel, tell_if_missing
from keras_initx._typing import Array, DType, Shape, Tensor
from keras_initx.backends import backend
from keras_initx.sampling._conversion import LEAST, Affine, finish
from keras_initx.sampling._namespace import DEVICE, HOST, TRACED, Namespace
from keras_initx.sampling._stream import Draw, Stream, block_length, check_size
from keras_initx.sampling._words import run_blocks

__all__ = ["sparse_normal"]

# Up to this k use Floyd's algorithm, with k^2/2 comparisons per unit; above it, one key per entry.
_MAX_FLOYD = 32
_KEY_BITS = 31
# Draws of zero, 1 in 65,536, become this one.
_NEXT_TO_ZERO = 2.0**-15
# No other draw is nearer to zero.
_LEAST_DRAW = 2.0**-16
# Most keys per block on the host, few enough for the cache.
_KEYS_PER_BLOCK = 1 << 17


def sparse_normal(
    stream: Stream,
    inputs: int,
    units: int,
    connections: int,
    stddev: float = 1.0,
    dtype: DType = "float32",
) -> Tensor:
    """Return an `(inputs, units)` matrix with `N(0, stddev^2)` at `connections` random positions of each column.

    Args:
        stream: The `Stream` to draw from.
        inputs: Number of rows.
        units: Number of columns.
        connections: Number of positions in each column, at most `inputs`.
        stddev: Standard deviation of the nonzero values.
        dtype: `"float32"` or `"float64"`.

    Values nearer to zero than the least number of the stream's dtype become that number, with their
    sign: rounded to zero, they would not be connections.

    Returns:
        A matrix of the stream's namespace, in the dtype of finished draws.
    """
    # A word for each entry or for each connection: on a device nothing else would notice that they
    # begin again. Up to `inputs` a word is drawn.
    check_size(
        max(inputs, units * (inputs if connections > _MAX_FLOYD else connections)), (inputs, units)
    )
    xp = stream.xp
    scaled = Affine(factor=stddev, zero=_NEXT_TO_ZERO)
    if xp is DEVICE:
        return _draw_on_device(stream, inputs, units, connections, scaled, dtype)
    if connections > _MAX_FLOYD:
        if xp is HOST:
            return _smallest_keys_on_host(stream, inputs, units, connections, scaled, dtype)
        numbers = scaled.numbers(dtype).tolist()
        return _smallest_keys(
            stream, inputs, units, 0, connections, numbers, dtype, stream.finished_dtype(dtype)
        )
    rows = _floyd(stream, stream.words(Draw.SUPPORT, (connections, units)), inputs)
    values = _connection_values(stream, (connections, units), 0, scaled, dtype)
    out = xp.zeros((inputs, units), values.dtype)
    if xp is HOST:
        out[rows, np.arange(units)] = values
        return out
    # Entry by entry, without a scatter: it fuses into one loop, and shards are independent.
    here = xp.reshape(xp.arange(inputs, dtype=xp.word), (inputs, 1))
    for step in range(connections):
        out = xp.where(here == rows[step], values[step], out)
    return out


def _connection_values(
    stream: Stream, shape: Shape, start: int, scaled: Affine, dtype: DType
) -> Tensor:
    """Return finished values of connections, of which none is zero."""
    out = stream.finished_dtype(dtype)
    if scaled.factor * _LEAST_DRAW >= LEAST[out]:
        return stream.normal(Draw.VALUES, shape, dtype, start, then=scaled)
    xp = stream.xp
    draws = stream.normal(Draw.VALUES, shape, dtype, start)
    return xp.cast(_nonzero(xp, draws, scaled.numbers(dtype).tolist(), out), out)


def _nonzero(xp: Namespace, draws: Tensor, numbers: Tensor, out: DType) -> Tensor:
    """Apply the `Affine` with these `numbers` to draws. No result is nearer to zero than the least number of `out`."""
    values = finish(xp, draws, numbers)
    # Not the sign of the values: a machine may have rounded them to zero already.
    least = xp.where(draws < 0, xp.full_like(draws, -LEAST[out]), xp.full_like(draws, LEAST[out]))
    return xp.where(xp.abs(values) < LEAST[out], least, values)


def _floyd(stream: Stream, words: Tensor, inputs: Tensor) -> Tensor:
    """Return the row indices of each unit's connections, from one word each; `inputs` may be a word.

    Reference:
        Bentley and Floyd, "A sample of brilliance", Communications of the ACM 30 (1987).
    """
    xp, connections = stream.xp, words.shape[0]
    if xp is HOST and (library := kernel()):
        rows = np.empty_like(words)
        library.initx_floyd(rows.ctypes.data, words.ctypes.data, *words.shape, inputs)
        return rows
    steps = xp.reshape(xp.arange(connections, dtype=xp.word), (connections, 1))
    last = steps + (inputs - connections)
    rows = stream.integers_from(words, last + 1)
    if xp is HOST:
        for i in range(1, connections):
            np.copyto(rows[i], last[i], where=np.any(rows[:i] == rows[i], axis=0))
        return rows

    # The same steps over all rows, because unrolled they take seconds to compile.
    def step(i: Tensor, rows: Tensor) -> Tensor:
        drawn = xp.sum(xp.where(steps == i, rows, xp.zeros_like(rows)), axis=0, keepdims=True)
        taken = xp.any((steps < i) & (rows == drawn), axis=0, keepdims=True)
        # `last` cannot have been drawn before this step, so it is free.
        return xp.where((steps == i) & taken, last, rows)

    return xp.fori_loop(1, connections, step, rows)


def _smallest_keys_on_host(
    stream: Stream, inputs: int, units: int, connections: int, scaled: Affine, dtype: DType
) -> Array:
    """Give each entry a random key, and keep the entries with the `connections` smallest keys of each unit."""
    tell_if_missing(inputs * units)  # each block has few
    out = HOST.empty((inputs, units), stream.finished_dtype(dtype))
    step = max(_KEYS_PER_BLOCK // inputs, 1)

    def make(begin: int) -> None:
        count = min(step, units - begin)
        keys = stream.words(Draw.SUPPORT, (count, inputs), start=begin * inputs) >> (32 - _KEY_BITS)
        values = _connection_values(
            stream, (count, connections), begin * connections, scaled, dtype
        )
        out[:, begin : begin + count] = _keep_smallest(keys, values).T

    run_blocks(make, range(0, units, step))
    return out


def _keep_smallest(keys: Array, values: Array) -> Array:
    """Return rows of zeros with the `values` of a row where its smallest keys are; of equal keys the first ones."""
    out, connections = np.zeros(keys.shape, values.dtype), values.shape[1]
    if library := kernel():
        library.initx_keep_smallest(
            out.ctypes.data,
            out.itemsize,
            keys.ctypes.data,
            *keys.shape,
            connections,
            values.ctypes.data,
        )
        return out
    threshold = np.partition(keys, connections - 1, axis=1)[:, connections - 1 : connections]
    out[_without_late_ties(HOST, keys, threshold, connections)] = values.reshape(-1)
    return out


def _smallest_keys(
    stream: Stream,
    inputs: int,
    units: int,
    begin: Tensor,
    connections: Tensor,
    numbers: Tensor,
    dtype: DType,
    out: DType,
) -> Tensor:
    """Return the same entries and values as on the host, by bisection instead of sorting.

    Args:
        stream: The `Stream` to draw from.
        inputs: Number of rows.
        units: Number of columns returned.
        begin: Index of the first column, an integer or a word.
        connections: Number of positions in each column, an integer or a word.
        numbers: Those of the `Affine` that is applied to the draws.
        dtype: The dtype of the draws.
        out: The dtype in which no value is zero. The result is still in `dtype`.
    """
    xp = stream.xp
    index = stream.flat_index((units, inputs), begin * inputs)
    keys = xp.shift_right(stream.words_at(Draw.SUPPORT, index), 32 - _KEY_BITS)
    keys = backend.optimization_barrier(keys)

    def bisect(step: Tensor, threshold: Tensor) -> Tensor:
        candidate = threshold + xp.left_shift(xp.ones((1, 1), xp.word), _KEY_BITS - 1 - step)
        smaller = xp.sum(xp.cast(keys < candidate, xp.word), axis=1, keepdims=True)
        # The last chosen key is the largest number with fewer than `connections` keys below it.
        return xp.where(smaller < connections, candidate, threshold)

    threshold = xp.fori_loop(0, _KEY_BITS, bisect, xp.zeros((units, 1), xp.word))
    chosen = _without_late_ties(xp, keys, threshold, connections)
    rank = xp.cumsum(xp.cast(chosen, xp.word), axis=1) - 1
    first = xp.reshape(begin + xp.arange(units, dtype=xp.word), (units, 1)) * connections
    values = _nonzero(xp, stream.normal_at(Draw.VALUES, first + rank, dtype), numbers, out)
    return xp.transpose(xp.where(chosen, values, xp.zeros_like(values)))


def _draw_on_device(
    stream: Stream, inputs: int, units: int, connections: int, scaled: Affine, dtype: DType
) -> Tensor:
    """Do the same on a device, in blocks of units. Programs take all parameters except one as arguments."""
    xp, out = stream.xp, stream.finished_dtype(dtype)
    if inputs * units == 0:
        return xp.zeros((inputs, units), out)
    numbers = xp.convert_to_tensor(scaled.numbers(dtype))
    if connections > _MAX_FLOYD:
        length = block_length(inputs * units, inputs)
        columns = _columns_program(inputs, length // inputs, dtype, out)

        def block(first: int) -> Tensor:
            return columns(stream.arguments(first // inputs, connections), numbers)

        return xp.transpose(backend.joined(block, length, (units, inputs), out))
    count = block_length(units * connections, connections) // connections
    program = _connections_program(connections, count, dtype, out)
    parts = [
        program(stream.arguments(units, first, inputs), numbers) for first in range(0, units, count)
    ]
    places, values = (
        xp.concatenate(part)[: units * connections] for part in zip(*parts, strict=True)
    )
    return backend.scatter(places, values, (inputs, units))


@functools.lru_cache(maxsize=64)
def _columns_program(inputs: int, count: int, dtype: DType, out: DType) -> Callable[..., Tensor]:
    """Return the program that makes `count` columns by keys, one after the other."""

    def columns(words: Tensor, numbers: Tensor) -> Tensor:
        key0, key1, begin, connections = (words[i : i + 1] for i in range(4))
        stream = Stream((key0, key1), xp=TRACED)
        matrix = _smallest_keys(stream, inputs, count, begin, connections, numbers, dtype, out)
        return TRACED.cast(TRACED.reshape(TRACED.transpose(matrix), (-1,)), out)

    return backend.program(columns)


@functools.lru_cache(maxsize=64)
def _connections_program(
    connections: int, count: int, dtype: DType, out: DType
) -> Callable[..., tuple[Tensor, Tensor]]:
    """Return the program that makes positions and values of the connections of `count` units, unit by unit."""

    def drawn(words: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
        xp = TRACED
        key0, key1, units, first, inputs = (words[i : i + 1] for i in range(5))
        stream = Stream((key0, key1), xp=xp)
        column = first + xp.arange(count, dtype=xp.word)
        index = xp.reshape(xp.arange(connections, dtype=xp.word), (-1, 1)) * units + column
        rows = _floyd(stream, stream.words_at(Draw.SUPPORT, index), inputs)
        values = _nonzero(xp, stream.normal_at(Draw.VALUES, index, dtype), numbers, out)
        places = xp.stack([rows, xp.broadcast_to(column, rows.shape)], axis=-1)
        by_unit = xp.reshape(xp.transpose(places, (1, 0, 2)), (-1, 2))
        return by_unit, xp.cast(xp.reshape(xp.transpose(values), (-1,)), out)

    return backend.program(drawn)


def _without_late_ties(xp: Namespace, keys: Tensor, threshold: Tensor, connections: int) -> Tensor:
    """Choose the keys of each row below its `threshold`, and of keys equal to it the first ones."""
    below, equal = keys < threshold, keys == threshold
    missing = connections - xp.sum(below, axis=1, keepdims=True)
    return below | (equal & (xp.cumsum(equal, axis=1) <= missing))
