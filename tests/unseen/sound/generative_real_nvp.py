"""Density of two moons by affine coupling layers of a normalizing flow.

After keras.io examples/generative/real_nvp.py.
"""

import keras
import numpy as np
from keras import layers, ops
from sklearn.datasets import make_moons

URL = "https://keras.io/examples/generative/real_nvp/"


def coupling(width=32, penalty=0.01):
    inputs = keras.Input((2,))
    outputs = []
    for last in ("tanh", "linear"):
        h = inputs
        for _ in range(4):
            h = layers.Dense(width, activation="relu", kernel_regularizer=keras.regularizers.l2(penalty))(h)
        outputs.append(layers.Dense(2, activation=last, kernel_regularizer=keras.regularizers.l2(penalty))(h))
    return keras.Model(inputs, outputs)


class RealNVP(keras.Model):
    def __init__(self, couplings=6):
        super().__init__()
        self.masks = [(0.0, 1.0), (1.0, 0.0)] * (couplings // 2)
        self.couplings = [coupling() for _ in range(couplings)]

    def call(self, x, training=True):
        logdet = 0.0
        for mask, layer in zip(self.masks[::-1], self.couplings[::-1], strict=True):
            mask = ops.convert_to_tensor(mask)
            scale, shift = layer(x * mask)
            scale, shift = scale * (1 - mask), shift * (1 - mask)
            x = (1 - mask) * (x - shift) * ops.exp(-scale) + x * mask
            logdet = logdet - ops.sum(scale, axis=1)
        return x, logdet

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, **kwargs):
        z, logdet = y_pred
        return -ops.mean(-ops.sum(ops.square(z), axis=1) / 2 - np.log(2 * np.pi) + logdet)


def build():
    x = make_moons(256, noise=0.05, random_state=0)[0]
    x = ((x - x.mean(0)) / x.std(0)).astype("float32")
    model = RealNVP()
    model.compile(optimizer=keras.optimizers.Adam(learning_rate=0.0001))
    return model, x, None
