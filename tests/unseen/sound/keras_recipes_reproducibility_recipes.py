"""Digits by three convolutions with dropout and global average pooling.

After keras.io examples/keras_recipes/reproducibility_recipes.py.
"""

import keras
import numpy as np
from keras import layers
from sklearn.datasets import load_digits

URL = "https://keras.io/examples/keras_recipes/reproducibility_recipes/"


def digits(size, count=256):
    """Return handwritten digits in 0..1, enlarged to `size` pixels, and their labels."""
    data = load_digits()
    steps = np.linspace(0, 7, size).round().astype(int)
    x = data.images[:count, steps][:, :, steps, None] / 16
    return x.astype("float32"), data.target[:count]


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
