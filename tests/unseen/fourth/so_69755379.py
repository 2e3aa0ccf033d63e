"""Half of a number, from 1 to 20, by one linear unit: the loss grows at each epoch, from 451 to 1e13 and on.

Fault: the default rate of SGD, 0.01, is too large for numbers up to 20 as they are.
Repair (accepted answer, as told by a page: a rate of 0.0001): the inputs are standardized, which mends the raw inputs
that the answer left, and for which 0.01 is a sound rate.
150 epochs instead of 500; all 20 numbers are one batch, as there.
"""

import keras
import numpy as np
from _program import explained, predictions
from keras import layers

URL = "https://stackoverflow.com/questions/69755379/why-is-my-loss-function-increasing-with-each-epoch"
YEAR = 2021
TOPIC = "time series"
CONFIRMED = "votes"
KINDS = ("optimizer: rate too large", "inputs: scale or offset")
VISIBLE = True
EVIDENCE = (
    "the inputs have a mean of 10.5 and a mean square of 143.5, so that the largest curvature of the loss is 288;"
    " 0.01 times that is 2.9, and more than 2 diverges; the first step multiplies the loss by 3.6 (in the report)"
)
REPRODUCED = True


def build(repaired):
    x = np.arange(1, 21, dtype="float32")[:, None]
    y = x / 2
    if repaired:
        x = (x - x.mean()) / x.std()
    model = keras.Sequential([keras.Input((1,)), layers.Dense(1)])
    model.compile("sgd", "mean_squared_error")
    return model, x, y


def train(model, x, y):
    model.fit(x, y, epochs=150, verbose=0)


def score(model, x, y):
    return explained(predictions(model, x), y)
