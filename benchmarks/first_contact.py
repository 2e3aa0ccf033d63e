"""Prove or disprove what docs/devices.md says on this machine, in ten minutes on a GPU.

    python benchmarks/first_contact.py

runs each step of `_contact_steps.py` on each backend that is installed, correctness first. It
prints PASS, FAIL or SKIP with the reason, and writes it to a file at once. A step that takes too
long is stopped and fails; the others go on. It needs this repository, and pytest for the golden
values.
"""

import argparse
import importlib.util
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
BACKENDS = ("torch", "jax", "tensorflow")
# The most seconds for a process to begin: to import a framework and to open the device.
_START = 180


def main():
    """Run all steps on all backends; the exit code is 1 if one has failed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--backends", help="names with commas between (default: all that are installed)"
    )
    parser.add_argument("--steps", help="names with commas between (default: all)")
    parser.add_argument(
        "--limit", type=float, help="the most seconds of a step (default: its own limit)"
    )
    parser.add_argument("--few", action="store_true", help="a part of each step, with small sizes")
    parser.add_argument(
        "--out", type=Path, default=Path("out", "first_contact.txt"), help="default: %(default)s"
    )
    # Do the steps in this process, after this one.
    parser.add_argument("--work", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work is not None:
        return work(arguments)
    backends = (
        arguments.backends.split(",")
        if arguments.backends
        else filter(importlib.util.find_spec, BACKENDS)
    )
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    failed = False
    with arguments.out.open("w", encoding="utf-8") as file:
        for backend in backends:
            for name, verdict, seconds, text in run(backend, arguments):
                line = f"{verdict} {backend} {name} ({seconds:.1f} s): {text}"
                for stream in (sys.stdout, file):
                    print(line, file=stream, flush=True)
                failed |= verdict == "FAIL"
    return int(failed)


def run(backend, arguments):
    """Yield the name, the verdict, the seconds and the text of each step.

    From as few processes as possible.
    """
    name = ""
    while name is not None:
        with tempfile.TemporaryFile("w+") as errors:
            process, lines = begin(backend, name, arguments, errors)
            try:
                name = yield from follow(name, lines, errors)
            finally:
                process.kill()
                process.wait()


def begin(backend, after, arguments, errors):
    """Start a process that does the steps after one, and return it with what it prints.

    It complains in `errors`.
    """
    command = [sys.executable, __file__, f"--work={after}", *(["--few"] if arguments.few else [])]
    command += [
        f"--{name}={value}"
        for name in ("steps", "limit")
        if (value := getattr(arguments, name)) is not None
    ]
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    surroundings = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": path}
    lines = queue.Queue()
    process = subprocess.Popen(
        command, env=surroundings, stdout=subprocess.PIPE, stderr=errors, text=True
    )

    def read():
        for line in process.stdout:
            lines.put(line)
        lines.put("")

    threading.Thread(target=read, daemon=True).start()
    return process, lines


def follow(name, lines, errors):
    """Yield the steps of a process; return the one that it did not end, or `None`."""
    running, limit, start = None, _START, time.perf_counter()
    while True:
        try:
            line = lines.get(timeout=max(start + limit - time.perf_counter(), 0))
        except queue.Empty:
            why = f"took more than {limit:g} seconds"
            break
        seconds = time.perf_counter() - start
        what, _, rest = line.rstrip().partition(" ")
        if what == "begin":
            running, _, limit = rest.partition(" ")
            limit, start = float(limit), time.perf_counter()
        elif what == "all":
            return None
        elif what in ("PASS", "FAIL", "SKIP"):
            yield running, what, seconds, rest
            running, limit, start = None, _START, time.perf_counter()
        elif not line:
            errors.seek(0)
            why = f"the process ended: {' '.join(errors.read().split()[-30:])}"
            break
    yield running or f"start after {name!r}", "FAIL", time.perf_counter() - start, why
    return running


def work(arguments):
    """Do the steps in this process, and print a line at the beginning and the end of each."""
    import _contact_steps

    wanted = arguments.steps.split(",") if arguments.steps else list(_contact_steps.STEPS)
    wanted = wanted[wanted.index(arguments.work) + 1 :] if arguments.work else wanted
    for name in wanted:
        limit = _contact_steps.STEPS[name][1] if arguments.limit is None else arguments.limit
        print("begin", name, limit, flush=True)
        print(*_contact_steps.outcome(name, arguments.few), flush=True)
    print("all", flush=True)


if __name__ == "__main__":
    sys.exit(main())
