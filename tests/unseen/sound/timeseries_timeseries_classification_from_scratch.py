"""Engine noise with and without a fault by three convolutions.

After keras.io examples/timeseries/timeseries_classification_from_scratch.py.
"""

import keras
import numpy as np
from keras import layers

URL = "https://keras.io/examples/timeseries/timeseries_classification_from_scratch/"


def noises(count=192, length=200):
    """Return standardized series; the ones of class 1 carry a faint tone."""
    rng = np.random.default_rng(0)
    y = rng.permutation(np.arange(count) % 2)
    time = np.arange(length)
    x = np.apply_along_axis(lambda row: np.convolve(row, np.ones(5) / 5, "same"), 1, rng.normal(size=(count, length)))
    x += 0.5 * y[:, None] * np.sin(2 * np.pi * (time / 11 + rng.random((count, 1))))
    return ((x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True))[..., None].astype("float32"), y


def build():
    x, y = noises()
    inputs = keras.Input(x.shape[1:])
    h = inputs
    for _ in range(3):
        h = layers.ReLU()(layers.BatchNormalization()(layers.Conv1D(32, kernel_size=3, padding="same")(h)))
    h = layers.GlobalAveragePooling1D()(h)
    model = keras.Model(inputs, layers.Dense(2, activation="softmax")(h))
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["sparse_categorical_accuracy"])
    return model, x, y
