"""A policy gradient agent gives nothing but NaN after its first lessons.

Fault: the returns of an episode are divided by their standard deviation, which is 0 where all of them are alike
(an episode without any reward).
Repair (asker and maintainer): the returns are centred only.
"""

import keras
import numpy as np
from _program import accuracy, predictions

URL = "https://github.com/MorvanZhou/Reinforcement-learning-with-tensorflow/issues/99"
YEAR = 2018
TOPIC = "reinforcement learning"
CONFIRMED = "asker"
KINDS = ("loss: value or gradient not finite",)
VISIBLE = True
EVIDENCE = "the returns of the first episode (10 of the first 10 rows of y) are NaN, so is the loss; 28 % in all"
REPRODUCED = True

STEPS = 10


def policy_loss(taken, logits):
    """Return the negative log of the chance of each action, times its return."""
    chances = keras.ops.log_softmax(logits)
    chosen = keras.ops.one_hot(keras.ops.cast(taken[:, 0], "int32"), 3)
    return -keras.ops.sum(chances * chosen, axis=-1) * taken[:, 1]


def build(repaired):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, STEPS, 4)).astype("float32")
    actions = rng.integers(0, 3, (40, STEPS))
    rewards = (actions == x[..., :3].argmax(-1)).astype("float32")
    rewards[::4] = 0  # in every fourth episode nothing is to be won
    returns = np.zeros_like(rewards)
    running = np.zeros(40)
    for step in reversed(range(STEPS)):
        running = running * 0.95 + rewards[:, step]
        returns[:, step] = running
    returns -= returns.mean(1, keepdims=True)
    if not repaired:
        with np.errstate(invalid="ignore"):
            returns /= returns.std(1, keepdims=True)
    y = np.stack([actions, returns], -1).astype("float32")
    start = {
        "kernel_initializer": keras.initializers.RandomNormal(stddev=0.3),
        "bias_initializer": keras.initializers.Constant(0.1),
    }
    model = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(10, "tanh", **start), keras.layers.Dense(3, **start)]
    )
    model.compile(keras.optimizers.Adam(0.01), policy_loss)
    return model, x.reshape(-1, 4), y.reshape(-1, 2)


def train(model, x, y):
    model.fit(x, y, batch_size=STEPS, epochs=15, shuffle=False, verbose=0)


def score(model, x, y):
    return accuracy(predictions(model, x), x[:, :3].argmax(-1))
