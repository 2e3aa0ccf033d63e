"""A small recurrent network is to return the integer (0 to 99) of two steps before: it always says about 50.

Fault: raw integers go in and are the targets; the answer names no other fault.
Repair (answer with votes): each integer becomes a vector (one-hot). A second, evident fault is mended too: the
reshape to (examples, 1, 1) gave each example a single step, so windows of three steps replace it; and, as the author
of the answer says, 2 units are too few for such vectors.
"""

import keras
import numpy as np
from _program import explained, predictions

URL = "https://stats.stackexchange.com/questions/329619"
YEAR = 2018
TOPIC = "time series"
CONFIRMED = "votes"
KINDS = (
    "inputs: scale or offset",
    "targets: scale",
    "inputs: examples mixed (time and batch, a reshape across examples)",
)
VISIBLE = True
EVIDENCE = (
    "inputs up to 99 put 94 % of the recurrent outputs beyond 0.99; y has mean 51 and deviation 30, the loss starts at "
    "3550;"
    " each example has a single step"
)
REPRODUCED = True


def build(repaired):
    numbers = np.random.default_rng(0).integers(0, 100, 602)
    now, before = numbers[2:], numbers[:-2]
    if repaired:
        x = np.eye(100, dtype="float32")[np.stack([before, numbers[1:-1], now], 1)]
        y = np.eye(100, dtype="float32")[before]
    else:
        x, y = now.reshape(-1, 1, 1).astype("float32"), before.reshape(-1, 1).astype("float32")
    model = keras.Sequential(
        [
            keras.layers.Input((None, x.shape[-1])),
            keras.layers.SimpleRNN(64 if repaired else 2),
            keras.layers.Dense(y.shape[-1], activation="softmax" if repaired else None),
        ]
    )
    model.compile(optimizer="adam", loss="categorical_crossentropy" if repaired else "mse")
    return model, x, y


def train(model, x, y):
    model.fit(x, y, batch_size=20, epochs=30, verbose=0)


def score(model, x, y):
    outputs = predictions(model, x)
    if y.shape[-1] == 100:
        return explained(outputs @ np.arange(100), y.argmax(-1))
    return explained(outputs, y)
