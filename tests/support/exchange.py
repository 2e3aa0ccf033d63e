"""A small model with an optimizer's state, which one backend saves and another loads and goes on with.

`python tests/support/exchange.py` writes the committed file of the backend at hand, `data/saved_by_<backend>.keras`, in
an environment of `nox -s minimums`: newer versions of Keras read it too.
"""

import pathlib
import zipfile

import keras
import numpy as np

import keras_initx

DATA = pathlib.Path(__file__).with_name("data")


def trained():
    """Return a model after a few steps, with a rate for each weight."""
    layers = keras.layers
    hidden = layers.Dense(6, "tanh", kernel_initializer=keras_initx.Sparse(3, seed=1), name="hidden")
    last = layers.Dense(2, kernel_initializer=keras_initx.Orthogonal(seed=2), name="last")
    model = keras.Sequential([keras.Input((5,)), hidden, last])
    optimizer = keras_initx.scaling.RateFactors(keras.optimizers.Adam(0.01), [0.5, 2.0, 0.5, 1.0])
    model.compile(optimizer, "mse", jit_compile=False)
    train(model)
    return model


def train(model):
    """Train for two steps on the same batch each time."""
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(8, 5)), generator.normal(size=(8, 2))
    for _ in range(2):
        model.train_on_batch(x, y)


def state(model):
    """Return the values of all weights, then those that the optimizer keeps."""
    return [keras.ops.convert_to_numpy(variable) for variable in (*model.weights, *model.optimizer.variables)]


def committed(backend):
    """Return the path of the file that was saved under `backend`."""
    return DATA / f"saved_by_{backend}.keras"


def write():
    """Write the committed file of the backend at hand, which is compressed to a quarter."""
    path = committed(keras.backend.backend())
    trained().save(path)
    with zipfile.ZipFile(path) as file:
        members = {name: file.read(name) for name in file.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)


if __name__ == "__main__":
    write()
