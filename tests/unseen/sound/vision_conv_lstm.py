"""Next frame of moving digits by convolutional LSTMs, after keras.io examples/vision/conv_lstm.py."""

import keras
import numpy as np
from keras import layers

URL = "https://keras.io/examples/vision/conv_lstm/"


def movies(count=48, frames=9, size=20):
    """Return movies in 0..1 of two soft squares that move and bounce."""
    rng = np.random.default_rng(0)
    x = np.zeros((count, frames, size, size, 1), "float32")
    for i in range(count):
        for _ in range(2):
            place, step = rng.uniform(3, size - 8, 2), rng.choice([-1, 1], 2) * rng.uniform(0.5, 1.5, 2)
            for t in range(frames):
                step = np.where((place + step < 0) | (place + step > size - 5), -step, step)
                place = place + step
                row, column = place.astype(int)
                x[i, t, row : row + 5, column : column + 5] = 0.9
                x[i, t, row + 1 : row + 4, column + 2] = 0.3
    return x


def build():
    x = movies()
    inputs = keras.Input(shape=(None, *x.shape[2:]))
    h = inputs
    for i, size in enumerate((5, 3, 1)):
        h = layers.ConvLSTM2D(
            filters=12, kernel_size=(size, size), padding="same", return_sequences=True, activation="relu"
        )(h)
        if i < 2:
            h = layers.BatchNormalization()(h)
    h = layers.Conv3D(filters=1, kernel_size=(3, 3, 3), activation="sigmoid", padding="same")(h)
    model = keras.Model(inputs, h)
    model.compile(loss=keras.losses.binary_crossentropy, optimizer=keras.optimizers.Adam())
    return model, x[:, :-1], x[:, 1:]
