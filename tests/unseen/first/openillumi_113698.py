"""Prices are predicted by a network with binary cross-entropy: the loss goes to minus 118,000 in the first epoch.

The report follows a tutorial on tables (32 relu units, dropout, one linear unit, Adam); the layers are from there.
Fault: binary cross-entropy of logits, with prices of thousands as "probabilities".
Repair (answer as told by the page): mean squared error; the page also normalizes the prices, which is done here.
"""

import keras
import numpy as np
from _program import explained, predictions

URL = "https://openillumi.com/en/en-keras-tf-fix-huge-negative-loss-regression"
YEAR = 2022
TOPIC = "regression on tables"
CONFIRMED = "votes"
KINDS = ("loss: wrong kind for the task", "targets: scale")
VISIBLE = True
EVIDENCE = "the loss is binary cross-entropy, the targets go from 961 to 81,515: none is in [0, 1]"
REPRODUCED = True


def build(repaired):
    """Return the compiled model, the columns and the prices."""
    random = np.random.default_rng(0)
    x = random.normal(size=(480, 10)).astype("float32")
    price = np.exp(9.5 + 0.5 * x[:, 0] - 0.3 * x[:, 1] + 0.2 * x[:, 2] * x[:, 3] + 0.1 * random.normal(size=480))
    y = np.round(price)[:, None].astype("float32")
    if repaired:
        y = (y - y.mean()) / y.std()
    model = keras.Sequential(
        [
            keras.Input((10,)),
            keras.layers.Dense(32, activation="relu"),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(1),
        ]
    )
    loss = "mean_squared_error" if repaired else keras.losses.BinaryCrossentropy(from_logits=True)
    model.compile(optimizer="adam", loss=loss, metrics=["mse" if repaired else "accuracy"])
    return model, x, y


def train(model, x, y):
    """Train for 50 epochs, as there."""
    model.fit(x, y, batch_size=32, epochs=50, verbose=0)


def score(model, x, y):
    """Return the explained share of the variance."""
    return explained(predictions(model, x), y)
