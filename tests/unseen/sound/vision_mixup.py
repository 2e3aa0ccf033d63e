"""Clothes mixed in pairs, labels in the same shares, by three convolutions, after keras.io examples/vision/mixup.py."""

import keras
import numpy as np
from _shared import pictures
from keras import layers

URL = "https://keras.io/examples/vision/mixup/"


def build(count=192):
    rng = np.random.default_rng(0)
    x, y = pictures(10, 28, channels=1, count=count)
    other, share = rng.permutation(count), rng.beta(0.2, 0.2, count).astype("float32")
    x = x * share[:, None, None, None] + x[other] * (1 - share[:, None, None, None])
    y = np.eye(10, dtype="float32")[y]
    y = y * share[:, None] + y[other] * (1 - share[:, None])
    model = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(16, (5, 5), strides=(2, 2), activation="relu"),
            layers.Conv2D(32, (5, 5), strides=(2, 2), activation="relu"),
            layers.SpatialDropout2D(0.2),
            layers.GlobalAvgPool2D(),
            layers.Dense(64, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(loss="categorical_crossentropy", optimizer="adam", metrics=["accuracy"])
    return model, x, y
