"""The width of a terminal, and the progress of long work, which only a terminal shows."""

import contextlib
import datetime
import shutil
import sys
import time
from collections.abc import Callable, Iterator

_FILE_WIDTH = 80
_WIDEST = 120
_BAR = 20  # characters


def line_width() -> int:
    """Return the width of printed text: that of the terminal, but at most 120, and 80 in a file."""
    return min(shutil.get_terminal_size((_FILE_WIDTH, 24)).columns, _WIDEST)


@contextlib.contextmanager
def status() -> Iterator[Callable[[str], None]]:
    """Yield a function that shows a text, in place of the last one, until the block ends."""
    # Python has `None` for a closed stream.
    if sys.stderr is None or not sys.stderr.isatty():
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
def progress(label: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
    """Yield a function that advances a progress bar by a number of steps.

    Args:
        label: The text before the bar.
        total: Number of steps.
        unit: The name of the steps, in the plural.
    """
    begin = time.monotonic()
    done = 0
    with status() as show:

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
