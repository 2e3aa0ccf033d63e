"""Digits by random Fourier features and a hinge loss, near a support vector machine.

After keras.io examples/keras_recipes/quasi_svm.py.
"""

import keras
import numpy as np
from keras import layers, ops
from sklearn.datasets import load_digits

URL = "https://keras.io/examples/keras_recipes/quasi_svm/"


class FourierFeatures(layers.Layer):
    """Fixed cosine features whose products come near a Gaussian kernel."""

    def __init__(self, width, scale):
        super().__init__()
        self.width, self.scale = width, scale

    def build(self, shape):
        self.kernel = self.add_weight(
            (shape[-1], self.width), initializer=keras.initializers.RandomNormal(stddev=1.0), trainable=False
        )
        self.phase = self.add_weight(
            (self.width,), initializer=keras.initializers.RandomUniform(0.0, 2 * np.pi), trainable=False
        )

    def call(self, x):
        return ops.cos(ops.matmul(x, self.kernel) / self.scale + self.phase) * (2 / self.width) ** 0.5


def build():
    x, y = load_digits(return_X_y=True)
    model = keras.Sequential([keras.Input((64,)), FourierFeatures(512, scale=10.0), layers.Dense(10)])
    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate=1e-3),
        loss=keras.losses.hinge,
        metrics=[keras.metrics.CategoricalAccuracy(name="acc")],
    )
    return model, (x[:256] / 16).astype("float32"), np.eye(10, dtype="float32")[y[:256]]
