"""A recurrent network forecasts the 52 weeks of the next year from those of the last: it repeats what went in.

Fault: there are 9 years, that is 9 examples with 52 values each, too few for an LSTM from sequence to sequence.
Repair (answer): a linear regression from all 52 values to all 52 values.
"""

import keras
import numpy as np
from _program import explained, predictions

URL = "https://stackoverflow.com/questions/47594861"
YEAR = 2017
TOPIC = "time series"
CONFIRMED = "votes"
KINDS = ("data: too little, overfitting",)
VISIBLE = False
EVIDENCE = "none: weights, signals and losses are ordinary, and only the number of examples (9) is small"
REPRODUCED = True


def build(repaired):
    rng = np.random.default_rng(0)
    weeks = np.arange(52)
    season = np.sin(2 * np.pi * weeks / 52) + 0.5 * np.sin(2 * np.pi * weeks / 13 + 1)
    years = season + rng.normal(0, 0.7, (10, 52))
    x, y = years[:-1, :, None].astype("float32"), years[1:, :, None].astype("float32")
    inputs = keras.layers.Input((52, 1))
    if repaired:
        hidden = keras.layers.Dense(52)(keras.layers.Flatten()(inputs))
        outputs = keras.layers.Reshape((52, 1))(hidden)
    else:
        hidden = keras.layers.LSTM(16, return_sequences=True)(inputs)
        outputs = keras.layers.TimeDistributed(keras.layers.Dense(1))(hidden)
    model = keras.Model(inputs, outputs)
    model.compile(optimizer=keras.optimizers.Adam(0.001), loss="mse")
    return model, x, y


def train(model, x, y):
    model.fit(x, y, batch_size=9, epochs=80, verbose=0)


def score(model, x, y):
    return explained(predictions(model, x), y)
