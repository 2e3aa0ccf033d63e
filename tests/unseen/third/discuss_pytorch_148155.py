"""One linear layer without a bias, starting from zeros, is to learn the sum of three numbers: it learns their mean.

Fault: outputs are a column, targets a row, so that the difference of the loss is a square of all pairs.
Repair (answer): the targets become a column.
"""

import keras
import numpy as np
from _program import explained, predictions

URL = "https://discuss.pytorch.org/t/output-of-the-model-depends-on-the-shape-of-the-weights-tensor/148155"
YEAR = 2022
TOPIC = "regression on tables"
CONFIRMED = "maintainer"
KINDS = ("loss: cannot be met by the shapes",)
VISIBLE = True
EVIDENCE = (
    "outputs of shape (1024, 1) are subtracted from targets of shape (1024,): 1,048,576 differences for 1,024 examples"
)
REPRODUCED = False


class SquaredDifference(keras.losses.Loss):
    """A mean of squared differences that stretches shapes, as that of PyTorch does."""

    def call(self, y_true, y_pred):
        return keras.ops.mean(keras.ops.square(y_pred - y_true))


def build(repaired):
    x = np.random.default_rng(0).uniform(0, 1, (1024, 3)).astype("float32")
    y = x.sum(1)
    if repaired:
        y = y[:, None]
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")])
    model.compile(keras.optimizers.SGD(0.1), SquaredDifference())
    return model, x, y


def train(model, x, y):
    halving = keras.callbacks.ReduceLROnPlateau("loss", factor=0.5, patience=20)
    model.fit(x, y, batch_size=len(x), epochs=500, callbacks=[halving], verbose=0)


def score(model, x, y):
    return explained(predictions(model, x), y)
