"""The CIFAR-10 example of Keras, with RMSprop at its default rate: the loss goes up again after some epochs.

Fault: a rate of 0.001 is too large for RMSprop here; Adam did well.
Repair (comments, and the change to the example): RMSprop with a rate of 0.0001.
Shrunk to 16 pixels, half as many maps and drawn pictures.
"""

import keras
import numpy as np
from _program import accuracy, predictions

URL = "https://github.com/keras-team/keras/issues/5239"
YEAR = 2017
TOPIC = "image classification"
CONFIRMED = "comments"
KINDS = ("optimizer: rate too large",)
VISIBLE = False
EVIDENCE = (
    "After 12 epochs the loss is 2.21 with the rate of 0.001, still falling, and 2.30 = log 10 with "
    "0.0001: too slow here."
)
REPRODUCED = False


def build(repaired):
    rng = np.random.default_rng(0)
    labels = np.arange(600) % 10
    patterns = rng.uniform(0, 0.6, (10, 8, 8, 3))
    x = rng.uniform(0, 0.4, (600, 16, 16, 3))
    for image, label in zip(x, labels, strict=True):
        row, column = rng.integers(0, 9, 2)
        image[row : row + 8, column : column + 8] += patterns[label]
    x = x.astype("float32")
    y = np.eye(10, dtype="float32")[labels]

    layers = keras.layers
    hidden = []
    for filters in (16, 32):
        hidden += [layers.Conv2D(filters, 3, padding="same", activation="relu")]
        hidden += [layers.Conv2D(filters, 3, activation="relu"), layers.MaxPooling2D(), layers.Dropout(0.25)]
    hidden += [layers.Flatten(), layers.Dense(256, activation="relu"), layers.Dropout(0.5)]
    model = keras.Sequential([keras.Input((16, 16, 3)), *hidden, layers.Dense(10, activation="softmax")])
    optimizer = keras.optimizers.RMSprop(0.0001 if repaired else 0.001, epsilon=1e-8)
    model.compile(loss="categorical_crossentropy", optimizer=optimizer)
    return model, x, y


def train(model, x, y):
    model.fit(x, y, batch_size=32, epochs=12, verbose=0)


def score(model, x, y):
    return accuracy(predictions(model, x), y)
