"""Discriminator of a GAN with batch normalization, birds against those of an untrained generator.

After keras.io examples/generative/gan_ada.py.
"""

import keras
import numpy as np
from _shared import pictures
from keras import layers

URL = "https://keras.io/examples/generative/gan_ada/"


def build(width=24, depth=3, size=32):
    real, _ = pictures(8, size, count=96)
    noise = keras.Input((16,))
    h = layers.Dense(4 * 4 * width, use_bias=False)(noise)
    h = layers.ReLU()(layers.BatchNormalization(scale=False)(h))
    h = layers.Reshape((4, 4, width))(h)
    for _ in range(depth - 1):
        h = layers.Conv2DTranspose(width, 4, strides=2, padding="same", use_bias=False)(h)
        h = layers.ReLU()(layers.BatchNormalization(scale=False)(h))
    h = layers.Conv2DTranspose(3, 4, strides=2, padding="same", activation="sigmoid")(h)
    generator = keras.Model(noise, h)
    rng = np.random.default_rng(0)
    fake = generator.predict(rng.normal(size=(96, 16)).astype("float32"), verbose=0)
    mixed = rng.permutation(192)
    x = np.concatenate([real, fake])[mixed]
    y = np.repeat([[1.0], [0.0]], 96, axis=0)[mixed].astype("float32")
    inputs = keras.Input((size, size, 3))
    h = inputs
    for _ in range(depth):
        h = layers.Conv2D(width, 4, strides=2, padding="same", use_bias=False)(h)
        h = layers.LeakyReLU(negative_slope=0.2)(layers.BatchNormalization(scale=False)(h))
    h = layers.Dropout(0.4)(layers.Flatten()(h))
    model = keras.Model(inputs, layers.Dense(1)(h))
    model.compile(
        optimizer=keras.optimizers.Adam(2e-4, beta_1=0.5), loss=keras.losses.BinaryCrossentropy(from_logits=True)
    )
    return model, x, y
