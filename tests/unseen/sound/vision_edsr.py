"""Pictures of four times the size by EDSR, residual blocks and pixel shuffling.

After keras.io examples/vision/edsr.py.
"""

import keras
import numpy as np
from keras import layers, ops

URL = "https://keras.io/examples/vision/edsr/"


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


def block(x, filters):
    y = layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
    return layers.Add()([x, layers.Conv2D(filters, 3, padding="same")(y)])


def shuffle(x, filters, factor=2):
    x = layers.Conv2D(filters * factor**2, 3, padding="same")(x)
    _, rows, columns, _ = x.shape
    x = ops.reshape(x, (-1, rows, columns, factor, factor, filters))
    return ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, rows * factor, columns * factor, filters))


def build(filters=16, blocks=16):
    y, _ = pictures(8, 48, count=96)
    y = np.round(y * 255)
    x = np.round(y.reshape(96, 12, 4, 12, 4, 3).mean(axis=(2, 4)))
    inputs = keras.Input((12, 12, 3))
    h = h1 = layers.Conv2D(filters, 3, padding="same")(layers.Rescaling(scale=1.0 / 255)(inputs))
    for _ in range(blocks):
        h = block(h, filters)
    h = layers.Add()([layers.Conv2D(filters, 3, padding="same")(h), h1])
    h = shuffle(shuffle(h, filters), filters)
    model = keras.Model(inputs, layers.Rescaling(scale=255)(layers.Conv2D(3, 3, padding="same")(h)))
    rate = keras.optimizers.schedules.PiecewiseConstantDecay(boundaries=[5000], values=[1e-4, 5e-5])
    model.compile(optimizer=keras.optimizers.Adam(learning_rate=rate), loss="mae")
    return model, x.astype("float32"), y.astype("float32")
