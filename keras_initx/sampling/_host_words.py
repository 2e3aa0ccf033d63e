"""Random words on the host, block by block: from NumPy, or from a compiled program once that pays off.

Compilation takes about 0.1 s, which is what NumPy loses on some sixty million words, so nothing is
compiled before that number. The program has a fixed size and takes key, draw and start as
arguments, so it is compiled once per process for all shapes.
"""

import collections
import functools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from keras_initx._typing import Array, Elementwise, Tensor
from keras_initx.backends import backend
from keras_initx.sampling._namespace import HOST, TRACED
from keras_initx.sampling._threefry import Words, threefry2x32

Program = Callable[[Array], Array]
Step = tuple[int, int]  # begin and end of the elements

# Words per block: few enough for the cache, and for the allocator to reuse their memory.
_BLOCK = 1 << 16
# The same with two threads, where larger blocks hide the waiting for the interpreter.
_BLOCK_IN_STEPS = 1 << 17
# Words per call of the program, and per step of a thread: enough to amortize both.
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

        Two threads share the steps if there are several.
        """
        end = begin + out.size
        # Start at even numbers, where a cipher block begins.
        steps = [(max(first, begin), min(first + _STEP, end)) for first in range(begin & ~1, end, _STEP)]
        program: Program | None = None
        block = _BLOCK
        if len(steps) > 1:
            _keep_freed_memory()
            program, block = self._compiled(out.size), _BLOCK_IN_STEPS

        def make(step: Step) -> None:
            done = step[0] - begin
            for words in _step(program, block, key, draw, *step):
                out[done : done + words.size] = convert(words)
                done += words.size

        _each_in_two_threads(make, steps)

    def _compiled(self, words: int) -> Program | None:
        """Return the program if enough words have been requested, including these, and the backend can compile it."""
        if self._program is None:
            self._patience -= words
            if self._patience < 0:
                self._program = backend.compiled(_blocks)
                if self._program:
                    self._program(np.zeros(4, TRACED.word))  # compile now, or each thread would
        return self._program


@functools.cache
def _keep_freed_memory() -> None:
    """Make the C library reuse the memory of one block for the next; done once per process.

    glibc maps new memory for blocks larger than any that was freed before, and returns free memory
    beyond twice that size. If no large array is ever freed, as while building a model, two threads
    keep waiting for the kernel, and a truncated normal takes twice as long. The size freed here is
    the largest that counts; the memory is never written.
    """
    np.empty((1 << 25) - (1 << 13), "uint8")


def _step(program: Program | None, size: int, key: Words, draw: int, begin: int, end: int) -> Iterator[Array]:
    """Yield the words of elements `begin` to `end` in order, `size` at a time."""
    if program and end - begin == _STEP:
        argument = np.concatenate([*key, np.array([draw, begin // 2], HOST.word)]).astype(TRACED.word)
        yield from program(argument).reshape(-1, size)
    else:
        for first in range(begin, end, size):
            yield _between(key, draw, first, min(first + size, end))


def _each_in_two_threads(function: Callable[[Step], None], parts: Sequence[Step]) -> None:
    """Call `function` with each of `parts`, in this thread or in another one, whichever is free.

    More than two threads would mostly wait for the interpreter.
    """
    if len(parts) < 2:
        for part in parts:
            function(part)
        return
    remaining = iter(parts)

    def work() -> None:
        for part in remaining:
            function(part)

    with ThreadPoolExecutor(1) as executor:
        other = executor.submit(work)
        try:
            work()
        finally:
            collections.deque(remaining, maxlen=0)  # so that the other thread ends too if this one is interrupted
        other.result()


def _blocks(argument: Tensor) -> Words:
    """Return the even and the odd words of all blocks in a step."""
    key0, key1, draw, first = (argument[i] for i in range(4))
    block = TRACED.arange(_STEP // 2, dtype=TRACED.word) + first
    return threefry2x32(TRACED, (key0, key1), (block, draw))


def _between(key: Words, draw: int, begin: int, end: int) -> Array:
    """Return the words of elements `begin` to `end`, using both words of each block."""
    first = begin // 2
    blocks = np.arange(first, (end + 1) // 2, dtype=HOST.word)
    pairs = np.empty((blocks.size, 2), HOST.word)
    pairs[:, 0], pairs[:, 1] = threefry2x32(HOST, key, (blocks, np.array([draw], HOST.word)))
    return pairs.reshape(-1)[begin - 2 * first : end - 2 * first]
