"""A grey value is predicted from a patch of 16 raw pixels, with tanh in all layers: the error stays at 16,771.

Fault: tanh as the last activation, for targets from 0 to 255.
Repair (comments; the asker left the tanh in his next issue, and the error fell): a linear output.
A second evident fault, raw pixels that saturate the first tanh, is mended too: pixels and targets divided by 255.
"""

import keras
import numpy as np
from _program import explained, predictions

URL = "https://github.com/keras-team/keras/issues/108"
YEAR = 2016
TOPIC = "regression on tables"
CONFIRMED = "comments"
KINDS = ("targets: beyond the last activation", "inputs: scale or offset")
VISIBLE = True
EVIDENCE = "the last layer is tanh and the targets have a mean of 122; the inputs have a root mean square of 136"
REPRODUCED = True


def build(repaired):
    """Return the compiled model, patches of 4 by 4 pixels as rows, and the grey values."""
    random = np.random.default_rng(0)
    level = random.uniform(20, 220, size=(1024, 1))
    slope = random.normal(0, 6, size=(1024, 2))
    places = np.stack(np.meshgrid(np.arange(4) - 1.5, np.arange(4) - 1.5), -1).reshape(16, 2)
    x = np.clip(np.round(level + slope @ places.T + random.normal(0, 3, size=(1024, 16))), 0, 255)
    y = np.clip(np.round(level + slope @ np.array([[2.5], [2.5]])), 0, 255)
    if repaired:
        x, y = x / 255, y / 255
    model = keras.Sequential(
        [
            keras.Input((16,)),
            keras.layers.Dense(16, activation="tanh"),
            keras.layers.Dense(16, activation="tanh"),
            keras.layers.Dense(1, activation="linear" if repaired else "tanh"),
        ]
    )
    model.compile(optimizer="rmsprop", loss="mse")
    return model, x.astype("float32"), y.astype("float32")


def train(model, x, y):
    """Train for 40 epochs."""
    model.fit(x, y, batch_size=32, epochs=40, verbose=0)


def score(model, x, y):
    """Return the explained share of the variance."""
    return explained(predictions(model, x), y)
