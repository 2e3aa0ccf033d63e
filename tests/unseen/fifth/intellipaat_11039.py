"""The product of two numbers is learned by one hidden layer in Azure's studio, without normalization: accuracy near 0.

Fault: the gradient of the large products forces the hidden units into a state in which all have a zero gradient.
Repair (the answer): all numbers are divided by a constant before the learning. The repaired form also has centred
inputs, weights of Glorot instead of within 0.05, and a rate of 0.1 instead of 0.005. Factors from 1 to 80 are assumed
(6500 examples are about all their pairs), and sigmoids as by default there; 30 hidden units, 400 of the pairs, and 5
rounds instead of 200 of the faulty form (40 of the repaired one, with batches of 4).
"""

import keras
import numpy as np
from _program import explained, predictions
from keras import layers, ops

URL = "https://intellipaat.com/community/11039"
YEAR = 2019
TOPIC = "regression on tables"
CONFIRMED = "answer"
KINDS = ("targets: scale", "inputs: scale or offset", "activation: saturated")
VISIBLE = True
EVIDENCE = (
    "targets of 10 to 5850 and inputs of 1 to 80: a first loss of 2.8 million (1 to 2 in the repaired form),"
    " and a gradient"
    " of the first kernel of 2600 to 3700 for weights of 0.23"
)
REPRODUCED = True


def half_square(y_true, y_pred):
    return ops.mean(ops.square(y_pred - y_true)) / 2


def build(repaired):
    rng = np.random.default_rng(0)
    x = rng.integers(1, 81, (400, 2)).astype("float32")
    y = x.prod(1, keepdims=True)
    if repaired:
        x, y = (x - 40.5) / 23, y / 1600
    model = keras.Sequential([keras.Input((2,))])
    for units, activation in ((30, "sigmoid"), (1, None)):
        weights = "glorot_uniform" if repaired else keras.initializers.RandomUniform(-0.05, 0.05)
        model.add(layers.Dense(units, activation, kernel_initializer=weights))
    model.compile(keras.optimizers.SGD(0.1 if repaired else 0.005), half_square)
    return model, x, y


def train(model, x, y):
    scaled = y.max() < 10
    model.fit(x, y, batch_size=4 if scaled else 1, epochs=40 if scaled else 5, verbose=0)


def score(model, x, y):
    return explained(predictions(model, x), y)
