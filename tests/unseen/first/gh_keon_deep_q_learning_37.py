"""The simplest deep Q-network for the cart and pole: the scores fall to 10, less than by chance.

Fault: the network gives its own targets while it learns; that goes wrong as soon as the random actions get rare.
Repair (maintainer): a second network, copied after each episode, gives the targets (double Q-learning).
Shortened: one step on a batch instead of a step for each of its examples.
"""

import keras
import numpy as np

URL = "https://github.com/keon/deep-q-learning/issues/37"
YEAR = 2023
TOPIC = "reinforcement learning"
CONFIRMED = "maintainer"
KINDS = ("training: epochs, batches, order",)
VISIBLE = False
EVIDENCE = (
    "not reproduced in 900 steps; batch, model and targets are the same in both forms, and the difference comes "
    "with later steps"
)
REPRODUCED = False


def moved(state, action):
    """Return the state of the cart and pole after 0.02 s, by the equations of the known environment."""
    place, speed, angle, turn = state
    part = ((10.0 if action else -10.0) + 0.05 * turn**2 * np.sin(angle)) / 1.1
    bent = (9.8 * np.sin(angle) - np.cos(angle) * part) / (0.5 * (4 / 3 - 0.1 * np.cos(angle) ** 2 / 1.1))
    gain = part - 0.05 * bent * np.cos(angle) / 1.1
    state = np.array([place + 0.02 * speed, speed + 0.02 * gain, angle + 0.02 * turn, turn + 0.02 * bent])
    return state, abs(state[2]) > 0.21 or abs(state[0]) > 2.4


def values(weights, states):
    for kernel, bias in zip(weights[0:4:2], weights[1:4:2], strict=True):
        states = np.maximum(states @ kernel + bias, 0)
    return states @ weights[4] + weights[5]


def targets(now, other, rows):
    """Return the values of both actions, with the target in place of that of the action taken."""
    each, best = np.arange(len(rows)), values(now, rows[:, 6:10]).argmax(1)
    y = values(now, rows[:, :4])
    later = values(other, rows[:, 6:10])[each, best]
    y[each, rows[:, 4].astype(int)] = rows[:, 5] + 0.95 * (1 - rows[:, 10]) * later
    return y.astype("float32")


def play(choose, steps, learn=None):
    """Play for some steps; return the rows of the memory and the lengths of the episodes."""
    rng = np.random.default_rng(0)
    rows, lengths, state, length = [], [], rng.uniform(-0.05, 0.05, 4), 0
    for step in range(steps):
        action = choose(state, step, rng)
        later, end = moved(state, action)
        rows.append([*state, action, -10.0 if end else 1.0, *later, end])
        state, length = later, length + 1
        if end or length == 500:
            lengths.append(length)
            state, length = rng.uniform(-0.05, 0.05, 4), 0
        if learn and step >= 32:
            learn(np.array(rows), length == 0, rng)
    return np.array(rows), lengths


def build(repaired):
    hidden = [keras.layers.Dense(24, activation="relu") for _ in range(2)]
    model = keras.Sequential([keras.Input((4,)), *hidden, keras.layers.Dense(2)])
    model.compile(keras.optimizers.Adam(0.001), "mse")
    model.double = repaired
    rows, _ = play(lambda state, step, rng: rng.integers(2), 256)
    weights = model.get_weights()
    return model, rows[:, :4].astype("float32"), targets(weights, weights, rows)


def train(model, x, y):
    weights = {"now": model.get_weights(), "target": model.get_weights()}

    def choose(state, step, rng):
        if rng.random() < max(0.01, 0.995**step):
            return rng.integers(2)
        return values(weights["now"], state[None])[0].argmax()

    def learn(rows, end, rng):
        batch = rows[rng.integers(0, len(rows), 32)]
        other = weights["target" if model.double else "now"]
        model.train_on_batch(batch[:, :4].astype("float32"), targets(weights["now"], other, batch))
        weights["now"] = model.get_weights()
        if end:
            weights["target"] = weights["now"]

    _, model.lengths = play(choose, 900, learn)


def score(model, x, y):
    return float(np.clip((np.mean(model.lengths[-5:]) - 10) / 190, 0, 1))
