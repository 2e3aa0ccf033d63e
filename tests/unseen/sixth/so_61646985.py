"""Levels of groundwater are forecast by a convolution and an LSTM with relu over 100 steps: NaN before any step.

Fault: raw inputs (rain of 50 to 150, temperatures of -10 to 25, levels of 100 to 500) and raw targets, and a relu in
the LSTM, which lets the state grow at each of the steps ("around 1e+36" with fewer of them).
Repair (the answers): scaled targets; the repaired form scales the inputs, too, and has the usual tanh. 24 units
instead of 128, kernels of 5 by 3 on nine drawn places of three numbers for each of 100 weeks; training ends at a loss
of NaN.
"""

import keras
import numpy as np
from _program import explained, predictions
from keras import layers

URL = "https://stackoverflow.com/questions/61646985"
YEAR = 2020
TOPIC = "time series"
CONFIRMED = "answer"
KINDS = (
    "inputs: scale or offset",
    "targets: scale",
    "activation: missing or wrong",
    "depth: signal or gradient explodes",
)
VISIBLE = True
EVIDENCE = (
    "inputs and targets of up to 480, and a relu in an LSTM of 100 steps: its states have a root mean square of"
    " 1200 (0.07 in the repaired form), and the first loss is 2e5 (0.4)"
)
REPRODUCED = True
STEPS = 100


def build(repaired):
    rng = np.random.default_rng(0)
    count = STEPS + 300
    weeks = np.arange(count)
    season = np.sin(2 * np.pi * weeks / 52)
    rain = (100 + 30 * season + 15 * rng.normal(size=count)).clip(50, 150)
    heat = (8 - 12 * season + 4 * rng.normal(size=count)).clip(-10, 25)
    wet = np.convolve(rain - 100 - 2 * (heat - 8), np.exp(-np.arange(30) / 8))[:count]
    level = 300 + 180 * wet / np.abs(wet).max()
    series = np.stack([rain, heat, level], -1)
    series = series[:, None, :] + 2 * rng.normal(size=(count, 9, 3)) * np.array([1, 0.2, 1])
    y = level[STEPS:, None]
    if repaired:
        series = (series - series.mean((0, 1))) / series.std((0, 1))
        y = (y - y.min()) / (y.max() - y.min())
    x = np.stack([series[at : at + STEPS] for at in range(count - STEPS)])[..., None]
    model = keras.Sequential(
        [
            keras.Input((STEPS, 9, 3, 1)),
            layers.TimeDistributed(layers.Conv2D(3, (5, 3), activation="relu")),
            layers.TimeDistributed(layers.MaxPooling2D((5, 1))),
            layers.TimeDistributed(layers.Flatten()),
            layers.LSTM(24, activation="tanh" if repaired else "relu"),
            layers.Dropout(0.5),
            layers.Dense(1),
        ]
    )
    model.compile("rmsprop", "mse")
    return model, x.astype("float32"), y.astype("float32")


def train(model, x, y):
    model.fit(x, y, epochs=10, verbose=0, callbacks=[keras.callbacks.TerminateOnNaN()])


def score(model, x, y):
    return explained(predictions(model, x), y)
