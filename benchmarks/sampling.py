"""Measure the sampling time of our initializers and their peers, cold and warm.

    KERAS_BACKEND=jax python benchmarks/sampling.py --quick

measures one backend on one device. README.md in this folder explains the results.
"""

import itertools
import time

import _common
import _device
import _rows
import _summary

# Below this size, a few pages of memory are as large as the result.
_LEAST_BYTES_FOR_MEMORY = 1 << 24
_SMALL = (1024, 1024)
# Threads that have just computed spin for some 30 ms and slow those of other libraries; sleeping
# threads take long to wake up on some machines. So each library computes for this long, in seconds,
# before one of its calls is timed.
_RUN_UP = 0.06
# Before the first round each library computes for this long, so that compilers and caches are warm.
_WARM_UP = 0.3


def main():
    """Measure, print and write everything."""
    arguments = _common.parse_arguments(__doc__.partition("\n")[0])
    cases = _rows.cases(arguments.quick, arguments.device)
    measured = {
        _rows.label(*case): {"cold": {}, "growth": {}, "warm": {}, "errors": {}} for case in cases
    }
    measure_processes(cases, measured, arguments)
    rates = _common.in_fresh_process(_device.rates, arguments.device)
    measure_warm(cases, measured, arguments)

    results = _summary.summarize(
        cases, measured, rates, arguments.environment["backend"], arguments.device
    )
    path = _common.write_results(arguments, "sampling", results)
    print(_common.target_table(results["targets"]), _summary.report(results), sep="\n\n")
    print(f"\nWritten: {path}")


def measure_processes(cases, measured, arguments):
    """Add the times of cold calls and the memory use, each from a separate process."""
    if arguments.quick:  # the last shape of each initializer
        cases = {row.name: (row, shape, dtype) for row, shape, dtype in cases}.values()
    backend = arguments.environment["backend"]
    first = [  # against peers with a target; other cases have no ratio
        (case, name)
        for case in cases
        for name in _rows.makers(case[0], backend)
        if case[2] == "float32"
        and (name == _rows.OURS or case[0].required(name, *case[1:], backend, arguments.device))
    ]
    jobs = [("cold", cold_call, *pair) for pair in first] * (
        1 if arguments.quick else arguments.first_calls
    )
    jobs += [
        ("growth", memory_growth, case, _rows.OURS)
        for case in cases
        if _rows.size_in_bytes(*case[1:]) >= _LEAST_BYTES_FOR_MEMORY
    ]
    with _common.progress("cold calls and memory", len(jobs)) as step:
        for kind, function, case, name in jobs:
            row, shape, dtype = case
            figure = _common.in_fresh_process(
                function, row.name, name, shape, dtype, arguments.device
            )
            of_case = measured[_rows.label(*case)]
            if isinstance(figure, str):
                of_case["errors"][name] = figure
            elif figure is not None:
                of_case[kind].setdefault(name, []).append(figure)
            step()


def cold_call(row_name, name, shape, dtype, device):
    """Return the time of the first call in a process, or an error message."""
    _device.prepare()
    initializer = _rows.maker(row_name, name)(0)
    start = time.perf_counter()
    error = _attempt(initializer, shape, dtype)
    return error or time.perf_counter() - start


def memory_growth(row_name, name, shape, dtype, device):
    """Return the peak memory growth in bytes of a call after a smaller one, or an error."""
    import keras

    initializer = _rows.maker(row_name, name)(0)
    framework = name if name in ("jax", "torch") else keras.backend.backend()
    return _attempt(initializer, _SMALL, dtype) or _device.peak_growth(
        lambda: initializer(shape, dtype), framework, device
    )


def _attempt(initializer, shape, dtype):
    """Make one call and return its error message, because failures of peers are results too."""
    try:
        _device.synchronize(initializer(shape, dtype))
    except Exception as error:
        return f"{type(error).__name__}: {error}".partition("\n")[0][:200]


def measure_warm(cases, measured, arguments):
    """Add the times of repeated calls in this process, and the orthonormality errors of frames."""
    repeats, budget = (7, 3) if arguments.quick else (25, 20)
    backend = arguments.environment["backend"]
    with _common.progress("warm calls", len(cases)) as step:
        for row, shape, dtype in cases:
            of_case = measured[_rows.label(row, shape, dtype)]
            makers = {}
            for name, make in _rows.makers(row, backend).items():
                if error := _attempt(make(0), shape, dtype):
                    of_case["errors"][name] = error
                else:
                    makers[name] = make
            of_case["warm"] = warm_calls(makers, shape, dtype, arguments.repeats or repeats, budget)
            if row.frame:
                of_case["frame_error"] = frame_error(row.ours(0)(shape, dtype))
            step()


def warm_calls(makers, shape, dtype, repeats, budget):
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


def frame_error(tensor):
    """Return the orthonormality error of some columns or rows, in float64 on the host."""
    import keras
    import numpy as np

    matrix = keras.ops.convert_to_numpy(keras.ops.cast(tensor, "float32"))
    matrix = matrix.reshape(-1, matrix.shape[-1]).astype("float64")
    matrix = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T
    some = matrix[:, :64]
    return float(np.abs(matrix.T @ some - np.eye(matrix.shape[1], some.shape[1])).max())


if __name__ == "__main__":
    main()
