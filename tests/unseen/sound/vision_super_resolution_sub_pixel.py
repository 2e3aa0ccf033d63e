"""Brightness of pictures in three times the size by sub-pixel convolution.

After keras.io examples/vision/super_resolution_sub_pixel.py.
"""

import keras
import numpy as np
from keras import layers, ops

URL = "https://keras.io/examples/vision/super_resolution_sub_pixel/"


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


def build(factor=3):
    y = pictures(8, 48, channels=1, count=96)[0]
    x = y.reshape(96, 16, factor, 16, factor, 1).mean(axis=(2, 4))
    options = {"activation": "relu", "kernel_initializer": "orthogonal", "padding": "same"}
    inputs = keras.Input((16, 16, 1))
    h = layers.Conv2D(32, 5, **options)(inputs)
    h = layers.Conv2D(32, 3, **options)(h)
    h = layers.Conv2D(16, 3, **options)(h)
    h = layers.Conv2D(factor**2, 3, **options)(h)
    h = ops.reshape(h, (-1, 16, 16, factor, factor, 1))
    h = ops.reshape(ops.transpose(h, (0, 1, 3, 2, 4, 5)), (-1, 48, 48, 1))
    model = keras.Model(inputs, h)
    model.compile(optimizer=keras.optimizers.Adam(learning_rate=0.001), loss=keras.losses.MeanSquaredError())
    return model, x.astype("float32"), y
