"""Digits by a functional model in a class, from bytes.

After keras.io examples/keras_recipes/packaging_keras_models_for_wide_distribution.py.
"""

import keras
import numpy as np
from keras import layers
from sklearn.datasets import load_digits

URL = "https://keras.io/examples/keras_recipes/packaging_keras_models_for_wide_distribution/"


def digits(size, count=256):
    """Return handwritten digits in 0..1, enlarged to `size` pixels, and their labels."""
    data = load_digits()
    steps = np.linspace(0, 7, size).round().astype(int)
    x = data.images[:count, steps][:, :, steps, None] / 16
    return x.astype("float32"), data.target[:count]


class DigitsModel(keras.Model):
    def __init__(self, **kwargs):
        inputs = keras.Input((None, None, 1), dtype="uint8")
        y = layers.Rescaling(1 / 255.0)(inputs)
        y = layers.Conv2D(8, 3, padding="same", activation="relu")(y)
        y = layers.Conv2D(16, 6, padding="same", activation="relu", strides=2)(y)
        y = layers.Conv2D(24, 6, padding="same", activation="relu", strides=2)(y)
        y = layers.GlobalAveragePooling2D()(y)
        y = layers.Dropout(0.4)(layers.Dense(48, activation="relu")(y))
        super().__init__(inputs=inputs, outputs=layers.Dense(10, activation="softmax")(y), **kwargs)


def build():
    x, y = digits(28)
    model = DigitsModel()
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["sparse_categorical_accuracy"])
    return model, (x * 255).astype("uint8"), y
