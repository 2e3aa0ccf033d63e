"""A small convolutional network gives the same loss at each step, and its filters do not move.

Fault: the pixels were divided in an array of integers, so that all of them are 0.
Repair (asker): division in floating point.
"""

import keras
import numpy as np
from _program import accuracy, predictions

URL = "https://github.com/keras-team/keras/issues/255"
YEAR = 2015
TOPIC = "time series"
CONFIRMED = "asker"
KINDS = ("inputs: other (wrong axis, all alike, no information)",)
VISIBLE = True
EVIDENCE = "every pixel of every image is exactly 0, so that all examples are alike"
REPRODUCED = True


def build(repaired):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 256)
    # Screenshots of a game: in one class another player stands in the picture.
    images = rng.integers(20, 120, (256, 16, 16, 3))
    for number in np.flatnonzero(labels):
        row, column = rng.integers(0, 11, 2)
        images[number, row : row + 5, column : column + 5] += 110
    x = images / 255 if repaired else images // 255
    layers = [keras.layers.Input((16, 16, 3))]
    for filters in (8, 16):
        layers += [
            keras.layers.Conv2D(filters, 3, padding="same", activation="relu"),
            keras.layers.Conv2D(filters, 3, padding="same", activation="relu"),
            keras.layers.MaxPooling2D(),
        ]
    layers += [keras.layers.Flatten(), keras.layers.Dense(32, activation="relu"), keras.layers.Dropout(0.5)]
    model = keras.Sequential([*layers, keras.layers.Dense(2, activation="softmax")])
    model.compile(optimizer=keras.optimizers.RMSprop(0.001), loss="categorical_crossentropy")
    return model, x.astype("float32"), np.eye(2, dtype="float32")[labels]


def train(model, x, y):
    model.fit(x, y, batch_size=32, epochs=25, verbose=0)


def score(model, x, y):
    return accuracy(predictions(model, x), y)
