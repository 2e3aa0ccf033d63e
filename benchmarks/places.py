"""Compare the host, a trace and the device as places to make values.

A model of 6.7 billion parameters is estimated.

    KERAS_BACKEND=jax python benchmarks/places.py --quick

measures one backend on one device. README.md in this folder explains the results.
"""

import os
import statistics
import time
import tracemalloc

import _common
import _device
import _rows

_OWN = "own generator"
_PLACES = ("host", "trace", "device", _OWN)
# The first shape and a later one, with the same number of values up to one row.
_SHAPES = {"cpu": ((2048, 4096), (4096, 2049)), "gpu": ((16384, 16384), (16384, 16385))}
_FRAMES = {"cpu": ((1024, 1024), (1024, 1025)), "gpu": ((4096, 4096), (4096, 4097))}
# The most seconds for the calls of one shape, of which there are at least two.
_BUDGET = 20
# The matrices of a model like Llama 2 with 6.7 billion parameters: in each of its layers, and
# outside of them.
_LAYERS, _LAYER, _ENDS = (
    32,
    ((4096, 4096),) * 4 + ((4096, 11008),) * 2 + ((11008, 4096),),
    ((32000, 4096), (4096, 32000)),
)


def _keras_random(name):
    def make(seed):
        import keras

        return lambda shape, dtype: getattr(keras.random, name)(shape, dtype=dtype, seed=seed)

    return make


CASES = {
    "normal": (_rows.ours("RandomNormal", stddev=1.0), _keras_random("normal"), "float32"),
    "normal, bfloat16": (
        _rows.ours("RandomNormal", stddev=1.0),
        _keras_random("normal"),
        "bfloat16",
    ),
    "uniform": (
        _rows.ours("RandomUniform", minval=0.0, maxval=1.0),
        _keras_random("uniform"),
        "float32",
    ),
    "truncated normal": (
        _rows.ours("TruncatedNormal"),
        _keras_random("truncated_normal"),
        "float32",
    ),
    "sparse, 10 a unit": (_rows.ours("Sparse", connections=10), None, "float32"),
    "orthogonal": (_rows.ours("Orthogonal"), _rows.keras_builtin("Orthogonal"), "float32"),
}


def main():
    """Measure, print and write everything."""
    arguments = _common.parse_arguments(__doc__.partition("\n")[0])
    rates = _common.in_fresh_process(_device.rates, arguments.device)
    jobs = [
        (name, place)
        for name, case in CASES.items()
        for place in _places(case, arguments.environment["backend"])
    ]
    cases = {}
    with _common.progress("places", len(jobs) + 2) as step:
        for name, place in jobs:
            repeats = arguments.repeats or (5 if arguments.quick else 15)
            figures = _common.in_fresh_process(measure, name, place, arguments.device, repeats)
            figures["share_of_rate"] = _share(
                name, figures["warm_seconds"]["median"], rates, arguments.device
            )
            cases.setdefault(name, {})[place] = figures
            step()
        plan = {}
        for place in ("host", "device"):
            plan[place] = _common.in_fresh_process(plan_seconds, place)
            step()
    results = {"rates": rates, "cases": cases, "plan": plan, "targets": []}
    path = _common.write_results(arguments, "places", results)
    print(report(results), f"\nWritten: {path}.json", sep="\n")


def _places(case, backend):
    # torch does not trace; a frame in a trace takes half a minute to compile.
    left_out = {"trace"} if backend == "torch" or case is CASES["orthogonal"] else set()
    return [place for place in _PLACES if place not in left_out and (place != _OWN or case[1])]


def measure(name, place, device, repeats):
    """Return the measurements of a case in one place, in a fresh process."""
    os.environ["KERAS_INITX_SAMPLE_ON"] = place if place in ("host", "device") else "auto"
    import keras

    _device.synchronize(keras.ops.convert_to_tensor([0.0]))
    ours, own, dtype = CASES[name]
    make = own if place == _OWN else ours
    shapes = (_FRAMES if name == "orthogonal" else _SHAPES)[device]
    wrap = _compiled if place == "trace" else lambda function: function
    times = []
    for shape in shapes:
        call = wrap(lambda shape=shape: make(1)(shape, dtype))
        times.append([_seconds(call), second := _seconds(call)])
        more = repeats - 1 if shape == shapes[0] else 0
        times[-1] += [_seconds(call) for _ in range(min(more, int(_BUDGET / second)))]
    first, later = (of_shape[0] - statistics.median(of_shape[1:]) for of_shape in times)
    return {
        "first_seconds": max(first, 0),
        "later_seconds": max(later, 0),
        "warm_seconds": _common.spread(times[0][1:]),
        "copy_seconds": _copy_seconds(shapes[0], dtype) if place == "host" else None,
        "host_memory": None if place == "trace" else _host_memory(make(2), shapes[0], dtype),
    }


def _share(name, seconds, rates, device):
    """Return the fraction of the device's write rate, for frames that of matrix products."""
    if name == "orthogonal":
        return _rows.frame_operations(_FRAMES[device][0]) / seconds / rates["product_flops_per_s"]
    return (
        _rows.size_in_bytes(_SHAPES[device][0], CASES[name][2])
        / seconds
        / rates["write_bytes_per_s"]
    )


def _compiled(function):
    import keras

    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(function)
    import tensorflow as tf

    return tf.function(function, jit_compile=True)


def _seconds(call):
    start = time.perf_counter()
    _device.synchronize(call())
    return time.perf_counter() - start


def _host_memory(initializer, shape, dtype):
    """Return the peak of NumPy's allocations in a call, relative to the size of the result."""
    tracemalloc.start()
    _device.synchronize(initializer(shape, dtype))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / _rows.size_in_bytes(shape, dtype)


def _copy_seconds(shape, dtype):
    """Return the time to hand an array over as initializers do.

    It is a transfer to a device, and no copy on most CPUs.
    """
    import keras

    from keras_initx.backends import backend
    from keras_initx.sampling._namespace import HOST

    array = HOST.empty(shape, keras.backend.standardize_dtype(dtype))
    array.fill(0)  # touches the memory
    return statistics.median(_seconds(lambda: backend.to_tensor(array)) for _ in range(3))


def plan_seconds(place):
    """Return the estimated seconds for all matrices.

    From those of one layer and of one end matrix, after a warm-up.
    """
    os.environ["KERAS_INITX_SAMPLE_ON"] = place
    import keras_initx

    initializer = keras_initx.HeNormal(seed=1)
    # Warm-up: compiles, and uses up the words that NumPy makes first.
    for shape in (*set(_LAYER), _ENDS[0]):
        _seconds(lambda shape=shape: initializer(shape))
    layer = sum(_seconds(lambda shape=shape: initializer(shape)) for shape in _LAYER)
    end = _seconds(lambda: initializer(_ENDS[0]))
    return {"layer": layer, "end": end, "extrapolated": _LAYERS * layer + len(_ENDS) * end}


def report(results):
    """Return the results as Markdown tables."""
    rows = []
    for name, places in results["cases"].items():
        for place, figures in places.items():
            numbers = [figures[f"{what}_seconds"] for what in ("first", "later", "copy")]
            first, later, copy = (
                "-" if number is None else _common.significant(1e3 * number) for number in numbers
            )
            warm, memory = (
                _common.with_spread(figures["warm_seconds"], 1e3),
                _common.significant(figures["host_memory"]),
            )
            rows.append(
                (name, place, first, later, warm, f"{figures['share_of_rate']:.1%}", copy, memory)
            )
    header = (
        "case",
        "computed",
        "compile ms",
        "new shape",
        "warm ms",
        "of peak",
        "copy ms",
        "host memory",
    )
    plan = "; ".join(
        f"on the {place} {_common.significant(figures['extrapolated'])} s"
        for place, figures in results["plan"].items()
    )
    return "\n\n".join(
        (
            _common.table(header, rows),
            "Seconds for 6.7 billion float32 values of `HeNormal`, extrapolated from one of 32 "
            f"layers and one of the two matrices outside of them: {plan}.",
        )
    )


if __name__ == "__main__":
    main()
