"""Train thirty layers on digits from Keras' default weights, He weights and others.

`KERAS_BACKEND=jax python docs/examples/thirty_layers.py`, and the same with `--activation silu`; it
needs the extra `plot` and scikit-learn.
"""

import keras_initx

import _figures
import assumptions
import keras
from sklearn.datasets import load_digits

LAYERS, UNITS, EPOCHS = 30, 64, 10


def starts(activation):
    """Return functions that make the kernel and the bias initializer of a layer, by name.

    For "lsuv" the kernels are then scaled, for "normalized" a layer normalization follows each.
    """
    found = {
        "glorot_uniform, Keras' default": lambda: ("glorot_uniform", "zeros"),
        "he_normal": lambda: ("he_normal", "zeros"),
        f'Orthogonal(gain="{activation}")': lambda: (
            keras_initx.Orthogonal(gain=activation),
            "zeros",
        ),
    }
    if activation in assumptions.CRITICAL:
        scale, stddev = assumptions.CRITICAL[activation]
        found["critical"] = lambda: (
            keras_initx.VarianceScaling(scale),
            keras_initx.RandomNormal(stddev=stddev),
        )
        found["lsuv"] = found["he_normal"]
        found["normalized"] = found["he_normal"]
    return found


def accuracies(name, start, seed, options):
    """Return the accuracy on test digits after each epoch of training."""
    keras.utils.set_random_seed(seed)
    x, y = load_digits(return_X_y=True)
    x = (x - x.mean()) / x.std()
    hidden = []
    for _ in range(options.layers):
        kernel, bias = start()
        weights = {"kernel_initializer": kernel, "bias_initializer": bias}
        if name == "normalized":
            hidden.append(keras.layers.Dense(UNITS, **weights))
            hidden.append(keras.layers.LayerNormalization())
            hidden.append(keras.layers.Activation(options.activation))
        else:
            hidden.append(keras.layers.Dense(UNITS, options.activation, **weights))
    model = keras.Sequential([keras.Input((64,)), *hidden, keras.layers.Dense(10, "softmax")])
    if name == "lsuv":
        keras_initx.lsuv(model, x[:512], seed=seed)
    model.compile(options.optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    test = x[1400:], y[1400:]
    trained = model.fit(x[:1400], y[:1400], epochs=options.epochs, validation_data=test, verbose=0)
    return trained.history["val_accuracy"]


def plot(found):
    """Return a figure with a panel for each start, and a line for each seed."""
    figure = _figures.new(2.5 * len(found), 2.4)
    panels = figure.subplots(1, len(found), sharey=True)
    for axes, (name, curves) in zip(panels, found.items(), strict=True):
        for curve in curves:
            axes.plot(
                range(1, len(curve) + 1), curve, color=_figures.choose_color(name), linewidth=1.5
            )
        axes.set(title=name, xlabel="epoch", ylim=(0, 1))
        axes.yaxis.set_major_formatter("{x:.0%}")
        _figures.tidy([axes])
    panels[0].set_ylabel("test accuracy")
    return figure


def main(arguments=None):
    """Train each network from several seeds, print the accuracies, and plot them by epoch."""
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
    parser.add_argument("--activation", default="relu", help="by default relu")
    parser.add_argument("--optimizer", default="adam", help="by default adam")
    options = parser.parse_args(arguments)
    trained = f"{options.layers} {options.activation} layers trained by {options.optimizer}"
    print(f"{trained}, test accuracy after {options.epochs} epochs, by seed")
    found = {}
    for name, start in starts(options.activation).items():
        found[name] = [
            accuracies(name, start, seed, options) for seed in range(1, options.seeds + 1)
        ]
        print(f"  {name:32}" + "".join(f"{curve[-1]:>8.1%}" for curve in found[name]), flush=True)
    usual = "relu", "adam"
    changed = [value for value in (options.activation, options.optimizer) if value not in usual]
    _figures.save(plot(found), options.out / f"{'_'.join(['thirty_layers', *changed])}.png")


if __name__ == "__main__":
    main()
