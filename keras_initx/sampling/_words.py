"""Random words: the block function, and its evaluation on the host."""

import functools
import math
import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from keras_initx._typing import Array, Elementwise, Tensor
from keras_initx.backends import backend
from keras_initx.sampling._namespace import HOST, TRACED, Namespace

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
            x1 = xp.bitwise_xor(xp.rotate_left(x1, count), x0)
        x0 += schedule[(group + 1) % 3]
        x1 += schedule[(group + 2) % 3] + (group + 1)
    return x0, x1


def words_at(xp: Namespace, key: Words, draw: Tensor, index: Tensor) -> Tensor:
    """Return the words of a draw at `index`, element by element, which a compiler fuses into one loop."""
    even, odd = threefry2x32(xp, key, (xp.shift_right(index, 1), draw))
    return xp.where((index & 1) == 0, even, odd)


Program = Callable[[Array], Array]

# Words per block in one thread: few enough for the cache, and for the allocator to reuse their memory.
_BLOCK = 1 << 16
# The fewest words for which a second thread pays off.
_LARGE = 1 << 18
# Most words per block in two threads. Around each operation they wait for the interpreter, so a block that leaves the
# cache is faster than many that do not.
_MOST = 3 << 17
# Words that the program makes.
_STEP = 1 << 19


class HostWords:
    """Makes words, and counts them to decide when to compile.

    Args:
        patience: Number of words of large draws that NumPy makes before a program is compiled.
    """

    def __init__(self, patience: int = 1 << 26) -> None:
        self._patience = patience
        self._program: Program | None = None

    def fill(self, out: Array, convert: Elementwise, key: Words, draw: int, begin: int) -> None:
        """Fill `out` with converted words, starting at element `begin`, block by block.

        Two threads share a large draw.
        """
        end = begin + out.size
        size, program = _BLOCK, None
        is_large = out.size >= _LARGE
        if is_large:
            program = self._compiled(out.size)
            size = _STEP if program else shared_block(out.size, _MOST)

        def make(block: int) -> None:
            first, last = max(block, begin), min(block + size, end)
            # The program takes as long for a few words as for all that it makes.
            source = program if last - first > _STEP // 8 else None
            out[first - begin : last - begin] = convert(_words(source, key, draw, first, last))

        # Blocks start at even numbers, where a block of the cipher begins.
        run_blocks(make, range(begin & ~1, end, size), two_threads=is_large)

    def _compiled(self, words: int) -> Program | None:
        """Return the program if enough words have been requested, including these, and the backend can compile it."""
        if self._program is None:
            self._patience -= words
            if self._patience < 0:
                self._program = backend.cpu_program(_step)
                if self._program:
                    self._program(np.zeros(4, TRACED.word))  # compile now, or each thread would
        return self._program


def _step(argument: Tensor) -> Words:
    """Return the even and the odd words of a step, for the key, the draw and the first block in `argument`."""
    key0, key1, draw, first = (argument[i] for i in range(4))
    block = TRACED.arange(_STEP // 2, dtype=TRACED.word) + first
    return threefry2x32(TRACED, (key0, key1), (block, draw))


def _words(program: Program | None, key: Words, draw: int, begin: int, end: int) -> Array:
    """Return the words of elements `begin` to `end`, using both words of each block of the cipher."""
    first = begin // 2
    if program:
        argument = np.concatenate([*key, np.array([draw, first], HOST.word)]).astype(TRACED.word)
        words = program(argument)
    else:
        blocks = np.arange(first, (end + 1) // 2, dtype=HOST.word)
        words = np.empty((blocks.size, 2), HOST.word)
        words[:, 0], words[:, 1] = threefry2x32(HOST, key, (blocks, np.array([draw], HOST.word)))
    return words.reshape(-1)[begin - 2 * first : end - 2 * first]


def shared_block(count: int, most: int) -> int:
    """Return the even size, at most `most`, of blocks that divide `count` elements evenly between two threads."""
    blocks = 2 * math.ceil(count / (2 * most))
    return 2 * math.ceil(count / (2 * blocks))


# `is_shared` is true in a thread that works on blocks shared between two.
_OF_THREAD = threading.local()


def run_blocks(function: Callable[[int], None], blocks: Iterable[int], *, two_threads: bool) -> None:
    """Call `function` with each of `blocks`, in this thread or, with `two_threads`, in whichever of two is free.

    More than two threads would mostly wait for the interpreter, so `function` itself gets no second one: what waited
    for it would also keep its arrays.
    """
    if not two_threads or getattr(_OF_THREAD, "is_shared", False):
        for block in blocks:
            function(block)
        return
    _keep_freed_memory()
    remaining = iter(blocks)

    def work() -> None:
        _OF_THREAD.is_shared = True
        try:
            for block in remaining:
                function(block)
        finally:
            _OF_THREAD.is_shared = False

    other = _other_thread(os.getpid()).submit(work)
    try:
        work()
    finally:
        list(remaining)  # take the rest, so that the other thread ends too if this one is interrupted
        # It may be busy with a draw of another thread.
        started = not other.cancel()
    if started:
        other.result()


@functools.cache
def _other_thread(process: int) -> ThreadPoolExecutor:
    """Return the second thread, which stays, because a new one may take milliseconds to find a free processor.

    Args:
        process: Number of this process. One that is forked has no threads of its parent.
    """
    return ThreadPoolExecutor(1, "keras_initx")


@functools.cache
def _keep_freed_memory() -> None:
    """Make the C library reuse the memory of one block for the next; done once per process.

    glibc maps new memory for blocks larger than any that was freed before, and returns free memory
    beyond twice that size. If no large array is ever freed, as while building a model, two threads
    keep waiting for the kernel, and a truncated normal takes twice as long. The size freed here is
    the largest that counts; the memory is never written.
    """
    np.empty((1 << 25) - (1 << 13), "uint8")
