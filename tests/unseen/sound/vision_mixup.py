"""Clothes mixed in pairs, labels in the same shares, by three convolutions, after keras.io examples/vision/mixup.py."""

import keras
import numpy as np
from keras import layers

URL = "https://keras.io/examples/vision/mixup/"


def pictures(classes, size, channels=3, count=128, seed=0):
    """Return smooth pictures in 0..1, a coloured spot on a shaded ground, and their class numbers."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(count) % classes)
    rows, columns = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    angles = 2 * np.pi * labels[:, None, None] / classes
    tilt = rng.normal(0, 0.1, (2, count, 1, 1))
    centre = 0.5 * np.stack([np.sin(angles), np.cos(angles)]) + rng.normal(0, 0.08, (2, count, 1, 1))
    spot = np.exp(-((rows - centre[0]) ** 2 + (columns - centre[1]) ** 2) / 0.15)
    ground = 0.4 + tilt[0] * rows + tilt[1] * columns
    colour = 0.5 + 0.4 * np.cos(angles[..., None] + np.arange(channels) * 2)
    x = ground[..., None] * (1 - spot[..., None]) + spot[..., None] * colour
    return np.clip(x + rng.normal(0, 0.02, x.shape), 0, 1).astype("float32"), labels


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
