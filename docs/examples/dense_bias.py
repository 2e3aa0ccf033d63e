"""Train networks with and without biases in their dense layers, on two circles and on digits.

`KERAS_BACKEND=jax python docs/examples/dense_bias.py`; it needs scikit-learn.
"""

import argparse

import keras_initx

import _digits
import keras
import numpy as np


def circles():
    """Return points on two circles, of radius 1 and 2, twice: for training and for testing."""
    generator = np.random.default_rng(0)
    pairs = []
    for _ in range(2):
        labels = generator.integers(0, 2, 1024)
        angles = generator.uniform(0, 2 * np.pi, 1024)
        points = np.stack([np.cos(angles), np.sin(angles)], axis=1) * (1 + labels)[:, None]
        pairs.append((points.astype("float32"), labels))
    return pairs


def train(data, use_bias, seed, epochs):
    """Train two ReLU layers of 32 units, and return the accuracy on test data."""
    train_set, test_set = data
    model = keras.Sequential([keras.Input(train_set[0].shape[1:])])
    for number in range(2):
        kernel = keras_initx.HeNormal(seed=10 * seed + number)
        model.add(keras.layers.Dense(32, "relu", use_bias=use_bias, kernel_initializer=kernel))
    kernel = keras_initx.GlorotUniform(seed=10 * seed + 2)
    classes = int(train_set[1].max()) + 1
    model.add(keras.layers.Dense(classes, use_bias=use_bias, kernel_initializer=kernel))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss, metrics=["accuracy"])
    keras.utils.set_random_seed(seed)  # the order of the examples
    model.fit(*train_set, batch_size=64, epochs=epochs, verbose=0)
    return model.evaluate(*test_set, verbose=0, return_dict=True)["accuracy"]


def main(arguments=None):
    """Train and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=20, help="rounds of training")
    parser.add_argument("--repeats", type=int, default=5, help="number of seeds")
    options = parser.parse_args(arguments)
    print(f"Accuracy on test data after {options.epochs} epochs, {options.repeats} seeds")
    print(f"{'data':10}{'biases':>10}{'mean':>8}{'lowest':>9}{'highest':>9}")
    for name, data in (("circles", circles()), ("digits", _digits.load())):
        for use_bias in (True, False):
            found = [train(data, use_bias, seed, options.epochs) for seed in range(options.repeats)]
            shown = "with" if use_bias else "without"
            print(
                f"{name:10}{shown:>10}{np.mean(found):8.1%}{min(found):9.1%}{max(found):9.1%}",
                flush=True,
            )


if __name__ == "__main__":
    main()
