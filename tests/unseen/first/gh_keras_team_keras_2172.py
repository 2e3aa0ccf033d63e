"""An LSTM on word vectors sorts texts into three classes: the loss is -8.09 and the accuracy 1.0, both meaningless.

Fault: one sigmoid unit with binary cross-entropy for labels 0, 1 and 2.
Repair (asker: "that solves it"): one column for each class, three outputs, softmax and categorical cross-entropy.
Here 32 instead of 400 units and random word vectors.
"""

import keras
import numpy as np
from _program import accuracy, predictions

URL = "https://github.com/keras-team/keras/issues/2172"
YEAR = 2016
TOPIC = "text and sequences"
CONFIRMED = "asker"
KINDS = ("labels: form does not fit the loss or the output", "loss: wrong kind for the task")
VISIBLE = True
EVIDENCE = "Labels 0, 1 and 2 for one sigmoid unit; the loss falls to -4.6."
REPRODUCED = True


def crossentropy(y_true, y_pred):
    """The formula as it was in 2016: today's Keras refuses labels beyond 0 and 1 here on some backends."""
    y_true = keras.ops.cast(y_true, y_pred.dtype)
    y_pred = keras.ops.clip(y_pred, 1e-7, 1 - 1e-7)
    return -keras.ops.mean(y_true * keras.ops.log(y_pred) + (1 - y_true) * keras.ops.log(1 - y_pred), axis=-1)


def build(repaired):
    rng = np.random.default_rng(0)
    labels = np.arange(300) % 3
    words = rng.integers(0, 90, (300, 15))
    # A third of the words of a text come from a part of the vocabulary of its own class.
    special = rng.random(words.shape) < 0.33
    words = np.where(special, 90 + 10 * labels[:, None] + rng.integers(0, 10, words.shape), words)
    x = rng.normal(0, 0.5, (120, 20))[words].astype("float32")
    y = np.eye(3, dtype="float32")[labels] if repaired else labels[:, None].astype("float32")

    model = keras.Sequential(
        [
            keras.Input((15, 20)),
            keras.layers.LSTM(32),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(3, activation="softmax") if repaired else keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile(loss="categorical_crossentropy" if repaired else crossentropy, optimizer="adam")
    return model, x, y


def train(model, x, y):
    model.fit(x, y, batch_size=16, epochs=20, verbose=0)


def score(model, x, y):
    outputs = predictions(model, x)
    if outputs.shape[-1] == 1:
        # One unit answers class 0 or 1, and never class 2.
        outputs = np.hstack([1 - outputs, outputs, np.full_like(outputs, -1)])
    return accuracy(outputs, y)
