"""Lungs with and without spots, volumes of CT scans, by 3D convolutions.

After keras.io examples/vision/3D_image_classification.py.
"""

import keras
import numpy as np
from keras import layers

URL = "https://keras.io/examples/vision/3D_image_classification/"


def volumes(count=64, size=46):
    """Return smooth volumes in 0..1, half of them with bright spots inside, and labels."""
    rng = np.random.default_rng(0)
    y = rng.permutation(np.arange(count) % 2).astype("float32")
    axes = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j, -1 : 1 : size * 1j]
    x = np.empty((count, size, size, size, 1), "float32")
    for i in range(count):
        body = 0.6 / (1 + np.exp(20 * (np.sqrt((axes**2).sum(0)) - rng.uniform(0.7, 0.9))))
        for _ in range(6 * int(y[i])):
            spot = rng.uniform(-0.5, 0.5, 3)[:, None, None, None]
            body = body + 0.4 * np.exp(-((axes - spot) ** 2).sum(0) / 0.02)
        x[i, ..., 0] = np.clip(body + rng.normal(0, 0.02, body.shape), 0, 1)
    return x, y


def build():
    x, y = volumes()
    inputs = keras.Input(x.shape[1:])
    h = inputs
    for filters in (4, 8, 12, 16):
        h = layers.Conv3D(filters, kernel_size=3, activation="relu")(h)
        h = layers.BatchNormalization()(layers.MaxPool3D(pool_size=2)(h))
    h = layers.Dropout(0.3)(layers.Dense(64, activation="relu")(layers.Flatten()(h)))
    model = keras.Model(inputs, layers.Dense(1, activation="sigmoid")(h))
    rate = keras.optimizers.schedules.ExponentialDecay(0.0001, decay_steps=100000, decay_rate=0.96, staircase=True)
    model.compile(loss="binary_crossentropy", optimizer=keras.optimizers.Adam(learning_rate=rate), metrics=["acc"])
    return model, x, y
