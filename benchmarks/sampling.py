"""Measure the sampling time of our initializers and their peers, cold and warm.

    KERAS_BACKEND=jax python benchmarks/sampling.py --quick

measures one backend on one device. README.md in this folder explains the results.
"""

import itertools
import time

import _common
import _device
import _rows
import report

# Threads that have just computed spin for some 30 ms and slow those of other libraries; sleeping
# threads take long to wake up on some machines. So each library computes for this long, in seconds,
# before one of its calls is timed.
_RUN_UP = 0.06
# Before the first round each library computes for this long, so that compilers and caches are warm.
_WARM_UP = 0.3


def main():
    """Measure, write and print everything."""
    arguments = _common.parse_arguments(__doc__.partition("\n")[0])
    cases = _rows.cases(arguments.quick, arguments.backend)
    cold = cold_calls(cases, arguments)
    warm, errors = warm_calls(cases, arguments)
    results = {
        label: {
            "cold_seconds": {name: _common.spread(times) for name, times in cold[label].items()},
            "warm_seconds": {name: _common.spread(times) for name, times in warm[label].items()},
            "cold_ratio": _common.ratios(cold[label]),
            "warm_ratio": _common.ratios(warm[label]),
            "errors": errors[label],
        }
        for label in (_rows.label(*case) for case in cases)
    }
    print(report.calls(_common.write_results(arguments, "sampling", {"cases": results})))


def cold_calls(cases, arguments):
    """Return the times of first calls, each in a process of its own, by case and library."""
    times = {_rows.label(*case): {} for case in cases}
    jobs = [(case, name) for case in cases for name in _rows.makers(case[0], arguments.backend)]
    jobs *= arguments.first_calls or (1 if arguments.quick else 3)
    with _common.progress("first calls", len(jobs)) as step:
        for (row, shape, dtype), name in jobs:
            seconds = _common.in_fresh_process(cold_call, row.name, name, shape, dtype)
            if seconds is not None:
                times[_rows.label(row, shape, dtype)].setdefault(name, []).append(seconds)
            step()
    return times


def cold_call(row_name, name, shape, dtype):
    """Return the time of the first call in a process, or `None` if it fails."""
    _device.prepare()
    initializer = _rows.maker(row_name, name)(0)
    start = time.perf_counter()
    error = _attempt(initializer, shape, dtype)
    return None if error else time.perf_counter() - start


def _attempt(initializer, shape, dtype):
    """Make one call and return its error message, because failures of peers are results too."""
    try:
        _device.synchronize(initializer(shape, dtype))
    except Exception as error:
        return f"{type(error).__name__}: {error}".partition("\n")[0][:200]


def warm_calls(cases, arguments):
    """Return the times of repeated calls in this process, and error messages, both by case."""
    repeats, budget = (7, 3) if arguments.quick else (25, 20)
    times, errors = {}, {}
    with _common.progress("warm calls", len(cases)) as step:
        for row, shape, dtype in cases:
            makers = _rows.makers(row, arguments.backend)
            attempts = {name: _attempt(make(0), shape, dtype) for name, make in makers.items()}
            failed = {name: error for name, error in attempts.items() if error}
            makers = {name: make for name, make in makers.items() if name not in failed}
            label = _rows.label(row, shape, dtype)
            errors[label] = failed
            times[label] = rounds(makers, shape, dtype, arguments.repeats or repeats, budget)
            step()
    return times, errors


def rounds(makers, shape, dtype, repeats, budget):
    """Return the times of our initializer and its peers, which take turns in every round.

    There are `repeats` rounds, fewer if they take more than `budget` seconds, but at least three.
    """
    times = {name: [] for name in makers}
    for make in makers.values():
        _call_for(_WARM_UP, make(0), shape, dtype)
    end = time.perf_counter() + budget
    for seed in itertools.count(1):
        for name, make in makers.items():
            initializer = make(seed)  # a new seed each round prevents caching
            _call_for(_RUN_UP, initializer, shape, dtype)
            times[name].append(_timed(initializer, shape, dtype))
        if seed == repeats or (seed >= 3 and time.perf_counter() > end):
            return times


def _call_for(seconds, initializer, shape, dtype):
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        _timed(initializer, shape, dtype)


def _timed(initializer, shape, dtype):
    start = time.perf_counter()
    tensor = initializer(shape, dtype)
    _device.synchronize(tensor)
    seconds = time.perf_counter() - start
    del tensor
    return seconds


if __name__ == "__main__":
    main()
