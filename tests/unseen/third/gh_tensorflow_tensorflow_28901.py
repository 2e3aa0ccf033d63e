"""A simple regression learns in fit, but not in a training loop of one's own.

Fault: the loop compares outputs of shape (16, 1) with targets of shape (16,), which makes 256 differences.
Repair (a commenter; the asker confirms it): the targets get a second axis.
The layers and the optimizer were not in the stored text: two dense layers and Adam were taken.
"""

import keras
import numpy as np
from _program import explained, predictions

URL = "https://github.com/tensorflow/tensorflow/issues/28901"
YEAR = 2019
TOPIC = "losses, layers and training loops of one's own"
CONFIRMED = "asker"
KINDS = ("loss: cannot be met by the shapes",)
VISIBLE = True
EVIDENCE = "outputs of shape (16, 1) are subtracted from targets of shape (16,): 256 differences for 16 examples"
REPRODUCED = True


class LoopLoss(keras.losses.Loss):
    """What the loop takes as its loss: no shape is brought into line."""

    def call(self, y_true, y_pred):
        return keras.ops.mean(keras.ops.square(y_true - y_pred))


def build(repaired):
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (320, 1)).astype("float32")
    y = (2 * x[:, 0] + 0.5 * np.sin(5 * x[:, 0]) + 0.05 * rng.normal(size=320)).astype("float32")
    if repaired:
        y = y[:, None]
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(32, activation="relu"), keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(0.001), LoopLoss())
    return model, x, y


def train(model, x, y):
    rng = np.random.default_rng(1)
    for _ in range(60):
        for rows in rng.permutation(len(x)).reshape(-1, 16):
            model.train_on_batch(x[rows], y[rows])


def score(model, x, y):
    return explained(predictions(model, x), y)
