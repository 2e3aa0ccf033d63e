"""Digits by one dense layer and SGD, in a model that wraps another.

After keras.io examples/keras_recipes/trainer_pattern.py.
"""

import keras
from keras import layers
from sklearn.datasets import load_digits

URL = "https://keras.io/examples/keras_recipes/trainer_pattern/"


class Trainer(keras.Model):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def call(self, x, training=False):
        return self.model(x, training=training)


def build():
    data = load_digits()
    inner = keras.Sequential(
        [
            keras.Input((8, 8)),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dropout(0.2),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model = Trainer(inner)
    model.compile(keras.optimizers.SGD(), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model, data.images[:256] / 16.0, data.target[:256]
