"""One column of a table is predicted from another by a linear unit with SGD: the loss is NaN in every epoch.

Fault: both columns are unscaled; only a rate of 1e-7 trains at all.
Repair (answer): both columns are standardized.
"""

import keras
import numpy as np
from _program import explained, predictions

URL = "https://stats.stackexchange.com/questions/284189/simple-linear-regression-in-keras"
YEAR = 2017
TOPIC = "regression on tables"
CONFIRMED = "votes"
KINDS = ("inputs: scale or offset",)
VISIBLE = True
EVIDENCE = "the inputs have a root mean square of 1,900, so that SGD with batches of one is unstable above 1e-7"
REPRODUCED = True


def build(repaired):
    """Return the compiled model, the inputs and the targets."""
    random = np.random.default_rng(0)
    x = random.uniform(600, 3000, size=(60, 1))
    y = 0.12 * x + 40 + random.normal(0, 20, size=(60, 1))
    if repaired:
        x, y = (x - x.mean()) / x.std(), (y - y.mean()) / y.std()
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, activation="linear")])
    model.compile(optimizer=keras.optimizers.SGD(0.01), loss="mse", metrics=["mse"])
    return model, x.astype("float32"), y.astype("float32")


def train(model, x, y):
    """Train for 30 epochs in order with batches of one, as there."""
    model.fit(x, y, batch_size=1, epochs=30, shuffle=False, verbose=0)


def score(model, x, y):
    """Return the explained share of the variance."""
    return explained(predictions(model, x), y)
