"""Google's stock is forecast from prices divided by 100 by two LSTMs: the loss often stays at the variance.

Fault: prices (3 to 8.5, far from zero) are neither centred nor scaled, on the side of x and of y.
Repair (asker): normalization, here to the range from 0 to 1.
"""

import keras
import numpy as np
from _program import explained, predictions

URL = "https://github.com/keras-team/keras/issues/6004"
YEAR = 2017
TOPIC = "time series"
CONFIRMED = "asker"
KINDS = ("inputs: scale or offset", "targets: scale")
VISIBLE = True
EVIDENCE = (
    "x has mean 5.7 and deviation 1.3, y mean 5.9 and deviation 1.3; the loss starts at 36, 22 times the variance of y"
)
REPRODUCED = True

WINDOW = 22


def build(repaired):
    rng = np.random.default_rng(0)
    days = np.arange(300)
    close = 2.9 + 5.4 * days / 300 + 0.5 * np.sin(days / 25) + np.cumsum(rng.normal(0, 0.03, 300))
    spread = np.abs(rng.normal(0, 0.04, (300, 2)))
    table = np.stack([close + rng.normal(0, 0.03, 300), close + spread[:, 0], close], 1)
    if repaired:
        table = (table - table.min(0)) / (table.max(0) - table.min(0))
    x = np.stack([table[i : i + WINDOW] for i in range(300 - WINDOW)]).astype("float32")
    y = table[WINDOW:, 2:].astype("float32")
    model = keras.Sequential(
        [
            keras.layers.Input((WINDOW, 3)),
            keras.layers.LSTM(32, return_sequences=True),
            keras.layers.Dropout(0.2),
            keras.layers.LSTM(16),
            keras.layers.Dropout(0.2),
            keras.layers.Dense(16, kernel_initializer="random_uniform", activation="relu"),
            keras.layers.Dense(1, kernel_initializer="random_uniform"),
        ]
    )
    model.compile(optimizer=keras.optimizers.Adam(0.001), loss="mse")
    return model, x, y


def train(model, x, y):
    model.fit(x, y, batch_size=140, epochs=60, verbose=0)


def score(model, x, y):
    return explained(predictions(model, x), y)
