"""Horses or humans by five convolutions, gradients less their mean.

After keras.io examples/vision/gradient_centralization.py.
"""

import keras
import numpy as np
from keras import layers, ops

URL = "https://keras.io/examples/vision/gradient_centralization/"


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


class CentralizedRMSprop(keras.optimizers.RMSprop):
    def apply(self, grads, trainable_variables=None):
        centred = [
            g - ops.mean(g, axis=list(range(len(g.shape) - 1)), keepdims=True) if len(g.shape) > 1 else g for g in grads
        ]
        return super().apply(centred, trainable_variables)


def build():
    x, y = pictures(2, 96, count=96)
    model = keras.Sequential([keras.Input((96, 96, 3))])
    for filters in (8, 16, 24, 24, 24):
        model.add(layers.Conv2D(filters, (3, 3), activation="relu"))
        if filters == 16:
            model.add(layers.Dropout(0.5))
        model.add(layers.MaxPooling2D(2, 2))
    model.add(layers.Flatten())
    model.add(layers.Dropout(0.5))
    model.add(layers.Dense(128, activation="relu"))
    model.add(layers.Dense(1, activation="sigmoid"))
    model.compile(loss="binary_crossentropy", optimizer=CentralizedRMSprop(learning_rate=1e-4), metrics=["accuracy"])
    return model, x, y.astype("float32")
