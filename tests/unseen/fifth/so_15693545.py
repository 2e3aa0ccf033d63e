"""Rewards of three actions by a network with one hidden layer of tanh, for reinforcement learning: huge weights.

Fault: rewards from -50000 to -5 are the targets of a linear layer; the weights become huge, and the hidden units -1
or 1. Repair (the accepted answer): the logarithm of the rewards. The steps are those of the asker: plain gradient
descent on the output of the chosen action, state by state, without biases. The repaired form has biases as well.
Unknown are the number of hidden units (10 here), the rate (0.01 here), the first weights (those of Keras here) and
the game: here the reward depends on how far the action is from a place that the state tells, in one step. The score
is how often the action with the highest output is the best.
"""

import keras
import numpy as np
from _program import accuracy, predictions
from keras import layers, ops

URL = "https://stackoverflow.com/questions/15693545/training-neural-networks-with-big-linear-output"
YEAR = 2013
TOPIC = "reinforcement learning"
CONFIRMED = "answer"
KINDS = ("targets: scale",)
VISIBLE = True
EVIDENCE = (
    "targets from -49021 to -5 (-10.8 to -1.6 in the repaired form) for outputs with a standard deviation of"
    " 0.24; the first loss is 2.4e7 instead of 14, and the first gradients are about 300 for each weight instead"
    " of 0.5. After training the weights of the hidden layer are 8 to 15175, and outputs do not depend on the"
    " state any more"
)
REPRODUCED = True


def chosen(y_true, y_pred):
    """Half the squared error of the chosen action: rewards and ones for the action in the targets."""
    rewards, actions = y_true[:, :1], y_true[:, 1:]
    return ops.mean(ops.sum(actions * ops.square(y_pred - rewards), 1)) / 2


def distances(x):
    """How far each action, at 0, 0.5 and 1, is from the place that the state tells."""
    return np.abs((0.7 * x[:, :1] + 0.5 * x[:, 1:2] - 0.2 * x[:, 2:]).clip(0, 1) - np.array([[0, 0.5, 1]]))


def build(repaired):
    rng = np.random.default_rng(0)
    x = rng.random((1000, 3)).astype("float32")
    actions = rng.integers(0, 3, len(x))
    logs = 1.6 + 9.2 * distances(x)[np.arange(len(x)), actions]  # of 5 to 50000
    rewards = -(logs if repaired else np.exp(logs))
    model = keras.Sequential([keras.Input((3,))])
    model.add(layers.Dense(10, "tanh", use_bias=repaired))
    model.add(layers.Dense(3, use_bias=repaired))
    model.compile(keras.optimizers.SGD(0.01), chosen)
    return model, x, np.concatenate([rewards[:, None], np.eye(3)[actions]], 1).astype("float32")


def train(model, x, y):
    model.fit(x, y, batch_size=1, epochs=4, verbose=0)


def score(model, x, y):
    return accuracy(predictions(model, x), distances(x).argmin(1))
