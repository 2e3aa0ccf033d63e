"""Words for the host, a few at a time: from NumPy, and from a compiled program once that pays.

Compiling takes as long as NumPy takes for some ten million words, so nothing is compiled before as
many have been made. The program has one size, with key, draw and start as arguments: it is
compiled once in a process, whatever the shapes.
"""

from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from keras_initx import _backend
from keras_initx.sampling._namespace import HOST, TRACED
from keras_initx.sampling._threefry import threefry2x32

# Words made at a time: few enough for the cache, and for the allocator to keep their memory for the next ones.
_BLOCK = 1 << 16
# The same beside a thread, where more of them hide that both wait for the interpreter.
_BLOCK_IN_STEPS = 1 << 17
# Words that the program makes in one call, and a thread ahead of their use: enough to hide what calls and threads cost.
_STEP = 1 << 19


class HostWords:
    """Makes words, and remembers how many it has made in order to know when to compile.

    Args:
        patience: How many words of large draws NumPy makes before a program is compiled.
    """

    def __init__(self, patience=1 << 24):
        self._patience = patience
        self._program = None

    def between(self, key, draw, begin, end):
        """Yield the words of elements `begin` to `end` in order, a block of them at a time.

        While those of one step are used, a thread makes those of the next.
        """
        # From even numbers on, where a block begins.
        steps = [(max(first, begin), min(first + _STEP, end)) for first in range(begin & ~1, end, _STEP)]
        if len(steps) < 2:
            yield from self._step(key, draw, begin, end, _BLOCK)
            return
        with ThreadPoolExecutor(1) as thread:
            made: Future = thread.submit(list, ())
            for step in steps:
                before, made = made, thread.submit(list, self._step(key, draw, *step, _BLOCK_IN_STEPS))
                yield from before.result()
            yield from made.result()

    def _step(self, key, draw, begin, end, size):
        if end - begin == _STEP and (program := self._compiled()):
            argument = np.concatenate([*key, np.array([draw, begin // 2], HOST.word)]).astype(TRACED.word)
            yield from program(argument).reshape(-1, size)
        else:
            for first in range(begin, end, size):
                yield _between(key, draw, first, min(first + size, end))

    def _compiled(self):
        """Return the program if enough words have been asked for by now, and the backend can compile one."""
        if self._program is None:
            self._patience -= _STEP
            if self._patience < 0:
                self._program = _backend.compiled(_blocks)
        return self._program


def _blocks(argument):
    """Return the even and the odd words of as many blocks as a step has."""
    key0, key1, draw, first = (argument[i] for i in range(4))
    block = TRACED.arange(_STEP // 2, dtype=TRACED.word) + first
    return threefry2x32(TRACED, (key0, key1), (block, draw))


def _between(key, draw, begin, end):
    """Return the words of elements `begin` to `end`, both of each block's words used."""
    first = begin // 2
    blocks = np.arange(first, (end + 1) // 2, dtype=HOST.word)
    pairs = np.empty((blocks.size, 2), HOST.word)
    pairs[:, 0], pairs[:, 1] = threefry2x32(HOST, key, (blocks, np.array([draw], HOST.word)))
    return pairs.reshape(-1)[begin - 2 * first : end - 2 * first]
