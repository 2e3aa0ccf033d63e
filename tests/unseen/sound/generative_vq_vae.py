"""Vector-quantized autoencoder of digits with straight-through gradients.

After keras.io examples/generative/vq_vae.py.
"""

import keras
import numpy as np
from _shared import digits
from keras import layers, ops

URL = "https://keras.io/examples/generative/vq_vae/"


class Quantizer(layers.Layer):
    def __init__(self, codes, width, beta=0.25):
        super().__init__()
        self.codes, self.width, self.beta = codes, width, beta

    def build(self, shape):
        self.table = self.add_weight(shape=(self.width, self.codes), initializer="random_uniform", name="embeddings")

    def call(self, x):
        flat = ops.reshape(x, (-1, self.width))
        distance = ops.sum(flat**2, axis=1, keepdims=True) + ops.sum(self.table**2, axis=0)
        nearest = ops.argmin(distance - 2 * ops.matmul(flat, self.table), axis=1)
        chosen = ops.reshape(ops.matmul(ops.one_hot(nearest, self.codes), ops.transpose(self.table)), ops.shape(x))
        commitment = ops.mean((ops.stop_gradient(chosen) - x) ** 2)
        self.add_loss(self.beta * commitment + ops.mean((chosen - ops.stop_gradient(x)) ** 2))
        return x + ops.stop_gradient(chosen - x)


def build(width=16, codes=64):
    x, _ = digits(28)
    x = x - 0.5
    inputs = keras.Input((28, 28, 1))
    h = layers.Conv2D(16, 3, activation="relu", strides=2, padding="same")(inputs)
    h = layers.Conv2D(32, 3, activation="relu", strides=2, padding="same")(h)
    h = layers.Conv2D(width, 1, padding="same")(h)
    h = Quantizer(codes, width)(h)
    h = layers.Conv2DTranspose(32, 3, activation="relu", strides=2, padding="same")(h)
    h = layers.Conv2DTranspose(16, 3, activation="relu", strides=2, padding="same")(h)
    model = keras.Model(inputs, layers.Conv2DTranspose(1, 3, padding="same")(h))
    variance = float(np.var(x))
    model.compile(
        optimizer=keras.optimizers.Adam(), loss=lambda y_true, y_pred: ops.mean((y_true - y_pred) ** 2) / variance
    )
    return model, x, x
