"""Draw how an LSTM's memory decays with different biases, to memory.svg in this folder.

`KERAS_BACKEND=jax python docs/figures/memory.py`; it needs JAX and matplotlib.
"""

import pathlib

import keras_initx
from keras_initx.rendering import COLORS

import jax
import keras
import matplotlib.pyplot as plt
import numpy as np

UNITS, INPUTS, BATCH, STEPS = 256, 16, 8, 200
BIASES = {
    "bias 0": keras.initializers.Zeros(),
    "LSTMForgetBias(1)": keras_initx.LSTMForgetBias(1.0),
    "LSTMForgetBias(2)": keras_initx.LSTMForgetBias(2.0),
    "ChronoBias(200)": keras_initx.ChronoBias(STEPS, seed=0),
}


def memory_left(bias):
    """Return the norm of the remaining effect of a unit change before the first step.

    On the cells, after each step.
    """
    cell = keras.layers.LSTMCell(
        UNITS,
        kernel_initializer=keras_initx.GlorotUniform(seed=1),
        recurrent_initializer=keras_initx.Orthogonal(blocks=4, seed=2),
        bias_initializer=bias,
        unit_forget_bias=False,
    )
    cell.build((BATCH, INPUTS))
    draws = np.random.default_rng(0)
    inputs = draws.normal(size=(STEPS, BATCH, INPUTS)).astype("float32")
    change = draws.normal(size=(BATCH, UNITS)).astype("float32")
    zeros = np.zeros((BATCH, UNITS), "float32")

    def cells_after_each_step(start):
        def step(states, x):
            # The feedback through the output is new input to a cell, not its memory.
            output, memory = states
            _, states = cell(x, [jax.lax.stop_gradient(output), memory])
            return states, states[1]

        return jax.lax.scan(step, [zeros, start], inputs)[1]

    _, changes = jax.jvp(cells_after_each_step, (zeros,), (change,))
    return np.linalg.norm(changes, axis=(1, 2)) / np.linalg.norm(change)


def main():
    """Draw one line for each bias."""
    plt.rcParams.update({"svg.hashsalt": "memory", "svg.fonttype": "none", "font.size": 11})
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    steps = np.arange(1, STEPS + 1)
    for (label, bias), color in zip(reversed(BIASES.items()), COLORS, strict=False):
        axes.semilogy(steps, memory_left(bias), color=color, label=label)
    axes.legend(loc="center right", frameon=False)
    axes.set(xlim=(0, STEPS), ylim=(1e-4, 1.2), xlabel="steps", ylabel="memory that is left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.3)
    path = pathlib.Path(__file__).with_name("memory.svg")
    figure.savefig(path, facecolor="white", metadata={"Date": None})
    path.write_text("\n".join(line.rstrip() for line in path.read_text().splitlines()) + "\n")


if __name__ == "__main__":
    main()
