"""Draw the figure of diagnose.md to diagnose.svg in this folder.

`KERAS_BACKEND=jax python docs/figures/diagnose.py`; it needs JAX and matplotlib.
"""

import os
import pathlib

# The date that matplotlib writes to a file, fixed so that files are reproducible.
os.environ["SOURCE_DATE_EPOCH"] = "0"

import keras_initx

import keras
import matplotlib as mpl
import numpy as np

PATH = pathlib.Path(__file__).with_suffix(".svg")


def network():
    """Return a network of ten tanh layers whose signal vanishes."""
    hidden = []
    for seed in range(1, 11):
        kernel = keras_initx.RandomNormal(stddev=0.03, seed=seed)
        hidden.append(
            keras.layers.Dense(100, "tanh", kernel_initializer=kernel, name=f"hidden_{seed}")
        )
    out = keras.layers.Dense(5, kernel_initializer=keras_initx.GlorotUniform(seed=11), name="out")
    model = keras.Sequential([keras.Input((100,)), *hidden, out])
    model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def main():
    """Draw the report, and normalize the file for diffs."""
    draws = np.random.default_rng(0)
    x = draws.normal(size=(1000, 100)).astype("float32")
    y = np.argmax(x @ draws.normal(size=(100, 5)), axis=1)
    mpl.rcParams.update({"svg.hashsalt": PATH.name, "svg.fonttype": "none"})
    keras_initx.diagnose(network(), x, y).plot(PATH)
    PATH.write_text("\n".join(line.rstrip() for line in PATH.read_text().splitlines()) + "\n")


if __name__ == "__main__":
    main()
