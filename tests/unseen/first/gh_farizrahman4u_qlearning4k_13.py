"""A board game is learned by a Q-network with plain SGD at a rate of 0.2: the loss becomes NaN within an epoch.

Fault: the rate of 0.2 of the example is far too large for the rewards of the asker's own game.
Repair (asker): a rate of 0.001.
The rewards of that game are not said; points from -25 to 20 are assumed.
"""

import keras
import numpy as np
from _program import explained, predictions

URL = "https://github.com/farizrahman4u/qlearning4k/issues/13"
YEAR = 2016
TOPIC = "reinforcement learning"
CONFIRMED = "asker"
KINDS = ("optimizer: rate too large",)
VISIBLE = False
EVIDENCE = (
    "the first step at 0.2 still lowers the loss of the batch, from 153 to 136, though it moves the last kernel "
    "by a third of its norm; the divergence comes in later steps"
)
REPRODUCED = True


def build(repaired):
    rng = np.random.default_rng(0)
    count, size = 800, 10
    x = np.zeros((count, 1, size, size), "float32")
    piece, column, row = rng.integers(0, size, (3, count))
    each = np.arange(count)
    x[each, 0, row, column] = 1
    x[each, 0, size - 1, piece] = 2
    # The points of the moves left, stay and right: 20 for a catch, less with the distance.
    moved = np.clip(piece[:, None] + np.array([-1, 0, 1]), 0, size - 1)
    y = (20 - 5 * np.abs(moved - column[:, None])).astype("float32")

    start = {"kernel_initializer": "glorot_uniform"}
    model = keras.Sequential(
        [
            keras.Input((1, size, size)),
            keras.layers.Flatten(),
            keras.layers.Dense(100, activation="relu", **start),
            keras.layers.Dense(100, activation="relu", **start),
            keras.layers.Dense(3, **start),
        ]
    )
    model.compile(keras.optimizers.SGD(0.001 if repaired else 0.2), "mse")
    return model, x, y


def train(model, x, y):
    model.fit(x, y, batch_size=32, epochs=60, verbose=0)


def score(model, x, y):
    return explained(predictions(model, x), y)
