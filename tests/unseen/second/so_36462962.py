"""A deep Q network clips the error of its values to [-1, 1] before the square: the agent does not learn its policy.

Fault: where the error lies outside of [-1, 1] the clipped error is a constant, so that the gradient is zero.
Repair (accepted answer): the gradient is clipped, not the loss, that is the loss of Huber.
The network is that of the paper (convolutions of 4 frames), narrower; the points are those of Breakout (1, 4, 7).
"""

import keras
import numpy as np
from _program import explained, predictions

URL = "https://stackoverflow.com/questions/36462962"
YEAR = 2016
TOPIC = "reinforcement learning"
CONFIRMED = "accepted answer"
KINDS = ("gradient: blocked (not differentiable, stopped, frozen, not connected)",)
VISIBLE = True
EVIDENCE = "33 % of the batch have an error beyond 1 (up to 6.7): their gradient is exactly zero"
REPRODUCED = True

SIZE, ACTIONS = 20, 3


def frames(count=1024):
    """Return stacked frames of a ball that falls, the actions taken and the discounted points that followed."""
    rng = np.random.default_rng(0)
    x, y = np.zeros((count, SIZE, SIZE, 4), "float32"), np.zeros((count, ACTIONS + 1), "float32")
    for i in range(count):
        row, column, paddle = rng.integers(7, SIZE - 4), rng.integers(2, SIZE - 2), rng.integers(2, SIZE - 2)
        points, action = rng.choice([1, 4, 7]), rng.integers(ACTIONS)
        for k in range(4):
            x[i, row - 3 + k, column - 1 : column + 1, k] = 1
            x[i, -2:, paddle - 2 : paddle + 2, k] = 0.6
            x[i, : [1, 4, 7].index(points) + 1, :, k] = 0.8
        steps = SIZE - row
        reached = abs(paddle + action - 1 - column) <= steps // 2
        y[i, action], y[i, -1] = 1, points * 0.99**steps * reached
    return x, y


def chosen(y, values):
    return keras.ops.sum(y[:, :-1] * values, axis=-1)


def clipped_error(y, values):
    return keras.ops.mean(keras.ops.square(keras.ops.clip(y[:, -1] - chosen(y, values), -1, 1)))


def clipped_gradient(y, values):
    size = keras.ops.abs(y[:, -1] - chosen(y, values))
    return keras.ops.mean(keras.ops.where(size < 0.5, size**2, size - 0.25))


def build(repaired):
    model = keras.Sequential(
        [
            keras.Input((SIZE, SIZE, 4)),
            keras.layers.Conv2D(8, 8, strides=4, activation="relu", padding="same"),
            keras.layers.Conv2D(16, 4, strides=2, activation="relu", padding="same"),
            keras.layers.Conv2D(16, 3, activation="relu", padding="same"),
            keras.layers.Flatten(),
            keras.layers.Dense(128, activation="relu"),
            keras.layers.Dense(ACTIONS),
        ]
    )
    optimizer = keras.optimizers.RMSprop(0.00025, rho=0.95)
    model.compile(optimizer, clipped_gradient if repaired else clipped_error)
    x, y = frames()
    return model, x, y


def train(model, x, y):
    model.fit(x, y, batch_size=32, epochs=40, verbose=0)


def score(model, x, y):
    return explained((predictions(model, x) * y[:, :-1]).sum(-1), y[:, -1])
