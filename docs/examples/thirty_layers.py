"""Train thirty ReLU layers on digits from Keras' default weights, He weights and orthogonal weights.

`KERAS_BACKEND=jax python docs/examples/thirty_layers.py`
"""

import keras_initx

import _figures
import keras
from sklearn.datasets import load_digits

LAYERS, UNITS, EPOCHS = 30, 64, 10

INITIALIZERS = {
    "glorot_uniform, Keras' default": lambda: "glorot_uniform",
    "he_normal": lambda: "he_normal",
    'Orthogonal(gain="relu")': lambda: keras_initx.Orthogonal(gain="relu"),
}


def accuracy(initializer, seed, layers, epochs):
    """Return the accuracy on test digits after training."""
    keras.utils.set_random_seed(seed)
    x, y = load_digits(return_X_y=True)
    x = (x - x.mean()) / x.std()
    hidden = [keras.layers.Dense(UNITS, "relu", kernel_initializer=initializer()) for _ in range(layers)]
    model = keras.Sequential([keras.Input((64,)), *hidden, keras.layers.Dense(10, "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x[:1400], y[:1400], epochs=epochs, verbose=0)
    return model.evaluate(x[1400:], y[1400:], verbose=0, return_dict=True)["accuracy"]


def main(arguments=None):
    """Train each network from several seeds, and print the accuracies."""
    parser = _figures.parser(__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5, metavar="N", help="number of seeds; by default 5")
    parser.add_argument("--epochs", type=int, default=EPOCHS, metavar="N", help=f"by default {EPOCHS}")
    parser.add_argument("--layers", type=int, default=LAYERS, metavar="N", help=f"by default {LAYERS}")
    options = parser.parse_args(arguments)
    print(f"{options.layers} ReLU layers, test accuracy after {options.epochs} epochs, by seed")
    for name, initializer in INITIALIZERS.items():
        found = (accuracy(initializer, seed, options.layers, options.epochs) for seed in range(1, options.seeds + 1))
        print(f"  {name:32}" + "".join(f"{value:>8.1%}" for value in found), flush=True)


if __name__ == "__main__":
    main()
