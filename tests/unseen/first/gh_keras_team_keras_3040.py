"""A line through the origin is fitted to unscaled numbers up to 199 by SGD, one by one: the weights become NaN.

Fault: the learning rate of 0.001 is beyond stability for inputs of this size.
Repair (asker): a smaller learning rate.
"""

import keras
import numpy as np
from _program import explained, predictions

URL = "https://github.com/keras-team/keras/issues/3040"
YEAR = 2016
TOPIC = "regression on tables"
CONFIRMED = "asker"
KINDS = ("optimizer: rate too large", "inputs: scale or offset")
VISIBLE = True
EVIDENCE = "a row of x = 199 has a curvature of 79,000, so that SGD is stable below 2.5e-5 only; the rate is 1e-3"
REPRODUCED = True


def build(repaired):
    """Return the compiled model, the inputs and the targets."""
    x = np.arange(200, dtype="float32")[:, None]
    y = 2 * x
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(optimizer=keras.optimizers.SGD(1e-5 if repaired else 1e-3), loss="mean_squared_error")
    return model, x, y


def train(model, x, y):
    """Train for one epoch with batches of one, as there."""
    model.fit(x, y, batch_size=1, epochs=1, verbose=0)


def score(model, x, y):
    """Return the explained share of the variance."""
    return explained(predictions(model, x), y)
