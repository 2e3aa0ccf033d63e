"""The adding problem (sum of two marked numbers of a sequence) for an LSTM: the error stays at the variance.

Fault: the batches are (batch, time, 2), but the LSTM takes the first axis for the time, as that of PyTorch does.
Repair (asker, confirmed and committed by the maintainer): the time goes where the LSTM expects it.
Ten time steps instead of 100 and 32 units instead of 128; the rate is the 0.002 of the asker's trials, not 0.0002.
"""

import keras
import numpy as np
from _program import explained
from keras import ops

URL = "https://github.com/StefOe/indrnn-pytorch/issues/3"
YEAR = 2018
TOPIC = "time series"
CONFIRMED = "maintainer"
KINDS = ("inputs: examples mixed (time and batch, a reshape across examples)",)
VISIBLE = True
EVIDENCE = (
    "the gradient of the output for example 20 of a batch is 0 for its own earlier time steps, and 0.0051 for the"
    " 20 examples before it (0.0044 for its own last step)"
)
REPRODUCED = True
STEPS, UNITS, BATCH = 10, 32, 50


def uniform(fan):
    return keras.initializers.RandomUniform(-(fan**-0.5), fan**-0.5)


class TorchLSTM(keras.layers.Layer):
    """An LSTM with the initial weights of PyTorch that runs along the first or the second axis."""

    def __init__(self, units, batch_first, **kwargs):
        super().__init__(**kwargs)
        self.units, self.batch_first = units, batch_first
        self.lstm = keras.layers.LSTM(
            units,
            return_sequences=True,
            kernel_initializer=uniform(units),
            recurrent_initializer=uniform(units),
            bias_initializer=uniform(units),
            unit_forget_bias=False,
        )

    def build(self, shape):
        self.lstm.build(shape)

    def call(self, x):
        if self.batch_first:
            return self.lstm(x)
        return ops.transpose(self.lstm(ops.transpose(x, (1, 0, 2))), (1, 0, 2))

    def compute_output_shape(self, shape):
        return (*shape[:2], self.units)


def build(repaired):
    rng = np.random.default_rng(0)
    count = 2000
    values, marks = rng.random((count, STEPS)), np.zeros((count, STEPS))
    marks[np.arange(count), rng.integers(0, STEPS // 2, count)] = 1
    marks[np.arange(count), rng.integers(STEPS // 2, STEPS, count)] = 1
    x = np.stack([values, marks], -1).astype("float32")
    y = (values * marks).sum(1, keepdims=True).astype("float32")

    inputs = keras.Input((STEPS, 2))
    hidden = TorchLSTM(UNITS, batch_first=repaired)(inputs)[:, -1]
    outputs = keras.layers.Dense(1, kernel_initializer=uniform(UNITS), bias_initializer=uniform(UNITS))(hidden)
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.Adam(0.002), "mse")
    return model, x, y


def train(model, x, y):
    model.fit(x, y, batch_size=BATCH, epochs=12, verbose=0)


def score(model, x, y):
    return explained(np.concatenate([model.predict_on_batch(x[at : at + BATCH]) for at in range(0, len(x), BATCH)]), y)
