"""Measure what a new process takes to import the package, and to run the command line.

    KERAS_BACKEND=torch python benchmarks/startup.py

README.md in this folder explains the results.
"""

import os
import subprocess
import sys
import time

import _common
import report

# What a new process runs: the peer of each, and the arguments of Python.
PROCESSES = {
    "python": (None, ["-c", "pass"]),
    "import keras": (None, ["-c", "import keras"]),
    "import keras_initx": ("import keras", ["-c", "import keras_initx"]),
    "initx --help": ("python", ["-m", "keras_initx", "--help"]),
}


def main():
    """Measure, write and print everything."""
    arguments = _common.parse_arguments(__doc__.partition("\n")[0])
    rounds = arguments.repeats or (5 if arguments.quick else 15)
    seconds = {name: [] for name in PROCESSES}
    # Otherwise each process compiles all files that it imports.
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    with _common.progress("rounds", rounds) as advance:
        for number in range(rounds + 1):
            for name, (_, options) in PROCESSES.items():
                start = time.perf_counter()
                command = [sys.executable, *options]
                subprocess.run(command, check=True, capture_output=True, env=environment)
                if number:  # the first round compiles files
                    seconds[name].append(time.perf_counter() - start)
            if number:
                advance()
    cases = {}
    for name, (peer, _) in PROCESSES.items():
        case = {"seconds": _common.spread(seconds[name])}
        if peer is not None:
            more = [own - other for own, other in zip(seconds[name], seconds[peer], strict=True)]
            case |= {"peer": peer, "more": _common.spread(more)}
        cases[name] = case
    document = _common.write_results(arguments, "startup", {"cases": cases})
    print(report.startups(document))


if __name__ == "__main__":
    main()
