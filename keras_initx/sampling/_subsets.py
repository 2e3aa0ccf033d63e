"""Choose exactly k distinct inputs for each unit, and draw their weights."""

import functools
from collections.abc import Callable

import numpy as np

from keras_initx._compiled_kernel import load_library, warn_if_missing
from keras_initx._typing import Array, DType, Shape, Tensor
from keras_initx.backends._current import backend
from keras_initx.sampling._conversion import LEAST, Affine, finish
from keras_initx.sampling._namespace import DEVICE, HOST, TRACED, Namespace
from keras_initx.sampling._stream import Draw, Stream, block_length, check_size, unpack_arguments
from keras_initx.sampling._words import run_blocks

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
    """Return an `(inputs, units)` matrix with `N(0, stddev^2)` at random positions, else zero.

    A value that the stream's dtype would round to zero becomes the number next to zero, with its
    sign. As a zero it would be no connection.

    Args:
        stream: The `Stream` to draw from.
        inputs: Number of rows.
        units: Number of columns.
        connections: Number of positions in each column, at most `inputs`.
        stddev: Standard deviation of the nonzero values.
        dtype: `"float32"` or `"float64"`.

    Returns:
        A matrix of the stream's namespace, in the dtype of finished draws.
    """
    chooses_by_keys = connections > _MAX_FLOYD
    words_per_unit = inputs if chooses_by_keys else connections
    # On a device nothing else would notice that words begin again. Up to `inputs` a word is drawn.
    check_size(max(inputs, units * words_per_unit), (inputs, units))
    xp = stream.xp
    scaled = Affine(factor=stddev, zero=_NEXT_TO_ZERO)
    if xp is DEVICE:
        return _draw_on_device(stream, inputs, units, connections, scaled, dtype)
    if not chooses_by_keys:
        return _draw_by_floyd(stream, inputs, units, connections, scaled, dtype)
    if xp is HOST:
        return _smallest_keys_on_host(stream, inputs, units, connections, scaled, dtype)
    numbers = scaled.numbers(dtype).tolist()
    out = stream.finished_dtype(dtype)
    return _smallest_keys(stream, inputs, units, 0, connections, numbers, dtype, out)


def _draw_by_floyd(
    stream: Stream, inputs: int, units: int, connections: int, scaled: Affine, dtype: DType
) -> Tensor:
    """Choose the inputs by Floyd's algorithm, one word for each connection."""
    xp = stream.xp
    rows, values = _connections(stream, inputs, units, connections, scaled, dtype)
    matrix = xp.zeros((inputs, units), values.dtype)
    if xp is HOST:
        matrix[rows, np.arange(units)] = values
        return matrix
    # Entry by entry, without a scatter: it fuses into one loop, and shards are independent.
    here = xp.reshape(xp.arange(inputs, dtype=xp.word), (inputs, 1))
    for step in range(connections):
        row = slice(step, step + 1)
        matrix = xp.where(here == rows[row], values[row], matrix)
    return matrix


def _connections(
    stream: Stream, inputs: int, units: int, connections: int, scaled: Affine, dtype: DType
) -> tuple[Tensor, Tensor]:
    """Return the rows and the values of connections, a column for each unit."""
    shape = connections, units
    rows = _floyd(stream, stream.words(Draw.SUPPORT, shape), inputs)
    return rows, _connection_values(stream, shape, 0, scaled, dtype)


def _connection_values(
    stream: Stream, shape: Shape, start: int, scaled: Affine, dtype: DType
) -> Tensor:
    """Return finished values of connections. None of them is zero."""
    out = stream.finished_dtype(dtype)
    if scaled.factor * _LEAST_DRAW >= LEAST[out]:
        return stream.normal(Draw.VALUES, shape, dtype, start, then=scaled)
    xp = stream.xp
    draws = stream.normal(Draw.VALUES, shape, dtype, start)
    return xp.cast(_nonzero(xp, draws, scaled.numbers(dtype).tolist(), out), out)


def _nonzero(xp: Namespace, draws: Tensor, numbers: Tensor, out: DType) -> Tensor:
    """Apply the `Affine` with these `numbers` to draws.

    No result is nearer to zero than the least number of `out`.
    """
    values = finish(xp, draws, numbers)
    least = LEAST[out]
    # Not the sign of the values: a machine may have rounded them to zero already.
    next_to_zero = xp.where(draws < 0, xp.full_like(draws, -least), xp.full_like(draws, least))
    return xp.where(xp.abs(values) < least, next_to_zero, values)


def _floyd(stream: Stream, words: Tensor, inputs: Tensor) -> Tensor:
    """Return the row indices of each unit's connections, from one word each.

    Args:
        stream: The stream of the words.
        words: A matrix with a row for each connection and a column for each unit.
        inputs: The number of inputs, an integer or a word.

    Reference:
        Bentley and Floyd, "A sample of brilliance", Communications of the ACM 30 (1987).
    """
    xp = stream.xp
    if xp is HOST and load_library() is not None:
        rows = np.empty_like(words)
        load_library().initx_floyd(rows.ctypes.data, words.ctypes.data, *words.shape, inputs)
        return rows
    connections = words.shape[0]
    steps = xp.reshape(xp.arange(connections, dtype=xp.word), (connections, 1))
    last = steps + (inputs - connections)
    rows = stream.integers_from(words, last + 1)
    if xp is HOST:
        for i in range(1, connections):
            np.copyto(rows[i], last[i], where=np.any(rows[:i] == rows[i], axis=0))
        return rows

    # The same steps over all rows, because unrolled they take seconds to compile.
    def step(i: Tensor, rows: Tensor) -> Tensor:
        row = xp.sum(xp.where(steps == i, rows, xp.zeros_like(rows)), axis=0, keepdims=True)
        is_taken = xp.any((steps < i) & (rows == row), axis=0, keepdims=True)
        # `last` cannot have been drawn before this step, so it is free.
        return xp.where((steps == i) & is_taken, last, rows)

    return xp.fori_loop(1, connections, step, rows)


def _smallest_keys_on_host(
    stream: Stream, inputs: int, units: int, connections: int, scaled: Affine, dtype: DType
) -> Array:
    """Give each entry a random key, and keep the `connections` smallest keys of each unit."""
    warn_if_missing(inputs * units)  # each block has few
    matrix = HOST.empty((inputs, units), stream.finished_dtype(dtype))
    units_per_block = max(_KEYS_PER_BLOCK // inputs, 1)

    def make(begin: int) -> None:
        count = min(units_per_block, units - begin)
        words = stream.words(Draw.SUPPORT, (count, inputs), start=begin * inputs)
        keys = words >> (32 - _KEY_BITS)
        shape = count, connections
        values = _connection_values(stream, shape, begin * connections, scaled, dtype)
        matrix[:, begin : begin + count] = _keep_smallest(keys, values).T

    run_blocks(make, range(0, units, units_per_block))
    return matrix


def _keep_smallest(keys: Array, values: Array) -> Array:
    """Return rows of zeros that hold `values` at the positions of the smallest keys of each row.

    Of equal keys the first ones count.
    """
    out = np.zeros(keys.shape, values.dtype)
    connections = values.shape[1]
    if load_library() is not None:
        sizes = *keys.shape, connections
        load_library().initx_keep_smallest(
            out.ctypes.data, out.itemsize, keys.ctypes.data, *sizes, values.ctypes.data
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
        numbers: The `Affine.numbers` for the draws.
        dtype: The dtype of the draws.
        out: The dtype that must not round a value to zero. The result is still in `dtype`.
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
    """Choose the inputs and draw the values on a device."""
    xp = stream.xp
    out = stream.finished_dtype(dtype)
    if inputs * units == 0:
        return xp.zeros((inputs, units), out)
    if connections > _MAX_FLOYD:
        # In blocks of units. The program takes all parameters except one as arguments.
        numbers = backend.to_tensor(scaled.numbers(dtype))
        length = block_length(inputs * units, inputs)
        program = _columns_program(inputs, length // inputs, dtype, out)

        def columns(first: int) -> Tensor:
            return program(stream.pack_arguments(first // inputs, connections), numbers)

        return xp.transpose(backend.joined(columns, length, (units, inputs), out))
    # There are few connections. To choose them on a device takes hundreds of small operations.
    key = int(stream.key[0]) & 0xFFFFFFFF, int(stream.key[1]) & 0xFFFFFFFF
    rows, values = _connections(Stream(key, out, HOST), inputs, units, connections, scaled, dtype)
    units_of = np.broadcast_to(np.arange(units, dtype="int32"), rows.shape)
    places = np.stack([rows.view("int32"), units_of], axis=-1).reshape(-1, 2)
    all_values = backend.to_tensor(values.reshape(-1))
    return backend.scatter(backend.to_tensor(places), all_values, (inputs, units))


@functools.lru_cache(maxsize=64)
def _columns_program(inputs: int, count: int, dtype: DType, out: DType) -> Callable[..., Tensor]:
    """Return the program that makes `count` columns by keys, one after the other."""

    def columns(words: Tensor, numbers: Tensor) -> Tensor:
        key0, key1, begin, connections = unpack_arguments(words, 4)
        stream = Stream((key0, key1), xp=TRACED)
        matrix = _smallest_keys(stream, inputs, count, begin, connections, numbers, dtype, out)
        return TRACED.cast(TRACED.reshape(TRACED.transpose(matrix), (-1,)), out)

    return backend.program(columns)


def _without_late_ties(xp: Namespace, keys: Tensor, threshold: Tensor, connections: int) -> Tensor:
    """Choose the keys of each row below its `threshold`, and the first of the keys equal to it."""
    below = keys < threshold
    equal = keys == threshold
    missing = connections - xp.sum(below, axis=1, keepdims=True)
    return below | (equal & (xp.cumsum(equal, axis=1) <= missing))
