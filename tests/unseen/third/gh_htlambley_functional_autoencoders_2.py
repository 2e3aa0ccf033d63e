"""A functional autoencoder of Darcy pressure fields seems to stay on a plateau.

Fault: the training was stopped long before its time.
Repair (asker): waiting; after the full number of steps the reconstructions are as they should be.
"""

import keras
import numpy as np
from _program import explained, predictions

URL = "https://github.com/htlambley/functional_autoencoders/issues/2"
YEAR = 2025
TOPIC = "autoencoders"
CONFIRMED = "asker"
KINDS = ("training: epochs, batches, order",)
VISIBLE = False
EVIDENCE = "nothing but the number of epochs (2 against 60) differs"
REPRODUCED = True

SIDE = 10


class Fourier(keras.layers.Layer):
    """Random Fourier features of the points of a grid."""

    def build(self, shape):
        matrix = np.random.default_rng(1).normal(size=(2, 16)).astype("float32")
        points = np.stack(np.meshgrid(*[np.linspace(0, 1, SIDE)] * 2), -1).reshape(-1, 2).astype("float32")
        angles = 2 * np.pi * points @ matrix
        self.features = np.concatenate([np.cos(angles), np.sin(angles)], -1)[None]

    def call(self, values):
        features = keras.ops.convert_to_tensor(self.features)
        return keras.ops.concatenate([keras.ops.repeat(features, keras.ops.shape(values)[0], axis=0), values], axis=-1)


def build(repaired):
    rng = np.random.default_rng(0)
    grid = np.linspace(0, 1, SIDE)
    waves = np.sin(np.pi * np.outer(np.arange(1, 4), grid))
    weights = rng.normal(size=(256, 3, 3)) / np.add.outer(np.arange(1, 4) ** 2, np.arange(1, 4) ** 2)
    x = np.einsum("nij,ia,jb->nab", weights, waves, waves).reshape(256, -1, 1)
    x = (x / x.std()).astype("float32")
    inputs = keras.Input((SIDE * SIDE, 1))
    hidden = Fourier()(inputs)
    for _ in range(2):
        hidden = keras.layers.Dense(64, "gelu")(hidden)
    hidden = keras.layers.GlobalAveragePooling1D()(keras.layers.Dense(64)(hidden))
    code = keras.layers.Dense(64, activity_regularizer=keras.regularizers.L2(0.001))(hidden)
    hidden = Fourier()(keras.layers.RepeatVector(SIDE * SIDE)(code))
    for _ in range(5):
        hidden = keras.layers.Dense(100, "gelu")(hidden)
    model = keras.Model(inputs, keras.layers.Dense(1)(hidden))
    rate = keras.optimizers.schedules.ExponentialDecay(0.001, 1000, 0.98, staircase=True)
    model.compile(keras.optimizers.Adam(rate), "mse")
    model.epochs_of_program = 60 if repaired else 2
    return model, x, x


def train(model, x, y):
    model.fit(x, y, batch_size=32, epochs=model.epochs_of_program, verbose=0)


def score(model, x, y):
    return explained(predictions(model, x), y)
