"""Train thirty ReLU layers on digits from Keras' default weights, He weights and orthogonal weights.

`KERAS_BACKEND=jax python docs/examples/thirty_layers.py`
"""

import keras_initx

import _figures
import keras
from sklearn.datasets import load_digits

LAYERS, UNITS, EPOCHS = 30, 64, 10

INITIALIZERS = {
    "glorot_uniform, Keras' default": (lambda: "glorot_uniform", _figures.RED),
    "he_normal": (lambda: "he_normal", _figures.BLUE),
    'Orthogonal(gain="relu")': (lambda: keras_initx.Orthogonal(gain="relu"), _figures.GREEN),
}


def accuracies(initializer, seed, layers, epochs):
    """Return the accuracy on test digits after each epoch of training."""
    keras.utils.set_random_seed(seed)
    x, y = load_digits(return_X_y=True)
    x = (x - x.mean()) / x.std()
    hidden = [keras.layers.Dense(UNITS, "relu", kernel_initializer=initializer()) for _ in range(layers)]
    model = keras.Sequential([keras.Input((64,)), *hidden, keras.layers.Dense(10, "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    test = x[1400:], y[1400:]
    return model.fit(x[:1400], y[:1400], epochs=epochs, validation_data=test, verbose=0).history["val_accuracy"]


def plot(found):
    """Return a figure with a panel for each initializer, and a line for each seed."""
    figure = _figures.new(7.5, 2.4)
    for axes, (name, curves) in zip(figure.subplots(1, len(found), sharey=True), found.items(), strict=True):
        for curve in curves:
            axes.plot(range(1, len(curve) + 1), curve, color=INITIALIZERS[name][1], linewidth=1.5)
        axes.set(title=name, xlabel="epoch", ylim=(0, 1))
        axes.yaxis.set_major_formatter("{x:.0%}")
        _figures.tidy(axes)
    figure.axes[0].set_ylabel("test accuracy")
    return figure


def main(arguments=None):
    """Train each network from several seeds, print the accuracies, and plot them by epoch."""
    parser = _figures.parser(__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5, metavar="N", help="number of seeds; by default 5")
    parser.add_argument("--epochs", type=int, default=EPOCHS, metavar="N", help=f"by default {EPOCHS}")
    parser.add_argument("--layers", type=int, default=LAYERS, metavar="N", help=f"by default {LAYERS}")
    options = parser.parse_args(arguments)
    print(f"{options.layers} ReLU layers, test accuracy after {options.epochs} epochs, by seed")
    found = {}
    for name, (initializer, _) in INITIALIZERS.items():
        seeds = range(1, options.seeds + 1)
        found[name] = [accuracies(initializer, seed, options.layers, options.epochs) for seed in seeds]
        print(f"  {name:32}" + "".join(f"{curve[-1]:>8.1%}" for curve in found[name]), flush=True)
    _figures.save(plot(found), options.out / "thirty_layers.png")


if __name__ == "__main__":
    main()
