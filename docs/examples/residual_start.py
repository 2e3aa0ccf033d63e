"""Train a residual network without normalization from the weights of several recipes.

On scikit-learn's digits.

`KERAS_BACKEND=jax python docs/examples/residual_start.py`; it needs scikit-learn.
"""

import argparse

import keras_initx
from keras_initx import recipes

import _digits
import keras
import numpy as np

BLOCKS, CHANNELS, RATES = 16, 8, (0.01, 0.05)


class Scalars(keras.layers.Layer):
    """Multiply by a scalar that starts at 1, and add one that starts at 0, as in Fixup."""

    def build(self, shape):
        """Create both scalars."""
        self.factor = self.add_weight((), "ones", name="factor")
        self.shift = self.add_weight((), "zeros", name="shift")

    def call(self, x):
        """Apply both scalars."""
        return self.factor * x + self.shift


def network(blocks, rate):
    """Return a residual network with two convolutions per block.

    Its layer names are as in `keras.applications`.
    """
    inputs = keras.Input((64,))
    x = keras.layers.Reshape((8, 8, 1))(inputs)
    x = keras.layers.Conv2D(CHANNELS, 3, 2, padding="same", activation="relu", name="stem_conv")(x)
    for block in range(1, blocks + 1):
        name = f"body_block{block}"
        branch = keras.layers.Conv2D(
            CHANNELS, 3, padding="same", activation="relu", name=f"{name}_1_conv"
        )(x)
        branch = keras.layers.Conv2D(CHANNELS, 3, padding="same", name=f"{name}_2_conv")(branch)
        x = keras.layers.Add()([x, Scalars()(branch)])
        x = keras.layers.ReLU(name=f"{name}_out")(x)
    x = keras.layers.Flatten()(x)
    model = keras.Model(inputs, keras.layers.Dense(8, name="predictions")(x))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(rate), loss, metrics=["accuracy"])
    return model


def rules(model):
    """Return the recipes to compare, by name."""
    he = {"*kernel": "initx.he_normal"}
    return {
        "Glorot, as Keras": None,
        "He": he,
        "He, last kernels 0": {**recipes.zero_residual(model), **he},
        "Fixup": recipes.fixup(model),
    }


def growth(model, x):
    """Return the ratio of the output size of the last block to that of the stem."""
    layers = keras_initx.diagnose(model, x).layers
    found = [layer.after for layer in layers if layer.name.endswith(("stem_conv", "_out"))]
    first, last = (np.hypot(signal.mean, signal.std) for signal in (found[0], found[-1]))
    return last / first


def train(model, recipe, seed, epochs):
    """Return the growth of signals before training, and the test accuracy after each epoch."""
    train_set, test_set = _digits.load()
    # The compiled model is reused: only weights and optimizer are reset.
    keras_initx.initialize(model, recipe, seed=seed)
    before = growth(model, train_set[0][:256])
    keras.utils.set_random_seed(seed)  # the order of the examples
    history = model.fit(
        *train_set, batch_size=32, epochs=epochs, verbose=0, validation_data=test_set
    )
    return before, history.history["val_accuracy"]


def print_rate(rate, options):
    """Train with one learning rate, and print a table."""
    model = network(options.blocks, rate)
    last_epoch = f"epoch {options.epochs}"
    print(
        f"{f'rate {rate}':20}{'signal grows by':>16}{'epoch 1':>10}{last_epoch:>10}"
        f"{'worst and best':>18}"
    )
    for name, recipe in rules(model).items():
        runs = [train(model, recipe, seed, options.epochs) for seed in range(options.repeats)]
        grown = np.median([before for before, _ in runs])
        first, last = np.array([course for _, course in runs])[:, [0, -1]].T
        print(
            f"{name:20}{grown:16.3g}{first.mean():10.1%}{last.mean():10.1%}{last.min():10.1%}"
            f"{last.max():8.1%}"
        )


def main(arguments=None):
    """Train and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=5, help="rounds of training")
    parser.add_argument("--repeats", type=int, default=5, help="number of seeds")
    parser.add_argument("--blocks", type=int, default=BLOCKS, help="number of residual blocks")
    options = parser.parse_args(arguments)
    print(
        f"{options.blocks} residual blocks without normalization, {options.repeats} seeds: "
        "accuracy on test data"
    )
    for rate in RATES:
        print_rate(rate, options)


if __name__ == "__main__":
    main()
