"""An embedding and an LSTM sort texts into three classes: the loss becomes negative, down to -15,000.

Fault: the program keeps its default of two classes, so it has one logit with sigmoid cross-entropy, while the labels
go up to 2, beyond what a sigmoid can reach.
Repair (asker): set the number of classes to 3, which gives three logits and softmax cross-entropy.
The sizes are smaller: 64 instead of 1024 LSTM units at most, 20 words a text.
"""

import keras
import numpy as np
from _program import accuracy, predictions

URL = "https://github.com/tensorflow/models/issues/4312"
YEAR = 2018
TOPIC = "image classification"
CONFIRMED = "asker"
KINDS = ("labels: form does not fit the loss or the output",)
VISIBLE = True
EVIDENCE = "Labels 0, 1 and 2 for a single logit under sigmoid cross-entropy; the loss falls to -96 after 20 epochs."
REPRODUCED = True


def build(repaired):
    rng = np.random.default_rng(0)
    y = (np.arange(300) % 3).astype("int32")
    x = rng.integers(0, 90, (300, 20))
    # A quarter of the words of a text come from a part of the vocabulary of its own class.
    special = rng.random(x.shape) < 0.25
    x = np.where(special, 90 + 10 * y[:, None] + rng.integers(0, 10, x.shape), x).astype("int32")

    model = keras.Sequential(
        [
            keras.Input((20,)),
            keras.layers.Embedding(120, 16),
            keras.layers.LSTM(32),
            keras.layers.Dense(30, activation="relu"),
            keras.layers.Dense(3 if repaired else 1),
        ]
    )
    if repaired:
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    else:
        loss = keras.losses.BinaryCrossentropy(from_logits=True)
    model.compile(loss=loss, optimizer=keras.optimizers.Adam(0.001))
    return model, x, y


def train(model, x, y):
    model.fit(x, y, batch_size=16, epochs=20, verbose=0)


def score(model, x, y):
    outputs = predictions(model, x)
    if outputs.shape[-1] == 1:
        # The program answers class 1 for a positive logit, else class 0, and never class 2.
        outputs = np.hstack([-outputs, outputs, np.full_like(outputs, -1e9)])
    return accuracy(outputs, y)
