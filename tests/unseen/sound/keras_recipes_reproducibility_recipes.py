"""Digits by three convolutions with dropout and global average pooling.

After keras.io examples/keras_recipes/reproducibility_recipes.py.
"""

import keras
from _shared import digits
from keras import layers

URL = "https://keras.io/examples/keras_recipes/reproducibility_recipes/"


def build():
    x, y = digits(32)
    model = keras.Sequential(
        [
            keras.Input((32, 32, 1)),
            layers.Conv2D(16, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Dropout(0.2),
            layers.Conv2D(16, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Dropout(0.2),
            layers.Conv2D(16, 3, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(32, activation="relu"),
            layers.Dropout(0.2),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"], jit_compile=False)
    return model, x, y
