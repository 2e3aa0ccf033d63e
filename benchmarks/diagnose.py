"""Measure what `diagnose` takes, compared with a plain training step, for 100 million weights.

    KERAS_BACKEND=jax python benchmarks/diagnose.py --quick

Each round is a process of its own. With `PYTHONPATH` set to another checkout, the script measures
the package of that one. README.md in this folder explains the results.
"""

import functools
import statistics
import time

import _common
import _device
import large_models

WIDTH, DEPTH = large_models.SIZES["100M"]
BATCH = 16
STEPS = 2
FORMS = ("step", "without targets", "with targets")


def main():
    """Measure, print and write everything."""
    arguments = _common.parse_arguments(__doc__.partition("\n")[0])
    rounds = arguments.repeats or (2 if arguments.quick else 5)
    found = [_common.in_fresh_process(measure) for _ in range(rounds)]
    cases = {}
    for form in FORMS:
        cases[form] = {
            "seconds": _common.spread([one[form]["seconds"] for one in found]),
            "memory": _common.spread([one[form]["memory"] for one in found]),
            "steps": _common.spread([one[form]["steps"] for one in found]),
        }
    results = {"diagnose": cases, "targets": []}
    path = _common.write_results(arguments, "diagnose", results)
    print(report(results))
    print(f"\nWritten: {path}.json")


def measure():
    """Return the processor time and the growth of memory of a step and of both diagnoses.

    With the ratio of each time to that of a step.
    """
    import keras
    import numpy as np

    import keras_initx

    _device.prepare()
    keras.utils.set_random_seed(0)
    dense = functools.partial(keras.layers.Dense, WIDTH, "relu", use_bias=False)
    hidden = [dense(kernel_initializer="he_normal") for _ in range(DEPTH)]
    model = keras.Sequential([keras.Input((WIDTH,)), *hidden])
    model.compile(keras.optimizers.SGD(1e-3), "mse")
    x = np.random.default_rng(0).normal(size=(BATCH, WIDTH)).astype("float32")
    functions = {
        "step": lambda: model.train_on_batch(x, x),
        "without targets": lambda: keras_initx.diagnose(model, x),
        "with targets": lambda: keras_initx.diagnose(model, x, x),
    }
    figures = {}
    for form, function in functions.items():
        memory = large_models.measured(function, model, 1)["memory"]  # compiles
        seconds = []
        for _ in range(STEPS):
            begin = time.process_time()
            function()
            seconds.append(time.process_time() - begin)
        figures[form] = {"memory": memory, "seconds": statistics.median(seconds)}
    for figure in figures.values():
        figure["steps"] = figure["seconds"] / figures["step"]["seconds"]
    return figures


def report(results):
    """Return the results as a Markdown table."""
    rows = []
    for form, case in results["diagnose"].items():
        seconds = _common.with_spread(case["seconds"])
        memory = _common.with_spread(case["memory"], 1 / large_models.MIB)
        rows.append((form, seconds, _common.with_spread(case["steps"]), memory))
    return _common.table(("100 million weights", "CPU seconds", "in steps", "MiB"), rows)


if __name__ == "__main__":
    main()
