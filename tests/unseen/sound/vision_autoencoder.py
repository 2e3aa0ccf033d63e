"""Noise taken off digits by a convolutional autoencoder, after keras.io examples/vision/autoencoder.py."""

import keras
import numpy as np
from _shared import digits
from keras import layers

URL = "https://keras.io/examples/vision/autoencoder/"


def build():
    x, _ = digits(28, 192)
    noisy = np.clip(x + 0.4 * np.random.default_rng(0).normal(size=x.shape), 0, 1).astype("float32")
    inputs = keras.Input((28, 28, 1))
    h = inputs
    for _ in range(2):
        h = layers.Conv2D(32, (3, 3), activation="relu", padding="same")(h)
        h = layers.MaxPooling2D((2, 2), padding="same")(h)
    for _ in range(2):
        h = layers.Conv2D(32, (3, 3), activation="relu", padding="same")(h)
        h = layers.UpSampling2D((2, 2))(h)
    model = keras.Model(inputs, layers.Conv2D(1, (3, 3), activation="sigmoid", padding="same")(h))
    model.compile(optimizer="adam", loss="binary_crossentropy")
    return model, noisy, x
