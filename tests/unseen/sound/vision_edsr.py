"""Pictures of four times the size by EDSR, residual blocks and pixel shuffling.

After keras.io examples/vision/edsr.py.
"""

import keras
import numpy as np
from _shared import pictures
from keras import layers, ops

URL = "https://keras.io/examples/vision/edsr/"


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
