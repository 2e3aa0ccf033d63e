"""Change the ten-layer network or its inputs, and measure the effect of the initial weights.

`KERAS_BACKEND=jax python docs/examples/ten_layers_variants.py relu`, and the same with `tanh`
"""

import argparse
from dataclasses import dataclass

import keras_initx

import keras
import numpy as np
import ten_layers

VARIANTS = {
    "plain": {},
    "inputs 0 to 255": {"raw": True},
    "batch norm.": {"normalized": True},
    "dropout 0.5": {"dropout": 0.5},
    "L2 1e-4": {"penalty": 1e-4},
}


@dataclass(frozen=True)
class Row:
    """The measurements of a variant of the network with some initial weights."""

    std: float
    first: float
    last: float
    problems: list


def build(activation, initializer, normalized, dropout):
    """Return a network with kernels in the layers `layer_1` to `layer_10`."""
    layers = []
    for seed in range(1, ten_layers.LAYERS + 1):
        kernel = initializer(seed=seed)
        layers.append(
            keras.layers.Dense(ten_layers.UNITS, kernel_initializer=kernel, name=f"layer_{seed}")
        )
        if normalized:
            layers.append(keras.layers.BatchNormalization())
        layers.append(keras.layers.Activation(activation))
        if dropout and seed < ten_layers.LAYERS:
            layers.append(keras.layers.Dropout(dropout, seed=seed))
    return keras.Sequential([keras.Input((ten_layers.UNITS,)), *layers])


def measure(activation, name, raw=False, normalized=False, dropout=0.0, penalty=0.0):
    """Return the `Row` of a network with the weights called `name`."""
    inputs, targets = ten_layers.batch()
    if raw:
        inputs = np.random.default_rng(0).integers(0, 256, inputs.shape).astype("float32")
    model = build(activation, ten_layers.INITIALIZERS[activation][name], normalized, dropout)
    dense = [layer for layer in model.layers if isinstance(layer, keras.layers.Dense)]

    def loss(y, outputs):
        # The term that `kernel_regularizer=keras.regularizers.L2(penalty)` adds in training.
        squares = sum(keras.ops.sum(keras.ops.square(layer.kernel)) for layer in dense)
        return keras.losses.mean_squared_error(y, outputs) + penalty * squares

    report = keras_initx.diagnose(model, inputs, targets, loss=loss, ignore=ten_layers.IGNORED)
    gradients = {
        layer.name: ten_layers.kernel_gradient(layer)
        for layer in report.rows
        if layer.kind == "Dense"
    }
    problems = [verdict.problem for verdict in report.problems]
    return Row(
        report.rows[-1].after.std, gradients[dense[0].name], gradients[dense[-1].name], problems
    )


def main(arguments=None):
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("activation", choices=list(ten_layers.INITIALIZERS))
    activation = parser.parse_args(arguments).activation
    print(f"{activation:17}{'':8}{'outputs of':>10}{'gradient of the kernel':>28}")
    print(
        f"{'network':17}{'weights':8}{'layer 10':>10}{'layer 1':>10}{'layer 10':>10}{'ratio':>9}  "
        "problems"
    )
    for variant, changes in VARIANTS.items():
        for name in ten_layers.COMPARED:
            row = measure(activation, name, **changes)
            print(
                f"{variant:17}{name:8}{row.std:10.1e}{row.first:10.1e}{row.last:10.1e}"
                f"{row.first / row.last:9.1e}"
                f"  {', '.join(row.problems) or '-'}",
                flush=True,
            )


if __name__ == "__main__":
    main()
