"""Prices of a share are predicted from five numbers by a network of 40 layers in C: the same output for every input.

Fault: each example is learned once, in a loop of one's own, by 40 hidden layers of sigmoids.
Repair (the maintainer): many rounds over the data, in random order, and one layer of ten units. The repaired form also
has weights of Glorot, centred inputs, and a rate of 0.5 instead of 0.01. The inputs are not shown: they are taken as
five earlier prices, divided by the largest one like the target.
"""

import keras
import numpy as np
from _program import explained, predictions
from keras import layers, ops

URL = "https://github.com/codeplea/genann/issues/23"
YEAR = 2018
TOPIC = "losses, layers and training loops of one's own"
CONFIRMED = "maintainer"
KINDS = ("depth: signal or gradient vanishes", "training: epochs, batches, order", "optimizer: rate too small")
VISIBLE = True
EVIDENCE = (
    "the output is the same for all inputs but for 4e-8, and the gradient of the first kernel is 4e-19 to"
    " 5e-18 (0.016 to"
    " 0.034 in the repaired form)"
)
REPRODUCED = True


def half_square(y_true, y_pred):
    return ops.sum(ops.square(y_pred - y_true), -1) / 2


def uniform():
    return keras.initializers.RandomUniform(-0.5, 0.5)


def build(repaired):
    rng = np.random.default_rng(0)
    prices = 60 + 25 * np.sin(np.arange(205) / 9) + rng.normal(0, 2, 205).cumsum() * 0.3
    prices = prices / prices.max()
    x = np.lib.stride_tricks.sliding_window_view(prices[:-1], 5)
    y = prices[5:, None]
    if repaired:
        x = (x - x.mean()) / x.std()
    model = keras.Sequential([keras.Input((5,))])
    for _ in range(1 if repaired else 40):
        weights = {} if repaired else {"kernel_initializer": uniform(), "bias_initializer": uniform()}
        model.add(layers.Dense(10 if repaired else 40, "sigmoid", **weights))
    model.add(layers.Dense(1, "sigmoid", **weights))
    model.compile(keras.optimizers.SGD(0.5 if repaired else 0.01), half_square)
    return model, x.astype("float32"), y.astype("float32")


def train(model, x, y):
    many = len(model.layers) < 10
    model.fit(x, y, batch_size=1, epochs=15 if many else 1, shuffle=many, verbose=0)


def score(model, x, y):
    return explained(predictions(model, x), y)
