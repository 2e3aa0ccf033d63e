"""An LSTM sorts examples of 128 zeros and ones into two classes: never above 55 %, while an MLP gets 97 %.

Fault: the last layer is a softmax of a single unit, which is always 1.
Repair (accepted answer): sigmoid.
The labels stay -1 and 1 as in the question, though cross-entropy wants 0 and 1. An example is taken as one step of 128
numbers (not shown there), and 32 units, 4,000 examples and 10 epochs stand for 128, 50,000 and 1. It was stateful;
this is left out, as it fails on one backend.
"""

import keras
import numpy as np
from _program import predictions, separated

URL = "https://stackoverflow.com/questions/47241622"
YEAR = 2017
TOPIC = "text and sequences"
CONFIRMED = "accepted answer"
KINDS = ("last layer: softmax of one unit, or along a wrong axis", "targets: beyond the last activation")
VISIBLE = True
EVIDENCE = "Labels -1 and 1; the output is 1 for all examples, its spread 0; no weight moves in ten epochs."
REPRODUCED = True


def crossentropy(y_true, y_pred):
    """The formula as it was in 2017: today's Keras refuses labels beyond 0 and 1 here on some backends."""
    y_true = keras.ops.cast(y_true, y_pred.dtype)
    y_pred = keras.ops.clip(y_pred, 1e-7, 1 - 1e-7)
    return -keras.ops.mean(y_true * keras.ops.log(y_pred) + (1 - y_true) * keras.ops.log(1 - y_pred), axis=-1)


def build(repaired):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2, (4000, 1, 128)).astype("float32")
    sums = (x[:, 0] - 0.5) @ rng.normal(0, 1, 128)
    y = np.sign(sums)[:, None].astype("float32")

    model = keras.Sequential(
        [
            keras.Input((1, 128)),
            keras.layers.LSTM(32),
            keras.layers.Dense(1, activation="sigmoid" if repaired else "softmax"),
        ]
    )
    model.compile(loss=crossentropy, optimizer="adam")
    return model, x, y


def train(model, x, y):
    model.fit(x, y, batch_size=200, epochs=10, shuffle=True, verbose=0)


def score(model, x, y):
    return separated(predictions(model, x), y)
