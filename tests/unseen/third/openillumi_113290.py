"""Curves of 1500 points, of seven shapes, are classified by a plain RNN: the loss does not go down.

Fault: a plain RNN forgets, and its gradient vanishes, over so many steps.
Repair (answer as told by the page, LSTM or CNN): convolutions over the time in place of the RNN.
The stored page names no widths and no optimizer: 64 units, Adam with 0.001 and cross-entropy are assumed;
300 points instead of 1500.
"""

import keras
import numpy as np
from _program import accuracy, predictions
from keras import layers

URL = "https://openillumi.com/en/en-pytorch-timeseries-rnn-limit-lstm-cnn"
YEAR = 2020
TOPIC = "time series"
CONFIRMED = "votes"
KINDS = ("recurrence: memory",)
VISIBLE = True
EVIDENCE = (
    "root mean square of the gradient of the loss: 9e-4 for the last point of the curves, 4e-6 for the point ten "
    "before, 3e-11 for that thirty before, exactly 0 for the first 200 of 300"
)
REPRODUCED = True
POINTS, UNITS = 300, 64


def uniform(fan):
    return keras.initializers.RandomUniform(-(fan**-0.5), fan**-0.5)


def build(repaired):
    rng = np.random.default_rng(0)
    time, count = np.linspace(0, 1, POINTS), 210
    y = np.arange(count) % 7
    shapes = (
        lambda at: 1 / (1 + np.exp(-20 * (time - at))),
        lambda at: 1 / (1 + np.exp(20 * (time - at))),
        lambda at: np.exp(-((time - at) ** 2) / 0.01),
        lambda at: 1 - np.exp(-((time - at) ** 2) / 0.01),
        lambda at: 0.5 + 0.5 * np.sin(2 * np.pi * (4 * time + at)),
        lambda at: 0.5 + 0.5 * np.sin(2 * np.pi * (12 * time + at)),
        lambda at: 0.5 + 0 * time,
    )
    curves = np.stack([shapes[shape](rng.uniform(0.25, 0.75)) for shape in y])
    x = (curves + 0.05 * rng.normal(size=curves.shape))[:, :, None].astype("float32")

    model = keras.Sequential([keras.Input((POINTS, 1))])
    if repaired:
        for fan, filters in ((7, 16), (7 * 16, UNITS)):
            model.add(
                layers.Conv1D(
                    filters, 7, 3, activation="relu", kernel_initializer=uniform(fan), bias_initializer=uniform(fan)
                )
            )
        model.add(layers.GlobalMaxPooling1D())
    else:
        model.add(
            layers.SimpleRNN(
                UNITS,
                kernel_initializer=uniform(UNITS),
                recurrent_initializer=uniform(UNITS),
                bias_initializer=uniform(UNITS),
            )
        )
    model.add(layers.Dense(7, kernel_initializer=uniform(UNITS), bias_initializer=uniform(UNITS)))
    model.compile(keras.optimizers.Adam(0.001), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model, x, y


def train(model, x, y):
    model.fit(x, y, batch_size=35, epochs=12, verbose=0)


def score(model, x, y):
    return accuracy(predictions(model, x), y)
