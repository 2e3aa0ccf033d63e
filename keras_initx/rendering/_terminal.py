"""What is shown on a terminal, where rich is installed, and nowhere else: colors and progress."""

import contextlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from typing import TextIO


def is_rich(stream: TextIO) -> bool:
    """Return whether `stream` is a terminal that rich can write to."""
    return stream.isatty() and importlib.util.find_spec("rich") is not None


@contextlib.contextmanager
def status() -> Iterator[Callable[[str], None]]:
    """Give a function that shows a text, in the place of the last one, while the block runs."""
    if not is_rich(sys.stderr):
        yield lambda text: None
        return
    from rich.console import Console
    from rich.markup import escape

    with Console(stderr=True).status("") as line:
        yield lambda text: line.update(escape(text))


@contextlib.contextmanager
def progress(label: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
    """Give a function that moves a bar on by a number of steps.

    Args:
        label: What stands before the bar.
        total: Number of steps.
        unit: What a step is, in the plural.
    """
    if not is_rich(sys.stderr):
        yield lambda count: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(f"{unit},"),
        TimeElapsedColumn(),
        TextColumn("elapsed,"),
        # Compiling a new model takes longer than an epoch: only a long memory sees both.
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    with Progress(*columns, console=Console(stderr=True), speed_estimate_period=600) as bar:
        task = bar.add_task(label, total=total)
        yield lambda count: bar.advance(task, count)
