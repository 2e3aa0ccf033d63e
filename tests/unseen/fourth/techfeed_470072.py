"""The next hourly change of a price by an LSTM of 25 units: what it predicts is squashed, and shifted from zero.

Fault: one epoch only. The changes, of half a percent, are taken as they are, as inputs and as targets.
Repair (accepted answers as stored at newbedev.com): more epochs; and the changes are standardized here. That the
past may tell nothing of the next change, as an answer says too, does not hold for the data drawn here. The last 12
hours instead of 48, 160 series instead of some 2500; the repaired form has batches of 10, not of 1.
"""

import keras
import numpy as np
from _program import explained, predictions
from keras import layers

URL = "https://techfeed.net/pt/470072/"
YEAR = 2019
TOPIC = "time series"
CONFIRMED = "votes"
KINDS = ("training: epochs, batches, order", "inputs: scale or offset", "targets: scale")
VISIBLE = True
EVIDENCE = (
    "inputs and targets have a standard deviation of 0.006, the first outputs one of 0.0006; the gradients of the"
    " LSTM are 1e-7 to 6e-5 (0.004 to 0.07 repaired). That there is one epoch only is not visible"
)
REPRODUCED = True
HOURS = 12


def build(repaired):
    rng = np.random.default_rng(0)
    changes = np.zeros(172)
    for at in range(2, 172):
        changes[at] = 1.5 * changes[at - 1] - 0.8 * changes[at - 2] + rng.normal(0, 0.002)
    changes = changes if not repaired else (changes - changes.mean()) / changes.std()
    x = np.stack([changes[at : at + HOURS] for at in range(160)])[..., None].astype("float32")
    model = keras.Sequential([keras.Input((HOURS, 1)), layers.LSTM(25), layers.Dense(1)])
    model.compile("adam", "mse")
    return model, x, changes[HOURS:, None].astype("float32")


def train(model, x, y):
    if y.std() < 0.5:
        model.fit(x, y, batch_size=1, epochs=1, verbose=0)
    else:
        model.fit(x, y, batch_size=10, epochs=15, verbose=0)


def score(model, x, y):
    return explained(predictions(model, x), y)
