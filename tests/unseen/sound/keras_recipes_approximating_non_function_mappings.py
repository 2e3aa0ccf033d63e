"""A spiral, many values for one input, by a mixture density network.

After keras.io examples/keras_recipes/approximating_non_function_mappings.py.
"""

import keras
import numpy as np
from keras import layers, ops

URL = "https://keras.io/examples/keras_recipes/approximating_non_function_mappings/"

MIXES = 20


class Mixture(layers.Layer):
    def __init__(self):
        super().__init__()
        self.centres = layers.Dense(MIXES)
        self.widths = layers.Dense(MIXES, activation=lambda x: ops.elu(x) + 1 + keras.backend.epsilon())
        self.shares = layers.Dense(MIXES)

    def build(self, shape):
        for dense in (self.centres, self.widths, self.shares):
            dense.build(shape)

    def call(self, x):
        return ops.concatenate([self.centres(x), self.widths(x), self.shares(x)], axis=-1)


def mixture_loss(y_true, y_pred):
    centres, widths, shares = ops.split(y_pred, 3, axis=-1)
    density = -0.5 * ops.square((y_true - centres) / widths) - ops.log(widths) - 0.5 * np.log(2 * np.pi)
    return -ops.mean(ops.logsumexp(ops.log_softmax(shares, axis=-1) + density, axis=-1))


def build(count=256):
    rng = np.random.default_rng(0)
    turn = rng.random(count) * 360
    x = turn / 360 * np.cos(turn / 90 * np.pi) * 5 + rng.uniform(-0.1, 0.1, count)
    y = turn / 360 * np.sin(turn / 90 * np.pi) * 5 + rng.uniform(-0.1, 0.1, count)
    x, y = ((v - v.min()) / (v.max() - v.min()) * 10 - 5 for v in (x, y))
    model = keras.Sequential(
        [keras.Input((1,)), layers.Dense(128, activation="relu"), layers.Dense(128, activation="relu"), Mixture()]
    )
    model.compile(loss=mixture_loss, optimizer="adam")
    return model, x[:, None].astype("float32"), y[:, None].astype("float32")
