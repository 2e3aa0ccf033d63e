"""Train forty ReLU layers on digits, before and after one call of `initialize`.

`KERAS_BACKEND=jax python docs/examples/forty_layers.py`; it needs the extra `plot` and
scikit-learn. It draws the figure of the README twice, for a light and for a dark page.
"""

import keras_initx

import _figures
import keras
import matplotlib
from sklearn.datasets import load_digits

LAYERS, UNITS, EPOCHS, TRAINING = 40, 64, 20, 1400
BEFORE, AFTER = "Keras' default", "after one call of initialize"
RULES = {"*kernel": keras_initx.Orthogonal(gain="relu")}
# The background, the color of text and lines, and those of the grid and the two starts.
THEMES = {
    "light": ("white", "#1f2328", "#e4e6e8", {BEFORE: "#c0392b", AFTER: "#0072b2"}),
    "dark": ("#0d1117", "#d1d7e0", "#30363d", {BEFORE: "#ff7b72", AFTER: "#56b4e9"}),
}


def build(layers):
    """Return a network with the initial weights of Keras."""
    hidden = [keras.layers.Dense(UNITS, "relu") for _ in range(layers)]
    model = keras.Sequential([keras.Input((64,)), *hidden, keras.layers.Dense(10, "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def measure(start, seed, options):
    """Return the standard deviation of each layer's output, and the accuracy after each epoch."""
    keras.utils.set_random_seed(seed)
    x, y = load_digits(return_X_y=True)
    x = (x - x.mean()) / x.std()
    model = build(options.layers)
    if start == AFTER:
        keras_initx.initialize(model, RULES, seed=seed)
    report = keras_initx.diagnose(model, x[:256])
    stds = [layer.after.std for layer in report.layers[: options.layers]]
    test = x[TRAINING:], y[TRAINING:]
    trained = model.fit(
        x[:TRAINING], y[:TRAINING], epochs=options.epochs, validation_data=test, verbose=0
    )
    return stds, trained.history["val_accuracy"]


def plot(found, theme):
    """Return a figure: on the left the signal by layer, on the right the accuracy by epoch."""
    background, text, grid, colors = THEMES[theme]
    style = {
        "axes.edgecolor": text,
        "axes.facecolor": background,
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
        accuracy.set_ylabel("test accuracy")
        accuracy.yaxis.set_major_formatter("{x:.0%}")
        handles, _ = accuracy.get_legend_handles_labels()
        one_each = handles[:: len(handles) // len(found)]
        figure.legend(handles=one_each, loc="outside lower center", ncols=2, frameon=False)
        _figures.tidy([signal, accuracy])
        for axes in (signal, accuracy):
            axes.grid(color=grid)
    return figure


def main(arguments=None):
    """Train both networks from several seeds, print the accuracies, and draw the figures."""
    parser = _figures.parser(__doc__.splitlines()[0])
    parser.add_argument(
        "--seeds", type=int, default=5, metavar="N", help="number of seeds; by default 5"
    )
    parser.add_argument(
        "--epochs", type=int, default=EPOCHS, metavar="N", help=f"by default {EPOCHS}"
    )
    parser.add_argument(
        "--layers", type=int, default=LAYERS, metavar="N", help=f"by default {LAYERS}"
    )
    options = parser.parse_args(arguments)
    print(f"{options.layers} ReLU layers, test accuracy after {options.epochs} epochs, by seed")
    found = {}
    for start in (BEFORE, AFTER):
        found[start] = [measure(start, seed, options) for seed in range(options.seeds)]
        accuracies = "".join(f"{curve[-1]:>7.0%}" for _, curve in found[start])
        print(f"  {start:30}{accuracies}", flush=True)
    for theme, (background, *_) in THEMES.items():
        path = options.out / f"forty_layers-{theme}.png"
        _figures.save(plot(found, theme), path, background)


if __name__ == "__main__":
    main()
