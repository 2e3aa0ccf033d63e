"""Digits by dense layers with an antirectifier in place of ReLU.

After keras.io examples/keras_recipes/antirectifier.py.
"""

import keras
from keras import layers, ops
from sklearn.datasets import load_digits

URL = "https://keras.io/examples/keras_recipes/antirectifier/"


class Antirectifier(layers.Layer):
    def __init__(self, initializer="he_normal"):
        super().__init__()
        self.initializer = keras.initializers.get(initializer)

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1] * 2, shape[-1]), initializer=self.initializer, name="kernel")

    def call(self, x):
        x = x - ops.mean(x, axis=-1, keepdims=True)
        x = ops.concatenate([ops.relu(x), ops.relu(-x)], axis=-1)
        return ops.matmul(x, self.kernel)


def build():
    x, y = load_digits(return_X_y=True)
    model = keras.Sequential(
        [
            keras.Input((64,)),
            layers.Dense(64),
            Antirectifier(),
            layers.Dense(64),
            Antirectifier(),
            layers.Dropout(0.5),
            layers.Dense(10),
        ]
    )
    model.compile(
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        optimizer=keras.optimizers.RMSprop(),
        metrics=[keras.metrics.SparseCategoricalAccuracy()],
    )
    return model, (x[:256] / 16).astype("float32"), y[:256]
