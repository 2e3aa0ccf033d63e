"""The subprocesses of the demo: `train` the networks, and `load` them."""

import sys
from pathlib import Path

import keras
import numpy as np

import keras_initx  # noqa: F401, registers the initializers with Keras, which loading needs
from keras_initx.cli._data import digits
from keras_initx.cli._networks import network

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
KINDS = {"dense": "mlp", "convolutional": "cnn", "lstm": "lstm"}
EPOCHS = 15


def train(folder: Path) -> None:
    """Train each network and save it with its predictions on the test data."""
    data = digits()
    (images, labels), (test_images, test_labels) = data.train, data.validation
    np.savez(folder / "test.npz", images=test_images, labels=test_labels)
    for name in INITIALIZERS:
        keras.utils.set_random_seed(0)
        model = network(KINDS[name], data.shape, data.classes, **INITIALIZERS[name])
        model.compile(keras.optimizers.Adam(0.003), "sparse_categorical_crossentropy")
        model.fit(images, labels, epochs=EPOCHS, verbose=0)
        model.save(folder / f"{name}.keras")
        _write_arrays(model, folder, name)


def load(folder: Path) -> None:
    """Load each network and save its predictions on the test data with this backend."""
    for name in INITIALIZERS:
        # With torch, an optimizer is saved as a class of that backend, and predictions do not need it.
        model = keras.models.load_model(folder / f"{name}.keras", compile=False)
        _write_arrays(model, folder, f"{name}-{keras.backend.backend()}")


def _write_arrays(model: keras.Model, folder: Path, name: str) -> None:
    with np.load(folder / "test.npz") as test:
        predictions = model.predict(test["images"], verbose=0)
    weights = {weight.path: keras.ops.convert_to_numpy(weight) for weight in model.weights}
    np.savez(folder / f"{name}.npz", predictions=predictions, **weights)


if __name__ == "__main__":
    {"train": train, "load": load}[sys.argv[1]](Path(sys.argv[2]))
