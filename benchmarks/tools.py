"""Measure what each tool costs, in training steps of the same model.

    KERAS_BACKEND=torch OMP_NUM_THREADS=1 python benchmarks/tools.py --quick

measures one backend on the CPU. README.md in this folder explains the results.
"""

import contextlib
import tempfile
import time
from pathlib import Path

import _common
import _models
import numpy as np
import report

WORDS, LENGTH, BATCH = 5000, 64, 16
# How many training steps a tool may take: for `save_pretrained`, how many loads.
LIMITS = {
    "initialize": 1,
    "audit by a recipe": 1.5,
    "audit with like=": 1.5,
    "diagnose": 4,
    "lsuv": 3,
    "load_pretrained": 1,
    "save_pretrained": 3,
    "record_outputs with targets": 4,
    "compare_outputs with targets": 8,
}


def main():
    """Measure, write and print everything."""
    arguments = _common.parse_arguments(__doc__.partition("\n")[0])
    rounds = arguments.repeats or (5 if arguments.quick else 15)
    cases = _common.in_fresh_process(measure_tools, rounds)
    print(report.tools(_common.write_results(arguments, "tools", {"cases": cases})))


def measure_tools(rounds):
    """Return the seconds of each tool, and the training steps or loads that last as long."""
    seconds = {name: [] for name in ("training step", *LIMITS)}
    with _open_tools() as calls, _common.progress("rounds", rounds) as advance:
        for number in range(rounds + 1):
            for name, call in calls.items():
                start = time.perf_counter()
                call()
                if number:  # the first round imports modules
                    seconds[name].append(time.perf_counter() - start)
            if number:
                advance()
    cases = {}
    for name, limit in LIMITS.items():
        unit = "load_pretrained" if name == "save_pretrained" else "training step"
        cases[name] = {
            "seconds": _common.spread(seconds[name]),
            "unit": unit,
            "ratio": _common.ratio(seconds[name], seconds[unit]),
            "limit": limit,
        }
    return cases


@contextlib.contextmanager
def _open_tools():
    """Yield a function without arguments for a training step and for each tool."""
    import keras

    import keras_initx
    from keras_initx.files._safetensors import ArraySpec, write_safetensors

    model = _models.decoder(WORDS, LENGTH)
    rng = np.random.default_rng(0)
    x = rng.integers(WORDS, size=(BATCH, LENGTH))
    y = rng.integers(WORDS, size=(BATCH, LENGTH))
    other = _models.decoder(WORDS, LENGTH)
    keras_initx.initialize(model, "gpt2", seed=0)
    record = keras_initx.record_outputs(model, x, y)
    with tempfile.TemporaryDirectory() as folder:
        like, path = Path(folder, "like.safetensors"), Path(folder, "tuned.safetensors")
        arrays = {weight.path: keras.ops.convert_to_numpy(weight) for weight in model.weights}
        specs = {}
        for name, array in arrays.items():
            specs[name] = ArraySpec("F32", array.shape, array.nbytes)
        write_safetensors(like, specs, iter(arrays.values()), {})
        yield {
            "training step": lambda: other.train_on_batch(x, y),
            "initialize": lambda: keras_initx.initialize(model, "gpt2", seed=0),
            "audit by a recipe": lambda: keras_initx.audit(model, "gpt2"),
            "audit with like=": lambda: keras_initx.audit(model, like=other),
            "diagnose": lambda: keras_initx.diagnose(model, x, y),
            "lsuv": lambda: keras_initx.lsuv(other, x),
            "load_pretrained": lambda: keras_initx.load_pretrained(model, like, layout="keras"),
            "save_pretrained": lambda: keras_initx.save_pretrained(
                model, path, like=like, layout="keras"
            ),
            "record_outputs with targets": lambda: keras_initx.record_outputs(model, x, y),
            "compare_outputs with targets": lambda: keras_initx.compare_outputs(
                model, x, record, y=y
            ),
        }


if __name__ == "__main__":
    main()
