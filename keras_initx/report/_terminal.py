"""The width of a terminal, and the progress of long work."""

import contextlib
import datetime
import functools
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, Literal, ParamSpec, TypeAlias, TypeVar

import keras

from keras_initx._checks import check_verbose

Arguments = ParamSpec("Arguments")
Returned = TypeVar("Returned")
# `"auto"` shows progress on a terminal, unless `keras.config.disable_interactive_logging` was
# called; 1 or true always, 0 or false never.
Verbose: TypeAlias = Literal["auto"] | int
# What was said to the function that runs. The functions that it calls need not pass it on.
_VERBOSE: ContextVar[Verbose] = ContextVar("verbose", default="auto")
_IS_WIDE: ContextVar[bool] = ContextVar("is_wide", default=False)

_FILE_WIDTH = 80
_WIDEST = 120
_BAR = 20  # characters


@contextlib.contextmanager
def unlimited_width() -> Iterator[None]:
    """Let each sentence be one line in the block, however long it is."""
    former = _IS_WIDE.set(True)
    try:
        yield
    finally:
        _IS_WIDE.reset(former)


def line_width() -> int:
    """Measure the width for printed text: of the terminal, but at most 120, and 80 in a file."""
    if _IS_WIDE.get():
        return sys.maxsize
    return min(shutil.get_terminal_size((_FILE_WIDTH, 24)).columns, _WIDEST)


def takes_verbose(function: Callable[Arguments, Returned]) -> Callable[Arguments, Returned]:
    """Make the argument `verbose` of a function decide whether its work shows progress."""

    @functools.wraps(function)
    def showing(*arguments: Arguments.args, **options: Arguments.kwargs) -> Returned:
        verbose: Any = check_verbose(options.get("verbose", "auto"))
        with set_verbosity(verbose):
            return function(*arguments, **options)

    return showing


@contextlib.contextmanager
def set_verbosity(verbose: Verbose) -> Iterator[None]:
    """Show progress in the block or not. With `"auto"` it stays as it is around the block."""
    if verbose == "auto":
        yield
        return
    former = _VERBOSE.set(verbose)
    try:
        yield
    finally:
        _VERBOSE.reset(former)


def _is_shown() -> bool:
    # Python has `None` for a closed stream.
    if sys.stderr is None:
        return False
    verbose = _VERBOSE.get()
    if verbose == "auto":
        return sys.stderr.isatty() and bool(keras.config.is_interactive_logging_enabled())
    return bool(verbose)


@contextlib.contextmanager
def show_status() -> Iterator[Callable[[str], None]]:
    """Yield a function that shows a text in place of the last text, until the block ends."""
    if not _is_shown():
        yield lambda text: None
        return
    room = line_width() - 1  # a full line would begin the next one

    def show(text: str) -> None:
        sys.stderr.write(f"\r{text[:room]:{room}}")
        sys.stderr.flush()

    try:
        yield show
    finally:
        sys.stderr.write("\n")


@contextlib.contextmanager
def show_progress(label: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
    """Yield a function that advances a progress bar by a number of steps.

    Args:
        label: The text before the bar.
        total: Number of steps.
        unit: The name of the steps, in the plural.
    """
    begin = time.monotonic()
    done = 0
    with show_status() as show:

        def advance(count: int) -> None:
            nonlocal done
            done += count
            elapsed = time.monotonic() - begin
            bar = "=" * (_BAR * done // total)
            times = f"{_clock(elapsed)} elapsed, {_clock(elapsed / done * (total - done))} left"
            show(f"{label} [{bar:{_BAR}}] {done}/{total} {unit}, {times}")

        # Before the first step a model may be built and compiled, which takes long.
        show(f"{label}, starting")
        yield advance


def _clock(seconds: float) -> str:
    """Format a time such as `0:01:30`."""
    return str(datetime.timedelta(seconds=round(seconds)))
