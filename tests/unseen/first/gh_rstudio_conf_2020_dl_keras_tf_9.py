"""House prices are predicted from prepared columns with mean squared error and SGD: the loss is NaN at once.

Fault: prices up to 755,000, squared, with a rate of 0.1.
Repair (the teachers): the mean squared logarithmic error. It stays finite and falls, but with SGD far too slowly.
"""

import keras
import numpy as np
from _program import explained, predictions

URL = "https://github.com/rstudio-conf-2020/dl-keras-tf/issues/9"
YEAR = 2020
TOPIC = "regression on tables"
CONFIRMED = "maintainer"
KINDS = ("targets: scale",)
VISIBLE = True
EVIDENCE = "the targets have a root mean square of 182,000, the outputs one of 0.6; the first loss is 3e10"
REPRODUCED = False


def build(repaired):
    """Return the compiled model, standardized and one-hot columns, and the prices."""
    random = np.random.default_rng(0)
    numbers = random.normal(size=(512, 20))
    kinds = np.eye(12)[random.integers(0, 12, size=512)]
    x = np.concatenate([numbers, kinds], axis=1)
    logarithm = 12 + 0.25 * numbers[:, 0] + 0.2 * numbers[:, 1] - 0.1 * numbers[:, 2]
    logarithm += kinds @ random.normal(0, 0.15, size=12) + 0.05 * random.normal(size=512)
    y = np.minimum(np.round(np.exp(logarithm)), 755000)
    model = keras.Sequential([keras.Input((32,)), keras.layers.Dense(128, activation="relu"), keras.layers.Dense(1)])
    loss = "mean_squared_logarithmic_error" if repaired else "mean_squared_error"
    model.compile(optimizer=keras.optimizers.SGD(0.1), loss=loss, metrics=["mae"])
    return model, x.astype("float32"), y.astype("float32")


def train(model, x, y):
    """Train with batches of 16, as there, for 40 epochs."""
    model.fit(x, y, batch_size=16, epochs=40, verbose=0)


def score(model, x, y):
    """Return the explained share of the variance of the logarithms."""
    return explained(np.log1p(np.maximum(predictions(model, x), 0)), np.log1p(y))
