"""Measure the time of cold builds of whole models, by initializer.

    KERAS_BACKEND=jax python benchmarks/build.py --quick

measures one backend on one device. README.md in this folder explains the results.
"""

import time

import _common
import _device
import _models
import report

# Each initializer and its peer. Zeros show the time of the framework.
PEERS = {
    "zeros": None,
    "glorot_uniform": None,
    "he_normal": None,
    "orthogonal": None,
    "initx.glorot_uniform": "glorot_uniform",
    "initx.he_normal": "he_normal",
    "initx.orthogonal": "orthogonal",
}
MODELS = {
    "MLP, 50 widths": _models.mlp,
    "ResNet-50": _models.resnet50,
    "transformer, 85M": _models.transformer,
}
QUICK_MODELS = ("MLP, 50 widths", "transformer, 85M")


def main():
    """Measure, write and print everything."""
    arguments = _common.parse_arguments(__doc__.partition("\n")[0])
    models = QUICK_MODELS if arguments.quick else tuple(MODELS)
    config = None if arguments.quick else _common.in_fresh_process(_models.resnet50_config)
    quick_repeats = 1 if arguments.backend == "jax" else 3  # a round compiles for two minutes
    repeats = arguments.repeats or (quick_repeats if arguments.quick else 5)

    times = {model: {name: [] for name in PEERS} for model in models}
    with _common.progress("cold builds", repeats * len(models) * len(PEERS)) as step:
        for _ in range(repeats):
            for model in models:
                for name in PEERS:
                    extra = (config,) if model == "ResNet-50" else ()
                    times[model][name].append(_common.in_fresh_process(build, model, name, *extra))
                    step()
    results = {model: summarize(seconds) for model, seconds in times.items()}
    print(report.builds(_common.write_results(arguments, "build", {"models": results})))


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


def summarize(times):
    """Return the spread of the times of each initializer, and of the ratio to its peer."""
    return {
        name: {
            "seconds": _common.spread(times[name]),
            "ratio": {peer: _common.ratio(times[peer], times[name])} if peer else {},
        }
        for name, peer in PEERS.items()
    }


if __name__ == "__main__":
    main()
