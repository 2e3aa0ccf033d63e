"""Measure what auditing 100 million weights takes, beside drawing them: time, and memory.

    KERAS_BACKEND=torch python benchmarks/audit.py

The weights are 24 kernels of 2048 x 2048. In each repeat they are drawn and audited, so what else
runs on the machine slows both; the processor time of this process is printed beside the wall time.
"""

import argparse
import functools
import statistics
import time
import tracemalloc

import keras

import keras_initx

SHAPE = (2048, 2048)
COUNT = 24
INITIALIZERS = {
    "normal": keras_initx.RandomNormal(stddev=0.02),
    "uniform": keras_initx.GlorotUniform(),
    "truncated": keras_initx.HeNormal(),
    "orthogonal": keras_initx.Orthogonal(),
}
MIB = 1 << 20


def built(count):
    """Return a model of so many kernels, which are drawn later."""
    model = keras.Sequential([keras.Input(SHAPE[:1])])
    for _ in range(count):
        model.add(keras.layers.Dense(SHAPE[1], use_bias=False, kernel_initializer="zeros"))
    return model


def timed(function, *arguments):
    """Return a result, and the seconds of the clock and of processors that it took."""
    wall = time.perf_counter()
    processor = time.process_time()
    result = function(*arguments)
    return result, time.perf_counter() - wall, time.process_time() - processor


def additional_memory(model, rules):
    """Return the largest memory that Python and NumPy took during an audit, in bytes."""
    tracemalloc.start()
    keras_initx.audit(model, rules)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


def middle(values):
    """Return the median of seconds, and the smallest and the largest."""
    return f"{statistics.median(values):.2f} ({min(values):.2f} - {max(values):.2f})"


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=list(INITIALIZERS))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--count", type=int, default=COUNT, help="kernels (default: %(default)s)")
    options = parser.parse_args()
    weight = 4 * SHAPE[0] * SHAPE[1]
    print(f"{options.count * weight / 4e6:.0f} million weights, {options.repeats} repeats")
    model = built(options.count)
    print("| drawn from | draw, s | audit, s | draw, CPU s | audit, CPU s | memory, weights |")
    print("|---|---|---|---|---|---|")
    for name in options.names:
        rules = {"*": INITIALIZERS[name]}
        columns = [[], [], [], []]
        for seed in range(options.repeats):
            draw = functools.partial(keras_initx.initialize, seed=seed)
            _, *of_draw = timed(draw, model, rules)
            _, *of_audit = timed(keras_initx.audit, model, rules)
            times = (of_draw[0], of_audit[0], of_draw[1], of_audit[1])
            for column, seconds in zip(columns, times, strict=True):
                column.append(seconds)
        memory = additional_memory(model, rules) / weight
        cells = [name, *map(middle, columns), f"{memory:.2f}"]
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
