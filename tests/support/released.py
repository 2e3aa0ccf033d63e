"""Files that each released version has written, and that all later ones must read.

`python tests/support/released.py`, under any backend, writes those of the version at hand to `tests/released/VERSION`,
once before its release. It refuses to change what is there.
"""

import json
import pathlib

import keras
import numpy as np

import keras_initx
from keras_initx.inspection._inventory import Inventory

FOLDER = pathlib.Path(__file__).parents[1] / "released"
VERSIONS = sorted(path.name for path in FOLDER.glob("*"))
X = np.linspace(-1, 1, 24, dtype="float32").reshape(4, 6)
layers = keras.layers


def network():
    """Return a model whose layers have initializers of this package, with rules that draw all its weights."""
    return keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(8, "relu", kernel_initializer="initx.sparse", name="sparse"),
            layers.Dense(8, "relu", kernel_initializer="he_normal", bias_initializer="initx.relu_bias", name="he"),
            layers.Dense(8, kernel_initializer=keras_initx.Scaled("initx.orthogonal", 0.5), name="orthogonal"),
            layers.Reshape((2, 4)),
            layers.LSTM(
                4,
                recurrent_initializer=keras_initx.Orthogonal(blocks=4),
                bias_initializer="initx.lstm_forget_bias",
                name="lstm",
            ),
            layers.Dense(2, name="out"),
        ],
        name="released",
    )


def rules():
    return {"out/kernel": "initx.small_normal", "he/kernel": keras_initx.Scaled("initx.glorot_uniform", 2.0)}


def drawn():
    model = network()
    return model, keras_initx.initialize(model, rules(), seed=20)


def read_ids():
    """Return the class and the arguments of each id that needs none."""
    found = {}
    for entry in keras_initx.catalog().values():
        for name in entry.ids:
            try:
                initializer = keras.initializers.get(name)
            except (TypeError, ValueError):  # its class needs arguments
                found[name] = {"class": entry.cls.__name__, "config": None}
                continue
            config = {key: value for key, value in initializer.get_config().items() if key != "seed"}
            found[name] = {"class": type(initializer).__name__, "config": config}
    return found


def read_values(model):
    weights = Inventory(model).weights
    return {weight.path: keras.ops.convert_to_numpy(weight.variable.value) for weight in weights}


def write(folder):
    folder.mkdir(parents=True)
    model, plan = drawn()
    model.save(folder / "model.keras")
    plan.save(folder / "plan.json")
    np.savez(folder / "weights.npz", **read_values(model))
    facts = {"ids": read_ids(), "digest": keras_initx.weights_digest(model)}
    keras_initx.contract(network, draws=3, seed=0).save(folder / "contract.json")
    keras_initx.record_outputs(model, X).save(folder / "outputs.npz")
    names = {"out": "head"}
    arrays = {"head.weight": np.ones((2, 4), "float32"), "head.bias": np.zeros(2, "float32")}
    load = keras_initx.load_pretrained(model, arrays, {**names, "*": None}, layout="torch", dry_run=True)
    load.to_json(folder / "load.json")
    (folder / "facts.json").write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    write(FOLDER / keras_initx.__version__)
