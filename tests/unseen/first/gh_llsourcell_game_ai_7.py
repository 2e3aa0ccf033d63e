"""A deep Q-network does not learn anything useful of a pinball game.

Fault: the targets use the number of the best action in the next state, an argmax, as if it were its value.
Repair (asker): the largest value itself.
The linked program also takes the largest of the values times the mask of the action, which blocks the gradient where
the value of the action is negative; the repaired form takes the value of the action.
"""

import keras
import numpy as np
from _program import accuracy, predictions
from keras import ops

URL = "https://github.com/llSourcell/Game-AI/issues/7"
YEAR = 2016
TOPIC = "reinforcement learning"
CONFIRMED = "asker"
KINDS = ("labels: wrong or shifted", "gradient: blocked (not differentiable, stopped, frozen, not connected)")
VISIBLE = True
EVIDENCE = (
    "30 % of the actions taken have a negative value, and these examples give no gradient at all; the targets "
    "reach 5.95, while rewards are at most 1 and no output is above 0.14"
)
REPRODUCED = True
ACTIONS = 6


def frames(rng, count):
    """Return two frames of a field with a moving ball, and the column in which it will arrive."""
    column, drift = rng.integers(0, 12, count), rng.integers(-1, 2, count)
    x = np.zeros((count, 12, 12, 2), "float32")
    each, row = np.arange(count), rng.integers(2, 8, count)
    x[each, row, column, 0] = 1
    goal = np.clip(column + drift, 0, 11)
    x[each, row + 1, goal, 1] = 1
    return x, goal // 2


def targets(model, memory, repaired):
    action, reward, later, end = memory
    q = predictions(model, later)
    best = q.max(1) if repaired else q.argmax(1)
    return np.stack([reward + (1 - end) * 0.99 * best, action], 1).astype("float32")


def build(repaired):
    rng = np.random.default_rng(0)
    count = 640
    x, goal = frames(rng, count)
    later, _ = frames(rng, count)
    action = rng.integers(0, ACTIONS, count)
    reward = np.where(action == goal, 1.0, np.where(np.abs(action - goal) > 2, -1.0, 0.0))

    def loss(y, q):
        """Half the squared error up to 1, then half of the excess, as in the program."""
        chosen = q * ops.one_hot(ops.cast(y[:, 1], "int32"), ACTIONS)
        chosen = ops.sum(chosen, axis=-1) if repaired else ops.max(chosen, axis=-1)
        error = ops.abs(y[:, 0] - chosen)
        near = ops.clip(error, 0, 1)
        return 0.5 * (ops.square(near) + error - near)

    model = keras.Sequential(
        [
            keras.Input((12, 12, 2)),
            keras.layers.Conv2D(8, 4, strides=2, activation="relu"),
            keras.layers.Conv2D(16, 3, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(64, activation="relu"),
            keras.layers.Dense(ACTIONS),
        ]
    )
    model.compile(keras.optimizers.RMSprop(1e-3, rho=0.95), loss)
    model.memory, model.repaired, model.goal = (action, reward, later, rng.random(count) < 0.1), repaired, goal
    return model, x, targets(model, model.memory, repaired)


def train(model, x, y):
    for _ in range(6):
        model.fit(x, targets(model, model.memory, model.repaired), batch_size=32, epochs=4, verbose=0)


def score(model, x, y):
    return accuracy(predictions(model, x), model.goal)
