"""Shared code of the benchmarks: options, fresh processes, statistics, tables and JSON."""

import argparse
import contextlib
import functools
import json
import statistics
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import _device


def parse_arguments(description):
    """Parse the options of all benchmarks and select the device."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--quick", action="store_true", help="run a sample in two to seven minutes, not everything"
    )
    parser.add_argument(
        "--device", choices=("cpu", "gpu"), default="cpu", help="default: %(default)s"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("out"),
        help="folder for the results (default: %(default)s)",
    )
    parser.add_argument(
        "--repeats",
        type=int,
        help="repeats of each warm call or build (default: depends on the form)",
    )
    parser.add_argument(
        "--first-calls",
        type=int,
        default=3,
        help="processes for each first call (default: %(default)s)",
    )
    arguments = parser.parse_args()
    for name in ("repeats", "first_calls"):
        if getattr(arguments, name) is not None and getattr(arguments, name) < 1:
            parser.error(
                f"--{name.replace('_', '-')} must be positive. Received: {getattr(arguments, name)}"
            )
    _device.select(arguments.device)
    arguments.environment = in_fresh_process(_device.environment, arguments.device)
    if arguments.environment["device"] is None:
        parser.error(f"--device gpu: the {arguments.environment['backend']} backend finds no GPU")
    return arguments


def in_fresh_process(function, *arguments):
    """Return the result of `function` in a new interpreter."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


@contextlib.contextmanager
def progress(title, total):
    """Yield a function that reports a finished step.

    Progress is shown only if stderr is a terminal.
    """
    from keras_initx import rendering

    with rendering.progress(title, total, "steps") as advance:
        yield functools.partial(advance, 1)


_LEAST_FOR_QUARTILES = 3  # Those of two figures would only interpolate.


def spread(figures):
    """Return the median, the quartiles and the number of `figures`."""
    quartiles = (
        statistics.quantiles(figures, n=4, method="inclusive")
        if len(figures) > 1
        else [figures[0]] * 3
    )
    return {"median": quartiles[1], "q1": quartiles[0], "q3": quartiles[2], "n": len(figures)}


def ratio(peer, ours):
    """Return the spread of peer time / our time per round.

    Disturbances affect both times of a round.
    """
    return spread([theirs / own for theirs, own in zip(peer, ours, strict=True)])


def judge(what, figure, required, at_most=False):
    """Return one row of the table of targets."""
    met = figure["median"] <= required if at_most else figure["median"] >= required
    return {"what": what, "required": required, "at_most": at_most, "measured": figure, "met": met}


def significant(value, digits=3):
    """Format a number for a table, with a dash for a missing measurement."""
    return "-" if value is None else f"{float(f'{value:.{digits - 1}e}'):,g}"


def with_spread(figure, scale=1):
    """Format a median with its quartiles."""
    if not figure:
        return "-"
    low, middle, high = (significant(figure[key] * scale) for key in ("q1", "median", "q3"))
    return f"{middle} ({low} to {high})" if figure["n"] >= _LEAST_FOR_QUARTILES else middle


def table(header, rows):
    """Return a Markdown table that also reads well as plain text."""
    cells = [tuple(header), *(tuple(map(str, row)) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in cells]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def target_table(targets):
    """Return the table of targets: required value, measured value, and whether they are met."""
    return table(
        ("target", "required", "measured (quartiles)", "met"),
        (
            (
                target["what"],
                f"{'<=' if target['at_most'] else '>='} {significant(target['required'])}",
                with_spread(target["measured"]),
                "yes" if target["met"] else "**no**",
            )
            for target in targets
        ),
    )


def write_results(arguments, name, results):
    """Write `results` as JSON and return the path."""
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / f"{arguments.device}-{arguments.environment['backend']}-{name}.json"
    document = {
        "benchmark": name,
        "quick": arguments.quick,
        "device": arguments.device,
        "environment": arguments.environment,
        **results,
    }
    path.write_text(json.dumps(_rounded(document), indent=1) + "\n", encoding="utf-8")
    return path


def _rounded(value):
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value
