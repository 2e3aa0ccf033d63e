"""An LSTM is to tell which share of a sequence is ones, after zeros: all sequences get almost the same number.

Fault: 45 sequences in batches of 32 give 2 steps an epoch, far too few steps.
Repair (answer): batches of a single sequence.
"""

import keras
import numpy as np
from _program import explained, predictions

URL = "https://datascience.stackexchange.com/questions/67599"
YEAR = 2020
TOPIC = "time series"
CONFIRMED = "votes"
KINDS = ("training: epochs, batches, order",)
VISIBLE = False
EVIDENCE = "none: inputs are 0 and 1, targets within 0 and 1, and only the number of steps is wrong"
REPRODUCED = True

STEPS = 40


def build(repaired):
    # Most sequences have few ones, as in the report.
    ones = np.clip(np.random.default_rng(0).gamma(1.6, 5.5, 45).round(), 2, 36).astype(int)
    x = np.stack([np.arange(STEPS) >= STEPS - number for number in ones])[..., None].astype("float32")
    model = keras.Sequential(
        [
            keras.layers.Input((STEPS, 1)),
            keras.layers.Masking(0.0),
            keras.layers.LSTM(10),
            keras.layers.Dense(1, activation="relu"),
        ]
    )
    model.compile(optimizer="adam", loss="mse")
    model.batch = 1 if repaired else 32
    return model, x, x.mean((1, 2))[:, None]


def train(model, x, y):
    model.fit(x, y, batch_size=model.batch, epochs=5, verbose=0)


def score(model, x, y):
    return explained(predictions(model, x), y)
