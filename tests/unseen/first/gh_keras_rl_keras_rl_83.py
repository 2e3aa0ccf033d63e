"""The Q-network of an example is set on a race game: all rewards are zero, and nothing is learned.

Fault (maintainer): the agent never comes to a state that gives a reward; its memory holds zeros only.
Repair: a memory of an agent that has come to such states; the maintainer names the cause, not a remedy.
"""

import keras
import numpy as np
from _program import predictions, separated
from keras import ops

URL = "https://github.com/keras-rl/keras-rl/issues/83"
YEAR = 2017
TOPIC = "reinforcement learning"
CONFIRMED = "maintainer"
KINDS = ("data: too little, overfitting",)
VISIBLE = False
EVIDENCE = (
    "all rewards are 0, but the targets hold the discounted outputs as well and vary from 0.02 to 0.09, as in a "
    "sound memory before the first reward"
)
REPRODUCED = True
ACTIONS = 9


def loss(y, q):
    """Squared error of the value of the action taken: y holds the target and the number of the action."""
    return 0.5 * ops.square(y[:, 0] - ops.sum(q * ops.one_hot(ops.cast(y[:, 1], "int32"), ACTIONS), axis=-1))


def frames(rng, count, speeds):
    """Return 4 frames of a road with another car; it comes nearer by the own speed, and is passed at the lower edge."""
    x, passed = np.zeros((count, 20, 20, 4), "float32"), np.zeros(count)
    speed, row, column = rng.choice(speeds, count), rng.integers(0, 12, count), rng.integers(0, 18, count)
    x[:, :, ::19] = 0.4
    for each in range(count):
        for frame in range(4):
            place = min(row[each] + speed[each] * frame, 18)
            x[each, place : place + 2, column[each] : column[each] + 2, frame] = 0.8
        passed[each] = place == 18
    return x, passed


def build(repaired):
    rng = np.random.default_rng(0)
    count = 480
    speeds = (0, 1, 2, 4) if repaired else (0, 1)  # the slow agent never overtakes
    x, passed = frames(rng, count, speeds)
    later, _ = frames(rng, count, speeds)
    action = rng.integers(0, ACTIONS, count)
    model = keras.Sequential(
        [
            keras.Input((20, 20, 4)),
            keras.layers.Conv2D(8, 4, strides=2, activation="relu"),
            keras.layers.Conv2D(16, 3, strides=2, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(64, activation="relu"),
            keras.layers.Dense(ACTIONS),
        ]
    )
    model.compile(keras.optimizers.Adam(0.00025), loss)
    model.memory = (passed, later, action)
    return model, x, targets(model)


def targets(model):
    passed, later, action = model.memory
    return np.stack([passed + 0.5 * predictions(model, later).max(1), action], 1).astype("float32")


def train(model, x, y):
    for _ in range(10):
        model.fit(x, targets(model), batch_size=32, epochs=3, verbose=0)


def score(model, x, y):
    states, passed = frames(np.random.default_rng(1), 300, (0, 1, 2, 4))
    return separated(predictions(model, states).max(1), passed)
