"""Words for the host, a few at a time: from NumPy, and from a compiled program once that pays.

Compiling takes about 0.1 s, and that is what NumPy loses on some sixty million words, so nothing is
compiled before as many have been made. The program has one size, with key, draw and start as
arguments: it is compiled once in a process, whatever the shapes.
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
Step = tuple[int, int]  # the number of the first element, and that after the last

# Words made at a time: few enough for the cache, and for the allocator to keep their memory for the next ones.
_BLOCK = 1 << 16
# The same in two threads, where more of them hide that each waits for the interpreter.
_BLOCK_IN_STEPS = 1 << 17
# Words that the program makes in one call, and a thread until it takes the next ones: enough to hide what both cost.
_STEP = 1 << 19


class HostWords:
    """Makes words, and remembers how many it has made in order to know when to compile.

    Args:
        patience: How many words of large draws NumPy makes before a program is compiled.
    """

    def __init__(self, patience: int = 1 << 26) -> None:
        self._patience = patience
        self._program: Program | None = None

    def fill(self, out: Array, convert: Elementwise, key: Words, draw: int, begin: int) -> None:
        """Set `out` to what `convert` makes of the words of elements `begin` and up, a block of them at a time.

        Two threads share the steps, if there are several.
        """
        end = begin + out.size
        # From even numbers on, where a block begins.
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
        """Return the program if enough words have been asked for, with these, and the backend can compile one."""
        if self._program is None:
            self._patience -= words
            if self._patience < 0:
                self._program = backend.compiled(_blocks)
                if self._program:
                    self._program(np.zeros(4, TRACED.word))  # or each thread would compile it
        return self._program


@functools.cache
def _keep_freed_memory() -> None:
    """Let the C library keep the memory of one block for the next, once in a process.

    glibc maps blocks anew that are larger than any it has seen freed, and returns what is free beyond twice that
    size. Where no large array is ever freed, as when a model is built, two threads so wait for the kernel: a
    truncated normal takes twice as long. This is the largest size that counts; it is never written to.
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
    """Call `function` with each of `parts`, in this thread and in another one, whichever is free.

    More threads than two wait for the interpreter rather than compute.
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
            collections.deque(remaining, maxlen=0)  # so that the other one ends too if this one was interrupted
        other.result()


def _blocks(argument: Tensor) -> Words:
    """Return the even and the odd words of as many blocks as a step has."""
    key0, key1, draw, first = (argument[i] for i in range(4))
    block = TRACED.arange(_STEP // 2, dtype=TRACED.word) + first
    return threefry2x32(TRACED, (key0, key1), (block, draw))


def _between(key: Words, draw: int, begin: int, end: int) -> Array:
    """Return the words of elements `begin` to `end`, both of each block's words used."""
    first = begin // 2
    blocks = np.arange(first, (end + 1) // 2, dtype=HOST.word)
    pairs = np.empty((blocks.size, 2), HOST.word)
    pairs[:, 0], pairs[:, 1] = threefry2x32(HOST, key, (blocks, np.array([draw], HOST.word)))
    return pairs.reshape(-1)[begin - 2 * first : end - 2 * first]
