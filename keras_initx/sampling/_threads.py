"""Two threads for large draws on the host."""

import collections
import functools
import math
import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

# `shares` is true in a thread that works on blocks shared between two.
_OF_THREAD = threading.local()


@functools.cache
def _keep_freed_memory() -> None:
    """Make the C library reuse the memory of one block for the next; done once per process.

    glibc maps new memory for blocks larger than any that was freed before, and returns free memory
    beyond twice that size. If no large array is ever freed, as while building a model, two threads
    keep waiting for the kernel, and a truncated normal takes twice as long. The size freed here is
    the largest that counts; the memory is never written.
    """
    np.empty((1 << 25) - (1 << 13), "uint8")


@functools.cache
def _other_thread(process: int) -> ThreadPoolExecutor:
    """Return the second thread, which stays, because a new one may take milliseconds to find a free processor.

    Args:
        process: Number of this process. One that is forked has no threads of its parent.
    """
    return ThreadPoolExecutor(1, "keras_initx")


def each(function: Callable[[int], None], blocks: Iterable[int]) -> None:
    """Call `function` with each of `blocks`."""
    for block in blocks:
        function(block)


def each_in_two_threads(function: Callable[[int], None], blocks: Iterable[int]) -> None:
    """Call `function` with each of `blocks`, in this thread or in another one, whichever is free.

    More than two threads would mostly wait for the interpreter, so `function` itself gets no second one: what waited
    for it would also keep its arrays.
    """
    if getattr(_OF_THREAD, "shares", False):
        return each(function, blocks)
    _keep_freed_memory()
    remaining = iter(blocks)
    other = _other_thread(os.getpid()).submit(_share, function, remaining)
    try:
        _share(function, remaining)
    finally:
        collections.deque(remaining, maxlen=0)  # so that the other thread ends too if this one is interrupted
        # It may be busy with a draw of another thread.
        started = not other.cancel()
    if started:
        other.result()


def _share(function: Callable[[int], None], blocks: Iterable[int]) -> None:
    _OF_THREAD.shares = True
    try:
        each(function, blocks)
    finally:
        _OF_THREAD.shares = False


def even_share(count: int, most: int) -> int:
    """Return the even size, at most `most`, of blocks that share `count` elements evenly among two threads."""
    blocks = 2 * math.ceil(count / (2 * most))
    return 2 * math.ceil(count / (2 * blocks))
