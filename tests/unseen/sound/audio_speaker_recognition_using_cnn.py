"""Speakers told from the spectrum of a second of speech by a residual 1D network.

After keras.io examples/audio/speaker_recognition_using_cnn.py.
"""

import keras
import numpy as np
from keras import layers

URL = "https://keras.io/examples/audio/speaker_recognition_using_cnn/"


def spectra(count=200, samples=1024, speakers=5):
    """Return magnitudes of the FFT of harmonic waves, one pitch a speaker, with some noise."""
    rng = np.random.default_rng(0)
    y = rng.permutation(np.arange(count) % speakers)
    time = np.arange(samples) / samples
    waves = rng.normal(0, 0.05, (count, samples))
    for harmonic in range(1, 6):
        pitch = harmonic * (20 + 9 * y[:, None] + rng.normal(0, 1, (count, 1)))
        waves += (
            rng.uniform(0.1, 0.4, (count, 1)) / harmonic * np.sin(2 * np.pi * (pitch * time + rng.random((count, 1))))
        )
    return np.abs(np.fft.fft(waves))[:, : samples // 2, None].astype("float32"), y


def block(x, filters, convolutions):
    shortcut = layers.Conv1D(filters, 1, padding="same")(x)
    for _ in range(convolutions - 1):
        x = layers.Activation("relu")(layers.Conv1D(filters, 3, padding="same")(x))
    x = layers.Conv1D(filters, 3, padding="same")(x)
    x = layers.Activation("relu")(layers.Add()([x, shortcut]))
    return layers.MaxPooling1D(pool_size=2, strides=2)(x)


def build():
    x, y = spectra()
    inputs = keras.Input(x.shape[1:])
    h = inputs
    for filters, convolutions in ((8, 2), (16, 2), (24, 3), (32, 3), (32, 3)):
        h = block(h, filters, convolutions)
    h = layers.Flatten()(layers.AveragePooling1D(pool_size=3, strides=3)(h))
    h = layers.Dense(64, activation="relu")(h)
    h = layers.Dense(32, activation="relu")(h)
    model = keras.Model(inputs, layers.Dense(5, activation="softmax")(h))
    model.compile(optimizer="Adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model, x, y
