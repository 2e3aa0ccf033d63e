"""A small network is to learn the cubes of the whole numbers from 1 to 3999: it does not.

Fault: inputs up to 4,000 and targets up to 6 * 10^10 go into the network as they are.
Repair (answer of the forum's expert, who shows that it learns): inputs and targets are standardized.
The layers are those of the answer; the asker's network was not in the stored text.
"""

import keras
import numpy as np
from _program import explained, predictions
from keras import initializers, layers

URL = "https://discuss.pytorch.org/t/neural-network-could-not-learn-on-this-type-of-data-why/96648"
YEAR = 2020
TOPIC = "regression on tables"
CONFIRMED = "maintainer"
KINDS = ("inputs: scale or offset", "targets: scale")
VISIBLE = True
EVIDENCE = (
    "inputs have a root mean square of 2,309, targets of 2.4 * 10^10, outputs of 511; the first loss is 5.8 * 10^20"
)
REPRODUCED = True


def linear(inputs, units, activation=None):
    """Return a layer that starts as the linear layers of PyTorch do."""
    kernel = initializers.VarianceScaling(1 / 3, "fan_in", "uniform")
    bias = initializers.RandomUniform(-(inputs**-0.5), inputs**-0.5)
    return layers.Dense(units, activation, kernel_initializer=kernel, bias_initializer=bias)


def build(repaired):
    x = np.arange(1, 4000, dtype="float64")[:, None]
    y = x**3
    if repaired:
        x, y = (x - x.mean()) / x.std(), (y - y.mean()) / y.std()
    model = keras.Sequential([keras.Input((1,)), linear(1, 50, "relu"), linear(50, 1)])
    model.compile(keras.optimizers.Adam(0.001), "mse")
    return model, x.astype("float32"), y.astype("float32")


def train(model, x, y):
    for _ in range(1000):
        model.train_on_batch(x, y)


def score(model, x, y):
    return explained(predictions(model, x), y)
