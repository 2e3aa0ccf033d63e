"""Random words, and draws on the host: by the compiled kernel or by NumPy, with the same bits."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from keras_initx._checks import DTYPES
from keras_initx._compiled_kernel import load_library, warn_if_missing
from keras_initx._typing import Array, DType, Tensor
from keras_initx.sampling._conversion import KINDS, Conversion, as_words, finish
from keras_initx.sampling._namespace import HOST, Namespace

Words = tuple[Tensor, Tensor]

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
PARITY = 0x1BD11BDA


def threefry2x32(xp: Namespace, key: Words, counter: Words) -> Words:
    """Encrypt `counter` under `key` with Threefry-2x32, 20 rounds.

    Args:
        xp: The namespace of the words, `HOST` or `TRACED`.
        key: Two arrays of words, which broadcast against the counters.
        counter: Two arrays of words.

    Returns:
        Two arrays of random words.

    Reference:
        Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
    """
    schedule = (key[0], key[1], key[0] ^ key[1] ^ PARITY)
    x0 = counter[0] + schedule[0]
    x1 = counter[1] + schedule[1]
    for group in range(5):
        for count in _ROTATIONS[group % 2]:
            x0 += x1
            x1 = (xp.left_shift(x1, count) | xp.shift_right(x1, 32 - count)) ^ x0
        x0 += schedule[(group + 1) % 3]
        x1 += schedule[(group + 2) % 3] + (group + 1)
    return x0, x1


def words_at(xp: Namespace, key: Words, draw: Tensor, index: Tensor) -> Tensor:
    """Return the words of a draw at `index`, element by element: compilers fuse it to one loop."""
    even, odd = threefry2x32(xp, key, (xp.shift_right(index, 1), draw))
    return xp.where((index & 1) == 0, even, odd)


# Elements at a time: few enough for the cache, and for the kernel enough to be worth a thread.
_BLOCK = 1 << 16
_KERNEL_BLOCK = 1 << 19
# The numbers of the dtypes in the kernel. Names of dtypes are slow to find.
_CODES = {np.dtype(name): code for code, name in enumerate((*DTYPES, HOST.word))}


def fill(
    out: Array,
    kind: Conversion,
    dtype: DType,
    numbers: Array,
    key: tuple[int, int],
    draw: int,
    begin: int,
) -> None:
    """Fill `out` with finished elements of a draw, beginning with element `begin`.

    Args:
        out: A vector.
        kind: The kind of draw.
        dtype: The dtype of the computation.
        numbers: The `Affine.numbers`, which are not applied to words.
        key: The two words of the key.
        draw: The number of the draw.
        begin: The first element.
    """
    compiled = load_library()
    if compiled is None:
        warn_if_missing(out.size)
    # The kernel makes numbers of 64 bits from numbers of 64 bits, and others from numbers of 32
    # bits.
    if compiled is None or (dtype == "float64") != (out.dtype == "float64"):
        _fill_by_numpy(out, kind, dtype, numbers, key, draw, begin)
        return
    convert, table = kind
    what = KINDS.index(convert), _CODES[out.dtype], *key, draw
    table_address = None if table is None else table.ctypes.data
    numbers_address = numbers.ctypes.data
    end = begin + out.size

    def make(first: int) -> None:
        place = out.ctypes.data + (first - begin) * out.itemsize
        last = min(first + _KERNEL_BLOCK, end)
        compiled.initx_fill(place, *what, first, last, table_address, numbers_address)

    run_blocks(make, range(begin, end, _KERNEL_BLOCK))


def _fill_by_numpy(
    out: Array,
    kind: Conversion,
    dtype: DType,
    numbers: Array,
    key: tuple[int, int],
    draw: int,
    begin: int,
) -> None:
    """Fill `out` without the kernel, block by block."""
    convert, table = kind
    for first in range(0, out.size, _BLOCK):
        last = min(first + _BLOCK, out.size)
        words = _words_between(key, draw, begin + first, begin + last)
        values = convert(HOST, words, table, dtype)
        if convert is not as_words:
            values = finish(HOST, values, numbers)
        out[first:last] = values


def _words_between(key: tuple[int, int], draw: int, begin: int, end: int) -> Array:
    """Return the words of elements `begin` to `end`, on the host.

    Both words of each block of the cipher are used.
    """
    key0, key1, number = np.array([*key, draw], HOST.word)[:, np.newaxis]
    first = begin // 2
    blocks = np.arange(first, (end + 1) // 2, dtype=HOST.word)
    words = np.stack(threefry2x32(HOST, (key0, key1), (blocks, number)), axis=-1)
    return words.reshape(-1)[begin - 2 * first : end - 2 * first]


def run_blocks(function: Callable[[int], None], blocks: range) -> None:
    """Call `function` with each of `blocks`, on all cores if there is a kernel.

    The kernel frees the interpreter.
    """
    if len(blocks) < 2 or load_library() is None:
        for block in blocks:
            function(block)
        return
    with ThreadPoolExecutor(os.cpu_count()) as executor:
        # Raises what a block has raised, and cancels those that have not begun.
        list(executor.map(function, blocks))
