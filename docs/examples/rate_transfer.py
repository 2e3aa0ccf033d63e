"""Find the best learning rate at several widths and depths, with muP and without.

`KERAS_BACKEND=torch python docs/examples/rate_transfer.py`, or the names of some experiments; it
needs the extra `studies`. Records are kept in the folder `--records`, where an interrupted run
resumes.
"""

import functools
import itertools
import math
from pathlib import Path

import keras_initx
from keras_initx import recipes, scaling

import _digits
import _figures
import keras
import numpy as np

layers = keras.layers


def perceptron(width):
    """Return a network of three hidden layers."""
    hidden = [layers.Dense(width, "relu", name=f"hidden_{number}") for number in (1, 2, 3)]
    return keras.Sequential([keras.Input((64,)), *hidden, layers.Dense(8, name="logits")])


def convolutional(width):
    """Return a network of three convolutions."""
    return keras.Sequential(
        [
            keras.Input((64,)),
            layers.Reshape((8, 8, 1)),
            layers.Conv2D(width, 3, padding="same", activation="relu", name="conv_1"),
            layers.Conv2D(width, 3, strides=2, padding="same", activation="relu", name="conv_2"),
            layers.Conv2D(width, 3, strides=2, padding="same", activation="relu", name="conv_3"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(8, name="logits"),
        ]
    )


def transformer(width):
    """Return a transformer of two blocks that reads the rows of an image, with heads of 16."""
    inputs = keras.Input((64,))
    x = layers.Reshape((8, 8))(inputs)
    # The bias has a vector for each row.
    x = layers.EinsumDense("brp,pw->brw", (8, width), bias_axes="rw", name="rows")(x)
    for block in range(2):
        y = layers.LayerNormalization(name=f"block_{block}_norm_1")(x)
        x = x + layers.MultiHeadAttention(width // 16, 16, name=f"block_{block}_attention")(y, y)
        y = layers.LayerNormalization(name=f"block_{block}_norm_2")(x)
        y = layers.Dense(4 * width, "gelu", name=f"block_{block}_dense_1")(y)
        x = x + layers.Dense(width, name=f"block_{block}_dense_2")(y)
    x = layers.LayerNormalization(name="norm")(x)
    return keras.Model(inputs, layers.Dense(8, name="logits")(layers.GlobalAveragePooling1D()(x)))


def residual(depth, branch=1.0):
    """Return a residual network of 64 units that multiplies its branches by `branch`."""
    inputs = keras.Input((64,))
    x = layers.Dense(64, name="first")(inputs)
    for block in range(depth):
        y = layers.LayerNormalization(name=f"block_{block}_norm")(x)
        y = layers.Dense(64, "relu", name=f"block_{block}_dense_1")(y)
        y = layers.Dense(64, name=f"block_{block}_dense_2")(y)
        x = x + layers.Rescaling(branch)(y)
    return keras.Model(inputs, layers.Dense(8, name="logits")(x))


# The network, the optimizer, the widths or depths, and the powers of two of the learning rates.
EXPERIMENTS = {
    "mlp": (perceptron, keras.optimizers.Adam, [64, 256, 1024], range(-12, -4)),
    "sgd": (perceptron, keras.optimizers.SGD, [64, 256, 1024], range(-6, 2)),
    "cnn": (convolutional, keras.optimizers.Adam, [16, 32, 64, 128], range(-9, -2)),
    "transformer": (transformer, keras.optimizers.Adam, [32, 64, 128, 256], range(-12, -4)),
    "depth": (residual, keras.optimizers.Adam, [2, 8, 32], range(-12, -4)),
}
TITLES = {
    "mlp": "Three hidden layers, Adam",
    "sgd": "Three hidden layers, SGD",
    "cnn": "Three convolutions, Adam",
    "transformer": "A transformer of two blocks, Adam",
    "depth": "A residual network over its depth, Adam",
}


def build(name, parametrization, size, rate):
    """Return a compiled network of this width or depth, with muP or without.

    The base of muP has the least size.
    """
    network, optimizer_class, sizes, _ = EXPERIMENTS[name]
    optimizer = optimizer_class(rate)
    model = network(size)
    if parametrization == "muP":
        if name == "depth":
            table = scaling.mup(model, model, depth=size / sizes[0])
            model = network(size, 1 / table.depth)
        else:
            table = scaling.mup(model, network(sizes[0]))
        keras_initx.initialize(model, recipes.spectral(model))
        optimizer = table.optimizer(optimizer)
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def studies(name, records, sizes, repeats, epochs):
    """Return a study of the learning rates for each parametrization and each size."""
    *_, powers = EXPERIMENTS[name]
    rates = {f"2^{power}": 2.0**power for power in powers}
    found = {}
    for parametrization, size in itertools.product(("standard", "muP"), sizes):
        found[parametrization, size] = keras_initx.compare_initializers(
            functools.partial(build, name, parametrization, size),
            rates,
            _digits.load(),
            repeats=repeats,
            epochs=epochs,
            batch_size=64,
            out=records / name / f"{parametrization}_{size}",
            title=f"{TITLES[name]}, {parametrization}, {size}",
            monitor="val_loss",
        )
    return found


def final_losses(study):
    """Return the validation loss of each rate in each repeat, infinite where training diverged."""
    losses = []
    for rate in study.initializers:
        values = study.final_values(rate)
        repeats = range(1, study.settings["repeats"] + 1)
        losses.append([values.get(repeat, math.inf) for repeat in repeats])
    return np.array(losses)


def best_place(losses):
    """Return the place of the rate whose mean loss is least."""
    return int(losses.mean(axis=1).argmin())


def print_best_rates(name, found):
    """Print the best rate of each size, and what is lost with that of the smallest model."""
    print(f"{TITLES[name]}\n{'':10}{'size':>6}{'best rate':>11}{'loss':>8}{'transferred':>13}")
    *_, powers = EXPERIMENTS[name]
    narrow = {}
    for (parametrization, size), study in found.items():
        losses = final_losses(study)
        best = best_place(losses)
        place = narrow.setdefault(parametrization, best)
        means = losses.mean(axis=1)
        rate = f"2^{powers[best]}"
        print(f"{parametrization:10}{size:6}{rate:>11}{means[best]:8.3f}{means[place]:13.3f}")


def plot(name, found):
    """Plot the loss over the learning rate: a panel for each parametrization, a line for a size."""
    figure = _figures.new(8.3, 3.6)
    figure.suptitle(f"{TITLES[name]}: val_loss over the learning rate, mean and range", fontsize=10)
    axes = figure.subplots(1, 2, sharex=True, sharey=True)
    _figures.tidy(axes)
    *_, powers = EXPERIMENTS[name]
    rates = [2.0**power for power in powers]
    sizes = list(dict.fromkeys(size for _, size in found))
    for (parametrization, size), study in found.items():
        axis = axes[int(parametrization == "muP")]
        color = _figures.COLORS[sizes.index(size)]
        losses = final_losses(study)
        losses[~np.isfinite(losses)] = np.nan  # no line where a trial diverged
        means = losses.mean(axis=1)
        axis.plot(rates, means, "o-", color=color, markersize=3, linewidth=1.4, label=size)
        low, high = losses.min(axis=1), losses.max(axis=1)
        axis.fill_between(rates, low, high, color=color, alpha=0.12, linewidth=0)
        best = int(np.nanargmin(means))
        ring = {"markersize": 9, "markerfacecolor": "none", "markeredgecolor": color}
        axis.plot(rates[best], means[best], "o", **ring)
        axis.set_title(parametrization, fontsize=9)
        axis.set_xscale("log", base=2)
        axis.set(yscale="log", xlabel="learning rate")
    axes[0].set_ylabel("val_loss")
    handles, labels = axes[0].get_legend_handles_labels()
    style = {"loc": "outside right center", "frameon": False, "fontsize": 8}
    figure.legend(handles, labels, title="depth" if name == "depth" else "width", **style)
    return figure


def main(arguments=None):
    """Measure, print and draw."""
    parser = _figures.parser(__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=list(EXPERIMENTS), help="experiments")
    parser.add_argument("--records", type=Path, default=Path("out", "rate_transfer"), help="folder")
    parser.add_argument("--sizes", type=int, nargs="+", help="other widths or depths")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=3)
    options = parser.parse_args(arguments)
    for name in options.names:
        sizes = options.sizes or EXPERIMENTS[name][2]
        found = studies(name, options.records, sizes, options.repeats, options.epochs)
        print_best_rates(name, found)
        _figures.save(plot(name, found), options.out / f"transfer-{name}.png")


if __name__ == "__main__":
    main()
