"""Measure what `diagnose` takes: the first call and later ones, within `fit`, for many weights.

    KERAS_BACKEND=jax python benchmarks/diagnose.py --quick

Each round is a process of its own. With `PYTHONPATH` set to another checkout, the script measures
the package of that one. README.md in this folder explains the results.
"""

import functools
import gc
import statistics
import threading
import time

import _common
import _device

WIDTH, DEPTH = 2048, 24
BATCH = 16
STEPS = 2
FORMS = ("step", "without targets", "with targets")
REPORTS = 12
REPEATED = ("first call", "second call", "fit", "monitored fit")


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
    found = [_common.in_fresh_process(repeated) for _ in range(rounds)]
    again = {form: _common.spread([one[form] for one in found]) for form in REPEATED}
    ratios = {
        "second call / first": [one["second call"] / one["first call"] for one in found],
        "monitored fit / plain": [one["monitored fit"] / one["fit"] for one in found],
    }
    ratios = {name: _common.spread(figures) for name, figures in ratios.items()}
    results = {"diagnose": cases, "repeated": again, "ratios": ratios, "targets": []}
    path = _common.write_results(arguments, "diagnose", results)
    print(report(results))
    print(f"\nWritten: {path}")


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
        memory = _growth(function, model)  # compiles
        seconds = []
        for _ in range(STEPS):
            seconds.append(_seconds(function))
        figures[form] = {"memory": memory, "seconds": statistics.median(seconds)}
    for figure in figures.values():
        figure["steps"] = figure["seconds"] / figures["step"]["seconds"]
    return figures


def repeated():
    """Return the processor time of a first and a second call, and of `fit` with reports or not.

    The network is small, as most that are diagnosed: what is compiled takes most of the time. Keras
    has compiled its step before, and the monitor compiles the gradients at its first report.
    """
    import keras
    import numpy as np

    import keras_initx

    _device.prepare()
    keras.utils.set_random_seed(0)
    generator = np.random.default_rng(0)
    x = generator.normal(size=(2048, 64)).astype("float32")
    y = generator.integers(10, size=2048)

    def network():
        hidden = [keras.layers.Dense(64, "tanh") for _ in range(10)]
        model = keras.Sequential([keras.Input((64,)), *hidden, keras.layers.Dense(10, "softmax")])
        model.compile("adam", "sparse_categorical_crossentropy")
        return model

    def fit(model, *callbacks):
        model.fit(x, y, batch_size=16, epochs=3, verbose=0, callbacks=list(callbacks))

    model = network()
    figures = {}
    for form in ("first call", "second call"):
        figures[form] = _seconds(lambda: keras_initx.diagnose(model, x[:256], y[:256]))
    model = network()
    fit(model)
    figures["fit"] = _seconds(lambda: fit(model))
    # One report before the first step.
    monitor = keras_initx.SignalMonitor(x[:256], y[:256], every=3 * 128 // (REPORTS - 1))
    figures["monitored fit"] = _seconds(lambda: fit(model, monitor))
    assert len(monitor.history) == REPORTS
    return figures


def _growth(function, model):
    """Return by how much a call makes this process grow at its peak, in bytes.

    Without the pages of files that it reads.
    """
    gc.collect()
    _device.trim()
    before = peak = _device.resident("RssAnon")
    done = threading.Event()

    def watch():
        nonlocal peak
        while not done.wait(0.002):
            peak = max(peak, _device.resident("RssAnon"))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        function()
        for weight in model.weights:
            _device.synchronize(weight.value)
    finally:
        done.set()
        watcher.join()
    return peak - before


def _seconds(function):
    """Return the processor time of a call."""
    begin = time.process_time()
    function()
    return time.process_time() - begin


def report(results):
    """Return the results as Markdown tables."""
    rows = []
    for form, case in results["diagnose"].items():
        seconds = _common.with_spread(case["seconds"])
        memory = _common.with_spread(case["memory"], 1 / (1 << 20))
        rows.append((form, seconds, _common.with_spread(case["steps"]), memory))
    many = _common.table(("100 million weights", "CPU seconds", "in steps", "MiB"), rows)
    found = {**results["repeated"], **results["ratios"]}
    rows = [(name, _common.with_spread(figure)) for name, figure in found.items()]
    return many + "\n\n" + _common.table(("42,000 weights", "CPU seconds, or ratio"), rows)


if __name__ == "__main__":
    main()
