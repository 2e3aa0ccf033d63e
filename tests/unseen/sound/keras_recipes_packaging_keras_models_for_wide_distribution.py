"""Digits by a functional model in a class, from bytes.

After keras.io examples/keras_recipes/packaging_keras_models_for_wide_distribution.py.
"""

import keras
from _shared import digits
from keras import layers

URL = "https://keras.io/examples/keras_recipes/packaging_keras_models_for_wide_distribution/"


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
