"""The line y = 2 x + 1 is learned by a default network for tables: the same prediction for every input.

Fault: the width of the layers follows from the number of inputs: two units of ReLU, and then a single one, which are
often all dead for every input.
Repair (the maintainer, with the parameters printed, and tests): no layer has fewer than eight units. The repaired form
also has a rate of 0.01 instead of Adam's default of 0.001, with which 60 rounds are too few for it (the maintainer's
loss ends at 0.99, above the variance of the targets).
"""

import keras
import numpy as np
from _program import explained, predictions
from keras import layers

URL = "https://github.com/ooples/AiDotNet/pull/1578"
YEAR = 2026
TOPIC = "regression on tables"
CONFIRMED = "maintainer"
KINDS = ("activation: dead units", "capacity", "optimizer: rate too small")
VISIBLE = False
EVIDENCE = (
    "with the first weights all outputs are the same and gradients zero but for the last bias, in 32 of 60"
    " seeds, yet only"
    " in the last of the three that count (0.96, 0.20, 0.00); in the others a narrow network and the rate are left. The"
    " first weights of the repository are taken as those of He"
)
REPRODUCED = True


def build(repaired):
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 1, (70, 1)).astype("float32")
    model = keras.Sequential([keras.Input((1,))])
    for units in (8, 8) if repaired else (2, 1):
        model.add(layers.Dense(units, "relu", kernel_initializer="he_normal"))
    model.add(layers.Dense(1))
    model.compile(keras.optimizers.Adam(0.01 if repaired else 0.001), "mse")
    return model, x, 2 * x + 1


def train(model, x, y):
    model.fit(x, y, batch_size=10, epochs=60, verbose=0)


def score(model, x, y):
    return explained(predictions(model, x), y)
