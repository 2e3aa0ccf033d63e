"""Discriminator of a conditional GAN, real digits against those of an untrained generator.

After keras.io examples/generative/conditional_gan.py.
"""

import keras
import numpy as np
from _shared import digits
from keras import layers

URL = "https://keras.io/examples/generative/conditional_gan/"


def build():
    real, labels = digits(28, 128)
    generator = keras.Sequential(
        [
            keras.Input((26,)),
            layers.Dense(7 * 7 * 26),
            layers.LeakyReLU(negative_slope=0.2),
            layers.Reshape((7, 7, 26)),
            layers.Conv2DTranspose(24, 4, strides=2, padding="same"),
            layers.LeakyReLU(negative_slope=0.2),
            layers.Conv2DTranspose(24, 4, strides=2, padding="same"),
            layers.LeakyReLU(negative_slope=0.2),
            layers.Conv2D(1, 7, padding="same", activation="sigmoid"),
        ]
    )
    rows = np.eye(10, dtype="float32")[labels]
    noise = np.random.default_rng(0).normal(size=(128, 16)).astype("float32")
    fake = generator.predict(np.concatenate([noise, rows], axis=1), verbose=0)
    planes = np.broadcast_to(rows[:, None, None], (128, 28, 28, 10))
    x = np.concatenate([np.concatenate([fake, planes], -1), np.concatenate([real, planes], -1)])
    y = np.repeat([[1.0], [0.0]], 128, axis=0).astype("float32")
    mixed = np.random.default_rng(1).permutation(256)
    model = keras.Sequential(
        [
            keras.Input((28, 28, 11)),
            layers.Conv2D(16, 3, strides=2, padding="same"),
            layers.LeakyReLU(negative_slope=0.2),
            layers.Conv2D(32, 3, strides=2, padding="same"),
            layers.LeakyReLU(negative_slope=0.2),
            layers.GlobalMaxPooling2D(),
            layers.Dense(1),
        ]
    )
    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate=0.0003), loss=keras.losses.BinaryCrossentropy(from_logits=True)
    )
    return model, x[mixed], y[mixed]
