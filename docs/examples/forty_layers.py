"""Train forty ReLU layers on digits, before and after one call of `initialize`, from several seeds.

`KERAS_BACKEND=jax python docs/examples/forty_layers.py`; it needs the extra `demo`. With
`--out FOLDER` it also draws the figure of the README, for a light and for a dark page, which needs
the extra `plot`.
"""

import argparse
from pathlib import Path

import keras_initx
from keras_initx import demo

import _figures
import keras

EPOCHS = 20
BEFORE, AFTER = "Keras' default", "after one call of initialize"
# The color of text and lines, and those of the grid and the two starts. The background is that of
# the page.
THEMES = {
    "light": ("#1f2328", "#e4e6e8", {BEFORE: "#c0392b", AFTER: "#0072b2"}),
    "dark": ("#d1d7e0", "#30363d", {BEFORE: "#ff7b72", AFTER: "#56b4e9"}),
}


def measure(start, seed, epochs):
    """Return the standard deviation of each layer's output, and the accuracy after each epoch."""
    keras.utils.set_random_seed(seed)
    x, y = demo.digits()
    model = demo.forty_layers()
    report = keras_initx.diagnose(model, x, y)
    if start == AFTER:
        keras_initx.initialize(model, report, seed=seed)
        report = keras_initx.diagnose(model, x, y)
    stds = [layer.after.std for layer in report.rows[:-1]]
    trained = model.fit(x, y, epochs=epochs, validation_split=0.2, verbose=0)
    return stds, trained.history["val_accuracy"]


def plot(found, theme):
    """Return a figure: on the left the signal by layer, on the right the accuracy by epoch."""
    import matplotlib  # the accuracies need no picture

    text, grid, colors = THEMES[theme]
    style = {
        "axes.edgecolor": text,
        "axes.facecolor": "none",
        "axes.labelcolor": text,
        "text.color": text,
        "xtick.color": text,
        "ytick.color": text,
    }
    with matplotlib.rc_context(style):
        figure = _figures.new(7.5, 2.6)
        signal, accuracy = figure.subplots(1, 2)
        for start, runs in found.items():
            for stds, curve in runs:
                options = {"color": colors[start], "linewidth": 1.5}
                signal.plot(range(1, len(stds) + 1), stds, **options)
                accuracy.plot(range(1, len(curve) + 1), curve, label=start, **options)
        signal.set(title="Does the input arrive?", xlabel="layer", yscale="log")
        signal.set_ylabel("std of the output")
        accuracy.set(title="Does it learn?", xlabel="epoch", ylim=(0, 1))
        accuracy.set_ylabel("held-out accuracy")
        accuracy.yaxis.set_major_formatter("{x:.0%}")
        handles, _ = accuracy.get_legend_handles_labels()
        one_each = handles[:: len(handles) // len(found)]
        figure.legend(handles=one_each, loc="outside lower center", ncols=2, frameon=False)
        _figures.tidy([signal, accuracy])
        for axes in (signal, accuracy):
            axes.grid(color=grid)
    return figure


def main(arguments=None):
    """Train both networks from several seeds, print the accuracies, and draw what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="draw the figures to a folder; by default none"
    )
    parser.add_argument(
        "--seeds", type=int, default=5, metavar="N", help="number of seeds; by default 5"
    )
    parser.add_argument(
        "--epochs", type=int, default=EPOCHS, metavar="N", help=f"by default {EPOCHS}"
    )
    options = parser.parse_args(arguments)
    print(f"Forty ReLU layers, accuracy on held-out images after {options.epochs} epochs, by seed")
    found = {}
    for start in (BEFORE, AFTER):
        found[start] = [measure(start, seed, options.epochs) for seed in range(options.seeds)]
        accuracies = "".join(f"{curve[-1]:>7.0%}" for _, curve in found[start])
        print(f"  {start:30}{accuracies}", flush=True)
    if options.out is None:
        return
    for theme in THEMES:
        path = options.out / f"forty_layers-{theme}.png"
        _figures.save(plot(found, theme), path, "none")


if __name__ == "__main__":
    main()
