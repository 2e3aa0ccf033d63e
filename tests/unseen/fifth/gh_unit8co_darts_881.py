"""A series is forecast by the recurrent model of a library, with its default settings: the loss is nan from the start.

Fault: there are NaNs in the series (a maintainer's guess, which the asker confirms).
Repair: they are filled, by a line between the values beside them. The network is that of the library: a simple RNN of
25 units and a linear layer, applied at each step, trained on pieces of 24 values to give the next one, by Adam and the
mean squared error, with batches of 32 and the initial weights of its framework; 20 epochs instead of 100. The series
is not shown in the report: here one of 600 values with a wave of 24, noise and a mean square of about 1, of which 12
are missing. The score is the explained share of the values after those of the complete series.
"""

import keras
import numpy as np
from _program import explained, predictions
from keras import layers

URL = "https://github.com/unit8co/darts/issues/881"
YEAR = 2022
TOPIC = "time series"
CONFIRMED = "maintainer"
KINDS = ("inputs: not finite",)
VISIBLE = True
EVIDENCE = (
    "2 % of the inputs are NaN, in 39 % of the pieces and in as many targets, and the first loss is NaN (1.02 in"
    " the repaired form)"
)
REPRODUCED = True
UNITS, LENGTH = 25, 24


def pieces(series):
    starts = np.arange(0, len(series) - LENGTH)
    x = np.stack([series[start : start + LENGTH] for start in starts])
    y = np.stack([series[start + 1 : start + LENGTH + 1] for start in starts])
    return x[..., None].astype("float32"), y[..., None].astype("float32")


def build(repaired):
    rng = np.random.default_rng(0)
    times = np.arange(600)
    whole = 1.3 * np.sin(2 * np.pi * times / 24) + 0.2 * rng.normal(0, 1, len(times))
    series = whole.copy()
    missing = rng.choice(np.arange(10, 590), 12, replace=False)
    series[missing] = np.nan
    if repaired:
        known = np.isfinite(series)
        series = np.interp(times, times[known], series[known])

    def uniform():
        return keras.initializers.RandomUniform(-(UNITS**-0.5), UNITS**-0.5)

    model = keras.Sequential(
        [
            keras.Input((LENGTH, 1)),
            layers.SimpleRNN(
                UNITS,
                return_sequences=True,
                kernel_initializer=uniform(),
                recurrent_initializer=uniform(),
                bias_initializer=uniform(),
            ),
            layers.Dense(1, kernel_initializer=uniform(), bias_initializer=uniform()),
        ]
    )
    model.compile(keras.optimizers.Adam(0.001), "mse")
    model.whole = pieces(whole)
    return model, *pieces(series)


def train(model, x, y):
    model.fit(x, y, batch_size=32, epochs=20, verbose=0)


def score(model, x, y):
    x, y = model.whole
    return explained(predictions(model, x), y)
