"""Shared code of the benchmarks: options, fresh processes, statistics and JSON."""

import argparse
import contextlib
import functools
import json
import statistics
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import _device
from report import OURS


def parse_arguments(description):
    """Parse the options of all benchmarks and select the device."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--quick", action="store_true", help="run a sample in about four minutes, not everything"
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
        help="processes for each first call (default: 1 in the quick form, 3 otherwise)",
    )
    arguments = parser.parse_args()
    for name in ("repeats", "first_calls"):
        if getattr(arguments, name) is not None and getattr(arguments, name) < 1:
            parser.error(
                f"--{name.replace('_', '-')} must be positive. Received: {getattr(arguments, name)}"
            )
    _device.select(arguments.device)
    arguments.environment = in_fresh_process(_device.environment, arguments.device)
    arguments.backend = arguments.environment["backend"]
    if arguments.environment["device"] is None:
        parser.error(f"--device gpu: the {arguments.backend} backend finds no GPU")
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
    from keras_initx.report._terminal import show_progress

    with show_progress(title, total, "steps") as advance:
        yield functools.partial(advance, 1)


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


def ratios(times):
    """Return the ratio of the time of each peer to ours."""
    return {name: ratio(peer, times[OURS]) for name, peer in times.items() if name != OURS}


def write_results(arguments, name, results):
    """Write `results` as JSON, print where, and return what is written."""
    document = {
        "benchmark": name,
        "quick": arguments.quick,
        "device": arguments.device,
        "environment": arguments.environment,
        **results,
    }
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / f"{arguments.device}-{arguments.backend}-{name}.json"
    path.write_text(json.dumps(_rounded(document), indent=1) + "\n", encoding="utf-8")
    print(f"Written: {path}\n")
    return document


def _rounded(value):
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return float(f"{value:.4g}") if isinstance(value, float) else value
