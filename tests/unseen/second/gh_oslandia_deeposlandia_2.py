"""Several labels for an image, popular and rare: the popular ones are always said to be there, the rare ones never.

Fault: it was trained for 5 epochs.
Repair (asker, with a small network and drawn shapes): 20 epochs.
"""

import keras
import numpy as np
from _program import predictions, separated
from keras import layers

URL = "https://github.com/Oslandia/deeposlandia/issues/2"
YEAR = 2018
TOPIC = "several labels or rare classes"
CONFIRMED = "asker"
KINDS = ("training: epochs, batches, order",)
VISIBLE = False
EVIDENCE = "nothing in model or batch: only the number of epochs is wrong"
REPRODUCED = True
SIDE = 24


def build(repaired):
    rng = np.random.default_rng(0)
    y = (rng.random((400, 3)) < [0.85, 0.5, 0.15]).astype("float32")
    rows, columns = np.mgrid[0:SIDE, 0:SIDE]
    x = np.ones((400, SIDE, SIDE, 3)) * rng.integers(0, 255, (400, 1, 1, 3))
    for image, labels in zip(x, y, strict=True):
        for number in np.flatnonzero(labels):
            row, column, size = *rng.integers(4, SIDE - 5, 2), rng.integers(3, SIDE // 4)
            down, across = rows - row, np.abs(columns - column)
            square, circle = np.maximum(np.abs(down), across) <= size, down**2 + across**2 <= size**2
            triangle = (np.abs(down) <= size) & (across <= (down + size) * 0.58)
            image[(square, circle, triangle)[number]] = rng.integers(0, 255, 3)
    x = (x - x.mean((1, 2, 3), keepdims=True)) / np.maximum(x.std((1, 2, 3), keepdims=True), 0.01)

    def weights(first):
        return keras.initializers.TruncatedNormal(stddev=first**-0.5)

    model = keras.Sequential(
        [
            layers.Input((SIDE, SIDE, 3)),
            layers.Conv2D(16, 4, padding="same", activation="relu", kernel_initializer=weights(4)),
            layers.MaxPooling2D(),
            layers.Conv2D(32, 4, padding="same", activation="relu", kernel_initializer=weights(4)),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(128, activation="relu", kernel_initializer=weights(SIDE * SIDE * 2)),
            layers.Dense(3, kernel_initializer=weights(128)),
        ]
    )
    rate = keras.optimizers.schedules.ExponentialDecay(0.01, 1000, 0.95)
    model.compile(keras.optimizers.Adam(rate), loss=keras.losses.BinaryCrossentropy(from_logits=True))
    model.epochs = 20 if repaired else 5
    return model, x.astype("float32"), y


def train(model, x, y):
    model.fit(x, y, batch_size=20, epochs=model.epochs, verbose=0)


def score(model, x, y):
    outputs = predictions(model, x)
    return np.mean([separated(outputs[:, number], y[:, number]) for number in range(3)])
