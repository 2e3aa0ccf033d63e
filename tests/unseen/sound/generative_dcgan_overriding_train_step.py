"""Discriminator of a DCGAN, faces against those of an untrained generator.

After keras.io examples/generative/dcgan_overriding_train_step.py.
"""

import keras
import numpy as np
from _shared import pictures
from keras import layers

URL = "https://keras.io/examples/generative/dcgan_overriding_train_step/"


def build():
    real, _ = pictures(8, 32, count=96)
    generator = keras.Sequential(
        [
            keras.Input((16,)),
            layers.Dense(4 * 4 * 16),
            layers.Reshape((4, 4, 16)),
            layers.Conv2DTranspose(16, 4, strides=2, padding="same"),
            layers.LeakyReLU(negative_slope=0.2),
            layers.Conv2DTranspose(32, 4, strides=2, padding="same"),
            layers.LeakyReLU(negative_slope=0.2),
            layers.Conv2DTranspose(64, 4, strides=2, padding="same"),
            layers.LeakyReLU(negative_slope=0.2),
            layers.Conv2D(3, 5, padding="same", activation="sigmoid"),
        ]
    )
    rng = np.random.default_rng(0)
    fake = generator.predict(rng.normal(size=(96, 16)).astype("float32"), verbose=0)
    x = np.concatenate([fake, real])
    y = np.repeat([[1.0], [0.0]], 96, axis=0)
    y = np.minimum(y + 0.05 * rng.random(y.shape), 1)
    mixed = rng.permutation(192)
    model = keras.Sequential([keras.Input((32, 32, 3))])
    for filters in (16, 32, 32):
        model.add(layers.Conv2D(filters, 4, strides=2, padding="same"))
        model.add(layers.LeakyReLU(negative_slope=0.2))
    model.add(layers.Flatten())
    model.add(layers.Dropout(0.2))
    model.add(layers.Dense(1, activation="sigmoid"))
    model.compile(optimizer=keras.optimizers.Adam(learning_rate=0.0001), loss=keras.losses.BinaryCrossentropy())
    return model, x[mixed], y[mixed].astype("float32")
