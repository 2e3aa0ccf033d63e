"""Train thirty layers on digits from Keras' default weights, He weights, orthogonal weights and others.

`KERAS_BACKEND=jax python docs/examples/thirty_layers.py`, and the same with `--activation silu`
"""

import keras_initx

import _figures
import assumptions
import keras
from sklearn.datasets import load_digits

LAYERS, UNITS, EPOCHS = 30, 64, 10


def starts(activation):
    """Return functions that make the kernel and the bias initializer of a layer, by name."""
    found = {
        "glorot_uniform, Keras' default": lambda: ("glorot_uniform", "zeros"),
        "he_normal": lambda: ("he_normal", "zeros"),
        f'Orthogonal(gain="{activation}")': lambda: (keras_initx.Orthogonal(gain=activation), "zeros"),
    }
    if activation in assumptions.CRITICAL:
        scale, stddev = assumptions.CRITICAL[activation]
        found["critical"] = lambda: (keras_initx.VarianceScaling(scale), keras_initx.RandomNormal(stddev=stddev))
        found["lsuv"] = found["he_normal"]
    return found


def accuracy(name, start, seed, options):
    """Return the accuracy on test digits after training."""
    keras.utils.set_random_seed(seed)
    x, y = load_digits(return_X_y=True)
    x = (x - x.mean()) / x.std()
    hidden = []
    for _ in range(options.layers):
        kernel, bias = start()
        layer = keras.layers.Dense(UNITS, options.activation, kernel_initializer=kernel, bias_initializer=bias)
        hidden.append(layer)
    model = keras.Sequential([keras.Input((64,)), *hidden, keras.layers.Dense(10, "softmax")])
    if name == "lsuv":
        keras_initx.lsuv(model, x[:512], seed=seed)
    model.compile(options.optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x[:1400], y[:1400], epochs=options.epochs, verbose=0)
    return model.evaluate(x[1400:], y[1400:], verbose=0, return_dict=True)["accuracy"]


def main(arguments=None):
    """Train each network from several seeds, and print the accuracies."""
    parser = _figures.parser(__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5, metavar="N", help="number of seeds; by default 5")
    parser.add_argument("--epochs", type=int, default=EPOCHS, metavar="N", help=f"by default {EPOCHS}")
    parser.add_argument("--layers", type=int, default=LAYERS, metavar="N", help=f"by default {LAYERS}")
    parser.add_argument("--activation", default="relu", help="by default relu")
    parser.add_argument("--optimizer", default="adam", help="by default adam")
    options = parser.parse_args(arguments)
    trained = f"{options.layers} {options.activation} layers trained by {options.optimizer}"
    print(f"{trained}, test accuracy after {options.epochs} epochs, by seed")
    for name, start in starts(options.activation).items():
        found = (accuracy(name, start, seed, options) for seed in range(1, options.seeds + 1))
        print(f"  {name:32}" + "".join(f"{value:>8.1%}" for value in found), flush=True)


if __name__ == "__main__":
    main()
