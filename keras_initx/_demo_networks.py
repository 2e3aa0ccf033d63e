"""What the demo does in processes of its own: `train` its networks, and `load` them again."""

import sys
from pathlib import Path

import keras
import numpy as np

import keras_initx  # noqa: F401, makes the initializers known to Keras: all that loading takes

INITIALIZERS = {
    "dense": {
        "kernel_initializer": "initx.sparse",
        "bias_initializer": "initx.relu_bias",
    },
    "convolutional": {
        "kernel_initializer": "initx.orthogonal",
        "bias_initializer": "initx.relu_bias",
    },
    "lstm": {
        "kernel_initializer": "initx.sparse",
        "recurrent_initializer": "initx.orthogonal",
        "bias_initializer": "initx.lstm_forget_bias",
    },
}


def train(folder: Path) -> None:
    """Train each network, and save it with the test data and what it makes of them."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    images = (images / 16).astype("float32")
    images, test_images, labels, test_labels = train_test_split(images, labels, random_state=0)
    np.savez(folder / "test.npz", images=test_images, labels=test_labels)
    for name in INITIALIZERS:
        keras.utils.set_random_seed(0)
        network = _build(name)
        network.compile(keras.optimizers.Adam(0.003), "sparse_categorical_crossentropy")
        network.fit(images, labels, epochs=15, verbose=0)
        network.save(folder / f"{name}.keras")
        _write_arrays(network, folder, name)


def load(folder: Path) -> None:
    """Load each network, and save what it makes of the test data here."""
    for name in INITIALIZERS:
        network = keras.models.load_model(folder / f"{name}.keras")
        _write_arrays(network, folder, f"{name}-{keras.backend.backend()}")


def _build(name):
    """Return a network from 64 pixels to the probabilities of 10 digits."""
    layers, initializers = keras.layers, INITIALIZERS[name]
    hidden = {
        "dense": lambda: [
            layers.Dense(64, activation="relu", **initializers),
            layers.Dense(64, activation="relu", **initializers),
        ],
        "convolutional": lambda: [
            layers.Reshape((8, 8, 1)),
            layers.Conv2D(16, 3, activation="relu", **initializers),
            layers.Conv2D(32, 3, strides=2, activation="relu", **initializers),
            layers.Flatten(),
        ],
        "lstm": lambda: [
            layers.Reshape((8, 8)),
            layers.LSTM(48, unit_forget_bias=False, **initializers),
        ],
    }
    inputs = outputs = keras.Input((64,))
    for layer in hidden[name]():
        outputs = layer(outputs)
    outputs = layers.Dense(10, activation="softmax", kernel_initializer=initializers["kernel_initializer"])(outputs)
    # Not a `Sequential`, whose weights do not have the same paths once it is loaded.
    return keras.Model(inputs, outputs)


def _write_arrays(network, folder, name):
    with np.load(folder / "test.npz") as test:
        predictions = network.predict(test["images"], verbose=0)
    weights = {weight.path: keras.ops.convert_to_numpy(weight) for weight in network.weights}
    np.savez(folder / f"{name}.npz", predictions=predictions, **weights)


if __name__ == "__main__":
    {"train": train, "load": load}[sys.argv[1]](Path(sys.argv[2]))
