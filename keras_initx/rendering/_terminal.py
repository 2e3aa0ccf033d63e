"""Colors and progress bars, shown only on a terminal and if rich is installed."""

import contextlib
import importlib.util
import shutil
import sys
from collections.abc import Callable, Iterator
from typing import TextIO

__all__ = ["FILE_WIDTH", "is_rich", "line_width", "progress", "status"]

FILE_WIDTH = 80
_WIDEST = 120


def line_width() -> int:
    """Return the width of printed text: that of the terminal, but at most 120, and 80 in a file."""
    return min(shutil.get_terminal_size((FILE_WIDTH, 24)).columns, _WIDEST)


def is_rich(stream: TextIO | None) -> bool:
    """Return whether `stream` is a terminal and rich is installed.

    Python has `None` for a closed stream.
    """
    if stream is None or not stream.isatty():
        return False
    return importlib.util.find_spec("rich") is not None


@contextlib.contextmanager
def status() -> Iterator[Callable[[str], None]]:
    """Yield a function that shows a text, in place of the last one, until the block ends."""
    if not is_rich(sys.stderr):
        yield lambda text: None
        return
    from rich import console, markup

    with console.Console(stderr=True).status("") as line:
        yield lambda text: line.update(markup.escape(text))


@contextlib.contextmanager
def progress(label: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
    """Yield a function that advances a progress bar by a number of steps.

    Args:
        label: The text before the bar.
        total: Number of steps.
        unit: The name of the steps, in the plural.
    """
    if not is_rich(sys.stderr):
        yield lambda count: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    done = ("{task.description}", BarColumn(), MofNCompleteColumn(), f"{unit},")
    times = (TimeElapsedColumn(), "elapsed,", TimeRemainingColumn(), "left")
    # Compiling a new model takes longer than an epoch. A long averaging window covers both.
    with Progress(*done, *times, console=Console(stderr=True), speed_estimate_period=600) as bar:
        # Before the first step a model may be built and compiled, which takes long.
        task = bar.add_task(f"{label}, starting", total=total)
        yield lambda count: bar.update(task, advance=count, description=label)
