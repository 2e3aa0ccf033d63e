"""Random words on the host, block by block: from NumPy, or from a compiled program once that pays off.

Compilation takes about 0.1 s, which is what NumPy loses on some sixty million words, so nothing is
compiled before that number. The program has a fixed size and takes key, draw and start as
arguments, so it is compiled once per process for all shapes.
"""

from collections.abc import Callable

import numpy as np

from keras_initx._typing import Array, Elementwise, Tensor
from keras_initx.backends import backend
from keras_initx.sampling._namespace import HOST, TRACED
from keras_initx.sampling._threads import each, each_in_two_threads, even_share
from keras_initx.sampling._threefry import Words, threefry2x32

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
        run, size = each, _BLOCK
        program: Program | None = None
        if out.size >= _LARGE:
            program = self._compiled(out.size)
            run, size = each_in_two_threads, _STEP if program else even_share(out.size, _MOST)

        def make(block: int) -> None:
            first, last = max(block, begin), min(block + size, end)
            # The program takes as long for a few words as for all that it makes.
            source = program if last - first > _STEP // 8 else None
            out[first - begin : last - begin] = convert(_words(source, key, draw, first, last))

        # Blocks start at even numbers, where a block of the cipher begins.
        run(make, range(begin & ~1, end, size))

    def _compiled(self, words: int) -> Program | None:
        """Return the program if enough words have been requested, including these, and the backend can compile it."""
        if self._program is None:
            self._patience -= words
            if self._patience < 0:
                self._program = backend.compiled(_blocks)
                if self._program:
                    self._program(np.zeros(4, TRACED.word))  # compile now, or each thread would
        return self._program


def _blocks(argument: Tensor) -> Words:
    """Return the even and the odd words of all blocks in a step."""
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
