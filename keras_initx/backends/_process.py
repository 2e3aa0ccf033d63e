"""Settings of the process, such as a switch for TF32: changed for all threads, and put back."""

import contextlib
import threading
from collections.abc import Callable
from typing import Any


class SharedByThreads(contextlib.AbstractContextManager[None]):
    """Settings that the first thread to enter changes, and the last thread to leave puts back.

    If each thread saved and restored the settings, the second thread would save the changed
    settings of the first, and restore these.

    Args:
        change: Function that returns a context that changes the settings.

    Example:
        >>> events = []
        >>> @SharedByThreads
        ... @contextlib.contextmanager
        ... def changed():
        ...     events.append("changed")
        ...     yield
        ...     events.append("put back")
        >>> with changed, changed:
        ...     pass
        >>> events
        ['changed', 'put back']
    """

    def __init__(self, change: Callable[[], contextlib.AbstractContextManager[Any]]) -> None:
        self._change = change
        self._lock = threading.Lock()
        self._inside = 0
        self._context: contextlib.AbstractContextManager[Any] = contextlib.nullcontext()

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._context = self._change()
                self._context.__enter__()
            self._inside += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._context.__exit__(None, None, None)
