"""House values (13 columns, as they are) are predicted with Adam: the reported accuracy is 0.

Fault: accuracy is reported for a regression, where it means nothing; the training itself is as it should be.
Repair (maintainer): no accuracy; the absolute error is reported.
"""

import keras
import numpy as np
from _program import explained, predictions

URL = "https://github.com/rstudio/keras3/issues/30"
YEAR = 2017
TOPIC = "regression on tables"
CONFIRMED = "maintainer"
KINDS = ("evaluation or other code",)
VISIBLE = False
EVIDENCE = "weights, signals and gradients are the same in both forms; only the reported metric differs"
REPRODUCED = False


def build(repaired):
    """Return the compiled model, columns with the ranges of the housing table, and values of 5 to 50."""
    random = np.random.default_rng(0)
    rooms, status = random.normal(6.3, 0.7, size=200), random.gamma(3, 4.2, size=200)
    x = np.stack(
        [
            random.exponential(3.6, size=200),
            random.choice([0, 0, 0, 20, 40, 80], size=200),
            random.uniform(0.5, 27, size=200),
            random.random(200) < 0.07,
            random.uniform(0.38, 0.87, size=200),
            rooms,
            random.uniform(3, 100, size=200),
            random.gamma(3, 1.3, size=200),
            random.choice([1, 4, 5, 24], size=200),
            random.uniform(187, 711, size=200),
            random.uniform(12.6, 22, size=200),
            396.9 - random.exponential(40, size=200),
            status,
        ],
        axis=1,
    )
    y = np.clip(np.round(23 + 6 * (rooms - 6.3) - 0.6 * (status - 12) + random.normal(0, 2, size=200), 1), 5, 50)
    model = keras.Sequential(
        [keras.Input((13,)), keras.layers.Dense(13), keras.layers.Activation("relu"), keras.layers.Dense(1)]
    )
    model.compile(optimizer="adam", loss="mean_squared_error", metrics=["mae" if repaired else "accuracy"])
    return model, x.astype("float32"), y.astype("float32")


def train(model, x, y):
    """Train with batches of 5, as there, for 20 epochs."""
    model.fit(x, y, batch_size=5, epochs=20, verbose=0)


def score(model, x, y):
    """Return the explained share of the variance."""
    return explained(predictions(model, x), y)
