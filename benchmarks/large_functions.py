"""Measure what each function for whole models holds, keeps and sends, of one model.

    KERAS_BACKEND=jax python benchmarks/large_functions.py

The model has 24 dense layers of 2048 units: 384 MiB in kernels of 16 MiB. Names of functions select
some of them. docs/large_models.md explains the results.
"""

import itertools
import json
import os
import sys
import tempfile
from pathlib import Path

import _common
import large_models

WIDTH, DEPTH = 2048, 24
FILES = 4
FUNCTIONS = (
    "initialize",
    "initialize, atomic=False",
    "load_pretrained, one file",
    "load_pretrained, four files",
    "load_pretrained, another model",
    "lsuv",
    "weights_digest",
    "diagnose",
    "diagnose, with targets",
    "plan.save",
    "audit, layers",
    "audit, plan",
)
PLACES = large_models.PLACES


def main():
    """Measure, print and write everything."""
    if "--worker" in sys.argv:
        sys.stdout.write(json.dumps(work(**json.loads(sys.argv[-1]))))
        return
    chosen = [name for name in FUNCTIONS if name in sys.argv]
    sys.argv = [argument for argument in sys.argv if argument not in chosen]
    arguments = _common.parse_arguments(__doc__.partition("\n")[0])
    combinations = list(itertools.product(chosen or FUNCTIONS, PLACES))
    cases = {}
    with _common.progress("functions", len(combinations)) as advance:
        for function, place in combinations:
            figures = {"n": 1, **measure(function, place)}
            cases.setdefault(function, {})[place] = {"measured": figures}
            results = {"large_functions": cases, "targets": []}
            # What is done stays if it is interrupted.
            path = _common.write_results(arguments, "large_functions", results)
            advance(1)
    print(report(results))
    print(f"\nWritten: {path}.json")


def measure(function, place):
    """Return the figures of a function: those of the process in which they are largest."""
    processes, _ = PLACES[place]
    with tempfile.TemporaryDirectory() as folder:
        case = {"function": function, "processes": processes, "folder": folder}
        found = large_models.in_place(__file__, case, place)
    figures = {key: max(one[key] for one in found) for key in ("memory", "kept", "elapsed", "part")}
    seconds = sum(one["seconds"] for one in found)
    return {**figures, "seconds": seconds, "sent": found[0]["sent"]}


def work(function, processes, rank, port, folder):
    """Return the figures of a function in this process."""
    import keras

    if processes > 1 or "=1" not in os.environ["XLA_FLAGS"]:
        large_models.share(processes, rank, port)
    keras.utils.set_random_seed(0)
    folder = Path(folder, str(rank))
    folder.mkdir()
    # What is compiled once for a shape does not grow with the model.
    call, _ = prepared(function, WIDTH, 2, folder)
    call()
    del call
    call, model = prepared(function, WIDTH, DEPTH, folder)
    figures = large_models.measured(call, model, processes)
    return {**figures, "part": 4 * WIDTH**2 // processes}


def prepared(function, width, depth, folder):
    """Return a call of a function without arguments, and the model that it is about."""
    import keras
    import numpy as np

    import keras_initx
    from keras_initx import models

    def network():
        options = {"use_bias": False, "kernel_initializer": "initx.he_normal"}
        names = [f"d{index}" for index in range(depth)]
        layers = [keras.layers.Dense(width, "relu", name=name, **options) for name in names]
        return keras.Sequential([keras.Input((width,)), *layers])

    name, _, variant = function.partition(", ")
    model = network()
    x = np.ones((16, width), "float32") + np.arange(16, dtype="float32")[:, None]
    plan = keras_initx.initialize(model, seed=0)
    if name == "initialize":
        atomic = variant != "atomic=False"
        return lambda: keras_initx.initialize(model, seed=1, atomic=atomic), model
    if name == "load_pretrained":
        layout = "torch"
        if variant == "another model":
            source, layout = network(), "keras"
        else:
            source = _files(folder, width, depth, FILES if variant == "four files" else 1)
        return (
            lambda: keras_initx.load_pretrained(model, source, layout=layout, atomic=False),
            model,
        )
    calls = {
        "lsuv": lambda: models.lsuv(model, x, seed=1),
        "weights_digest": lambda: models.weights_digest(model),
        "diagnose": lambda: keras_initx.diagnose(
            model, x, *([x] if variant else []), loss="mse" if variant else None
        ),
        "plan.save": lambda: plan.save(folder / "init.json"),
        "audit": lambda: keras_initx.audit(model, plan if variant == "plan" else None),
    }
    return calls[name], model


def _files(folder, width, depth, count):
    """Return the path of a checkpoint in torch's layout, of zeros, in one file or in several.

    The headers are written by hand: the data need no memory.
    """
    places = {f"d{index}.weight": index % count for index in range(depth)}
    for number in range(count):
        header = {}
        for name, place in places.items():
            if place == number:
                begin = len(header) * 4 * width**2
                offsets = [begin, begin + 4 * width**2]
                header[name] = {"dtype": "F32", "shape": [width, width], "data_offsets": offsets}
        text = json.dumps(header).encode()
        with (folder / f"{number}.safetensors").open("wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            file.truncate(8 + len(text) + len(header) * 4 * width**2)
    if count == 1:
        return folder / "0.safetensors"
    index = folder / "model.safetensors.index.json"
    weight_map = {name: f"{number}.safetensors" for name, number in places.items()}
    index.write_text(json.dumps({"weight_map": weight_map}))
    return index


def report(results):
    """Return the results as Markdown, a row for each function, a column for each place."""
    rows = []
    for function, places in results["large_functions"].items():
        rows.append((function, *(_cell(places.get(place)) for place in PLACES)))
    return _common.table(("function", *PLACES), rows)


def _cell(figures):
    if figures is None:
        return "-"
    figures = figures["measured"]
    parts = max(figures["memory"], 0) / figures["part"]
    kept = max(figures["kept"], 0) / large_models.MIB
    text = f"{parts:.1f} parts; {figures['seconds']:.3g} s"
    if round(kept):
        text += f"; kept {kept:.0f} MiB"
    if figures["sent"]:
        text += f"; sent {figures['sent'] / large_models.MIB:,.1f} MiB"
    return text


if __name__ == "__main__":
    main()
