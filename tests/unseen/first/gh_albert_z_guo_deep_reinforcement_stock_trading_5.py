"""A trading agent by deep Q-learning: the loss that it reports lies in the millions.

Fault: the last layer is a softmax, but the targets are gains in dollars, in the thousands; nothing converges.
Repair: the maintainer took the rate for the cause and changed it (the commit of that day sets 0.01 instead of 0.001);
the evident faults, which he left in place, are mended too: a linear last layer, and rewards in thousands of dollars.
"""

import keras
import numpy as np
from _program import explained, predictions

URL = "https://github.com/Albert-Z-Guo/Deep-Reinforcement-Stock-Trading/issues/5"
YEAR = 2020
TOPIC = "reinforcement learning"
CONFIRMED = "maintainer"
KINDS = ("targets: beyond the last activation", "targets: scale")
VISIBLE = True
EVIDENCE = (
    "targets from -6493 to 6034 dollars for a softmax, whose outputs lie between 0 and 1; the loss of the batch "
    "is 3 million"
)
REPRODUCED = False


def build(repaired):
    rng = np.random.default_rng(0)
    count, window, funds = 800, 10, 50000.0
    prices = 1100 * np.exp(np.cumsum(rng.normal(8e-4, 0.01, count + window + 1)))
    changes = np.diff(prices)
    held = np.cumsum(rng.integers(-1, 2, count)) % 20
    price = prices[window : window + count]
    balance = funds - held * prices[: window + count].mean()
    state = [1 / (1 + np.exp(-changes[start : start + window])) for start in range(count)]
    portfolio = np.stack([np.log(price), np.log(balance), np.log(held + 1e-6)], 1)
    x = np.concatenate([state, portfolio], 1).astype("float32")
    unit = 1000 if repaired else 1
    gain, action = (held * price + balance - funds) / unit, rng.integers(0, 3, count)

    model = keras.Sequential(
        [
            keras.Input((window + 3,)),
            keras.layers.Dense(64, activation="relu"),
            keras.layers.Dense(32, activation="relu"),
            keras.layers.Dense(8, activation="relu"),
            keras.layers.Dense(3, activation="linear" if repaired else "softmax"),
        ]
    )
    model.compile(keras.optimizers.Adam(0.01 if repaired else 0.001), "mse")
    model.memory = gain, action
    return model, x, targets(model, x)


def targets(model, x):
    """Return the outputs, with the gain of the portfolio in place of that of the action taken."""
    gain, action = model.memory
    y = predictions(model, x)
    y[np.arange(len(x)), action] = gain
    return y.astype("float32")


def train(model, x, y):
    for _ in range(30):
        model.fit(x, targets(model, x), batch_size=32, verbose=0)


def score(model, x, y):
    gain, action = model.memory
    return explained(predictions(model, x)[np.arange(len(x)), action], gain)
