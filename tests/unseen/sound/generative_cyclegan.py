"""Discriminator of a CycleGAN, real pictures against blurred ones, patch by patch.

After keras.io examples/generative/cyclegan.py.
"""

import keras
import numpy as np
from _shared import pictures
from keras import layers

URL = "https://keras.io/examples/generative/cyclegan/"


def build():
    x, _ = pictures(8, 32, count=128)
    fake = x[:64]
    for _ in range(3):
        fake = (fake + np.roll(fake, 2, 1) + np.roll(fake, 2, 2)) / 3
    x = np.concatenate([fake, x[64:]]) * 2 - 1
    y = np.repeat([0.0, 1.0], 64).astype("float32")
    mixed = np.random.default_rng(1).permutation(128)
    small = keras.initializers.RandomNormal(mean=0.0, stddev=0.02, seed=0)
    inputs = keras.Input((32, 32, 3))
    h = layers.Conv2D(16, 4, strides=2, padding="same", kernel_initializer=small)(inputs)
    h = layers.LeakyReLU(negative_slope=0.2)(h)
    for i, filters in enumerate((32, 64, 64)):
        strides = 2 if i < 2 else 1
        start = keras.initializers.RandomNormal(mean=0.0, stddev=0.02, seed=i + 1)
        h = layers.Conv2D(filters, 4, strides, padding="same", use_bias=False, kernel_initializer=start)(h)
        h = layers.GroupNormalization(groups=-1, gamma_initializer=start)(h)
        h = layers.LeakyReLU(negative_slope=0.2)(h)
    h = layers.Conv2D(1, 4, padding="same", kernel_initializer=small)(h)
    model = keras.Model(inputs, h)
    model.compile(optimizer=keras.optimizers.Adam(learning_rate=2e-4, beta_1=0.5), loss=keras.losses.MeanSquaredError())
    patches = np.broadcast_to(y[mixed][:, None, None, None], (128, 4, 4, 1)).copy()
    return model, x[mixed], patches
