"""A recurrent generator of SMILES is tuned with rewards (REINFORCE): its weights do not change, the gradients are None.

Fault: the log-probabilities of the chosen characters are taken out of the graph (numpy, item) before the product with
the reward, so that the loss has no path to the weights.
Repair (maintainer): the loss keeps the log-probabilities in the graph.
The report starts from a trained generator (GRU with a stack, Adadelta with 0.001); here a small GRU starts from
nothing, so Adadelta has its own rate of 1. A zero times the outputs keeps the loss differentiable for all backends:
gradients are zero instead of None.
"""

import keras
import numpy as np
from _program import predictions, separated

URL = "https://github.com/isayev/ReLeaSE/issues/39"
YEAR = 2021
TOPIC = "reinforcement learning"
CONFIRMED = "maintainer"
KINDS = ("gradient: blocked (not differentiable, stopped, frozen, not connected)",)
VISIBLE = True
EVIDENCE = "the gradient of a batch is exactly zero for all six weights, while its loss is 8.8"
REPRODUCED = True

CHARACTERS, LENGTH = 20, 24


def trajectories(count=256):
    """Return strings of characters that were drawn, with the next characters and the discounted rewards."""
    rng = np.random.default_rng(0)
    wanted = rng.random(count) < 0.5
    tokens = rng.integers(0, CHARACTERS, (count, LENGTH + 1))
    for i in np.flatnonzero(wanted):
        places = rng.random(LENGTH) < 0.4
        tokens[i, 1:][places] = (tokens[i, :-1][places] + 3) % CHARACTERS
    rewards = np.where(wanted, 10.0, 0.5)[:, None] * 0.97 ** np.arange(LENGTH)[::-1]
    return tokens[:, :-1].astype("int32"), np.stack([tokens[:, 1:], rewards], -1).astype("float32")


def chosen(y, probabilities):
    rows = keras.ops.one_hot(keras.ops.cast(y[..., 0], "int32"), CHARACTERS)
    return keras.ops.sum(rows * keras.ops.log(probabilities + 1e-7), axis=-1)


def policy_loss(y, probabilities):
    return -keras.ops.mean(chosen(y, probabilities) * y[..., 1])


def detached_loss(y, probabilities):
    logs = keras.ops.stop_gradient(chosen(y, probabilities))
    return -keras.ops.mean(logs * y[..., 1]) + 0.0 * keras.ops.mean(probabilities)


def build(repaired):
    model = keras.Sequential(
        [
            keras.Input((LENGTH,), dtype="int32"),
            keras.layers.Embedding(CHARACTERS, 32),
            keras.layers.GRU(48, return_sequences=True),
            keras.layers.Dense(CHARACTERS, activation="softmax"),
        ]
    )
    model.compile(keras.optimizers.Adadelta(1.0), policy_loss if repaired else detached_loss)
    x, y = trajectories()
    return model, x, y


def train(model, x, y):
    model.fit(x, y, batch_size=16, epochs=20, verbose=0)


def score(model, x, y):
    """Return how well the probabilities of strings by the policy separate well rewarded from other ones."""
    probabilities = np.take_along_axis(predictions(model, x), y[..., :1].astype(int), -1)
    return separated(np.log(probabilities + 1e-7).sum((1, 2)), y[:, -1, 1] > 1)
