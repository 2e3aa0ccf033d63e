"""Measure the time of cold builds of whole models, by initializer.

    KERAS_BACKEND=jax python benchmarks/build.py --quick

measures one backend on one device. README.md in this folder explains the results.
"""

import time

import _common
import _device
import _models

# Each initializer and its peers. Initializers that this version of Keras does not have are left
# out.
PEERS = {
    "zeros": (),
    "glorot_uniform": (),
    "he_normal": (),
    "orthogonal": (),
    "initx.glorot_uniform": ("glorot_uniform",),
    "initx.he_normal": ("he_normal",),
    "initx.orthogonal": ("orthogonal",),
    "initx.sparse": ("he_normal",),
}
MODELS = {
    "MLP, 50 widths": _models.mlp,
    "ResNet-50": _models.resnet50,
    "transformer, 85M": _models.transformer,
}
QUICK_MODELS = ("MLP, 50 widths", "transformer, 85M")
QUICK_PEERS = (
    "zeros",
    "he_normal",
    "orthogonal",
    "initx.he_normal",
    "initx.orthogonal",
    "initx.sparse",
)

# Target ratio on the CPU, by model, initializer and backend.
GOALS = {
    ("MLP, 50 widths", "initx.orthogonal"): {"jax": 22, "tensorflow": 1.3, "torch": 1},
    ("MLP, 50 widths", "initx.he_normal"): {"jax": 12, "tensorflow": 1.3, "torch": 1.2},
    ("MLP, 50 widths", "initx.glorot_uniform"): {"jax": 6, "tensorflow": 1.3, "torch": 1.2},
    ("transformer, 85M", "initx.orthogonal"): {"jax": 2, "tensorflow": 2, "torch": 1},
    ("transformer, 85M", "initx.he_normal"): {"tensorflow": 1.3, "torch": 1.2},
    ("transformer, 85M", "initx.glorot_uniform"): {"tensorflow": 1.3, "torch": 1.2},
}
IMPORT_MILLISECONDS = 50


def main():
    """Measure, print and write everything."""
    arguments = _common.parse_arguments(__doc__.partition("\n")[0])
    backend = arguments.environment["backend"]
    models = QUICK_MODELS if arguments.quick else tuple(MODELS)
    initializers = _common.in_fresh_process(known, QUICK_PEERS if arguments.quick else tuple(PEERS))
    config = None if arguments.quick else _common.in_fresh_process(_models.resnet50_config)
    repeats = arguments.repeats or (1 if arguments.quick else 5)
    imports = arguments.repeats or (5 if arguments.quick else 11)

    times = {model: {name: [] for name in initializers} for model in models}
    seconds = []
    with _common.progress(
        "cold builds", repeats * len(models) * len(initializers) + imports
    ) as step:
        for _ in range(repeats):
            for model in models:
                for name in initializers:
                    extra = (config,) if model == "ResNet-50" else ()
                    times[model][name].append(_common.in_fresh_process(build, model, name, *extra))
                    step()
        for _ in range(imports):
            seconds.append(_common.in_fresh_process(import_package))
            step()

    results = summarize(times, seconds, backend, arguments.device)
    path = _common.write_results(arguments, "build", results)
    print(_common.target_table(results["targets"]), report(results), sep="\n\n")
    print(f"\nWritten: {path}")


def known(names):
    """Return the `names` that `keras.initializers.get` accepts."""
    import keras

    import keras_initx  # noqa: F401 - registers the ids

    found = []
    for name in names:
        try:
            keras.initializers.get(name)
        except ValueError:
            continue
        found.append(name)
    return found


def build(model, initializer, *extra):
    """Return the time until the weights of a new model are ready.

    In a process that has built nothing before.
    """
    import keras_initx  # noqa: F401 - registers the ids

    _device.prepare()
    start = time.perf_counter()
    built = MODELS[model](initializer, *extra)
    for weight in built.weights:
        _device.synchronize(weight.value)
    return time.perf_counter() - start


def import_package():
    """Return the time of `import keras_initx` after `import keras`."""
    import keras  # noqa: F401

    start = time.perf_counter()
    import keras_initx  # noqa: F401

    return time.perf_counter() - start


def summarize(times, imports, backend, device):
    """Return the results: spreads, ratios and targets."""
    models = {
        model: {
            name: {
                "seconds": _common.spread(seconds),
                "ratio": {
                    peer: _common.ratio(row[peer], seconds) for peer in PEERS[name] if peer in row
                },
            }
            for name, seconds in row.items()
        }
        for model, row in times.items()
    }
    results = {"models": models, "import_seconds": _common.spread(imports)}
    targets = [
        _common.judge(f"{model}, {name}: cold build, against {peer}", figure, required)
        for model, name, peer, figure in _ratios(results)
        if (required := _goal(model, name, backend, device))
    ]
    milliseconds = _common.spread([1e3 * seconds for seconds in imports])
    what = "`import keras_initx` after `import keras`, ms"
    targets.append(_common.judge(what, milliseconds, IMPORT_MILLISECONDS, at_most=True))
    return {**results, "targets": targets}


def _goal(model, name, backend, device):
    return GOALS.get((model, name), {}).get(backend) if device == "cpu" else None


def _ratios(results):
    for model, row in results["models"].items():
        for name, case in row.items():
            for peer, figure in case["ratio"].items():
                yield model, name, peer, figure


def report(results):
    """Return the results as a Markdown table."""
    rows = []
    for model, row in results["models"].items():
        for name, case in row.items():
            for peer, ratio in (case["ratio"] or {"-": None}).items():
                rows.append(
                    (
                        model,
                        name,
                        _common.with_spread(case["seconds"]),
                        peer,
                        _common.with_spread(ratio),
                    )
                )
    header = ("model", "kernels", "seconds to build", "peer", "peer time / ours")
    return _common.table(header, rows)


if __name__ == "__main__":
    main()
