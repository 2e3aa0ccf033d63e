"""A retrained Inception V3 ends in sigmoid units under categorical cross-entropy; every output is near 1e-13.

Fault: the training was stopped too early, at 73 % validation accuracy (the asker's finding).
Repair (asker): more training; at 85 % the right class gets 0.1 and more.
Sigmoid units under this loss stay: only the ratio of the outputs counts for it, not their size.
Here random features stand for the trained Inception V3, and there are 10 classes (number assumed).
"""

import keras
import numpy as np
from _program import predictions

URL = "https://github.com/keras-team/keras/issues/8883"
YEAR = 2017
TOPIC = "image classification"
CONFIRMED = "asker"
KINDS = ("training: epochs, batches, order",)
VISIBLE = False
EVIDENCE = (
    "76 % right after 6 epochs, all after 20, but the mean output falls from 0.07 to 0.012: training on makes it worse."
)
REPRODUCED = False


def build(repaired):
    rng = np.random.default_rng(0)
    labels = np.arange(400) % 10
    centers = rng.normal(0, 1, (10, 128))
    # What a network with pooling leaves of a picture: positive numbers, many of them zero.
    x = np.maximum(centers[labels] + rng.normal(0, 2.5, (400, 128)), 0).astype("float32")
    y = np.eye(10, dtype="float32")[labels]

    model = keras.Sequential(
        [
            keras.Input((128,)),
            keras.layers.Dense(64, activation="relu"),
            keras.layers.Dense(10, activation="sigmoid"),
        ]
    )
    model.compile(loss="categorical_crossentropy", optimizer="rmsprop", metrics=["accuracy"])
    model.planned_epochs = 20 if repaired else 6
    return model, x, y


def train(model, x, y):
    model.fit(x, y, batch_size=32, epochs=model.planned_epochs, verbose=0)


def score(model, x, y):
    """Return how far the mean output of the right class is above the blind guess of 0.1."""
    return np.clip((np.mean(predictions(model, x)[y > 0.5]) - 0.1) / 0.9, 0, 1)
