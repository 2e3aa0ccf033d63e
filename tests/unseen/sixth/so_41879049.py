"""Sums of five growing numbers are learned by a recurrent network of sigmoids (R's rnn): 1 for every input.

Fault: raw inputs (1 to 1800), and sums up to 8990 as targets of a last sigmoid. The error of an epoch is 4501.
Repair (the answer): the series is differenced, so that its mean is constant. As all differences of the example are
the same, the repaired form scales inputs and targets to 0 to 1 instead, without the trend being taken out: what the
answer left. The numbers are those of the example (360 rows, one step each, ten hidden units, a rate of 0.5, single
examples), with three epochs instead of 1000. Weights within -1 and 1, as in that package (without biases), are
assumed.
"""

import keras
import numpy as np
from _program import explained, predictions
from keras import layers, ops

URL = "https://stackoverflow.com/questions/41879049/why-does-rnn-always-output-1"
YEAR = 2017
TOPIC = "time series"
CONFIRMED = "answer"
KINDS = ("inputs: scale or offset", "targets: beyond the last activation", "activation: saturated")
VISIBLE = True
EVIDENCE = (
    "the sums of the hidden units are of the order of a thousand, so that these are saturated, and the targets of"
    " 15 to 8990 are beyond the sigmoid; the first loss is about 1e7 in the mean"
)
REPRODUCED = True


def half_square(y_true, y_pred):
    return ops.mean(ops.square(y_pred - y_true)) / 2


def build(repaired):
    x = np.arange(1, 1801, dtype="float64").reshape(360, 1, 5)
    y = x.sum(-1)
    if repaired:
        x = (x - x.min()) / (x.max() - x.min())
        y = (y - y.min()) / (y.max() - y.min())

    def weights():
        return keras.initializers.RandomUniform(-1, 1)

    model = keras.Sequential(
        [
            keras.Input((1, 5)),
            layers.SimpleRNN(
                10, "sigmoid", use_bias=repaired, kernel_initializer=weights(), recurrent_initializer=weights()
            ),
            layers.Dense(1, "sigmoid", use_bias=repaired, kernel_initializer=weights()),
        ]
    )
    model.compile(keras.optimizers.SGD(0.5), half_square)
    return model, x.astype("float32"), y.astype("float32")


def train(model, x, y):
    model.fit(x, y, batch_size=1, epochs=3, verbose=0)


def score(model, x, y):
    return explained(predictions(model, x), y)
