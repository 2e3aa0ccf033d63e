"""Brightness of pictures in three times the size by sub-pixel convolution.

After keras.io examples/vision/super_resolution_sub_pixel.py.
"""

import keras
from _shared import pictures
from keras import layers, ops

URL = "https://keras.io/examples/vision/super_resolution_sub_pixel/"


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
