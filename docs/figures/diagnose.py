"""Draw the figures of diagnose.md to diagnose.svg and monitor.svg in this folder.

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

FOLDER = pathlib.Path(__file__).parent


def data():
    """Return inputs, and labels that depend on them."""
    draws = np.random.default_rng(0)
    x = draws.normal(size=(1000, 100)).astype("float32")
    return x, np.argmax(x @ draws.normal(size=(100, 5)), axis=1)


def network(kernel):
    """Return a network of ten tanh layers. `kernel` returns the kernel initializer for a seed."""
    hidden = [
        keras.layers.Dense(100, "tanh", kernel_initializer=kernel(seed), name=f"hidden_{seed}")
        for seed in range(1, 11)
    ]
    out = keras.layers.Dense(5, kernel_initializer=keras_initx.GlorotUniform(seed=11), name="out")
    model = keras.Sequential([keras.Input((100,)), *hidden, out])
    model.compile(
        keras.optimizers.SGD(0.1), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    return model


def save(draw, name):
    """Let `draw` write a figure, and normalize the file for diffs."""
    path = FOLDER / name
    mpl.rcParams.update({"svg.hashsalt": name, "svg.fonttype": "none"})
    draw(path)
    path.write_text("\n".join(line.rstrip() for line in path.read_text().splitlines()) + "\n")


def main():
    """Draw the report of a network with a vanishing signal, and the monitor of a healthy run."""
    x, y = data()
    report = keras_initx.diagnose(
        network(lambda seed: keras_initx.RandomNormal(stddev=0.03, seed=seed)), x, y
    )
    save(report.plot, "diagnose.svg")
    monitor = keras_initx.SignalMonitor(x, y, every=16)
    model = network(lambda seed: keras_initx.GlorotUniform(seed=seed))
    model.fit(x, y, batch_size=32, epochs=6, shuffle=False, verbose=0, callbacks=[monitor])
    save(monitor.plot, "monitor.svg")


if __name__ == "__main__":
    main()
