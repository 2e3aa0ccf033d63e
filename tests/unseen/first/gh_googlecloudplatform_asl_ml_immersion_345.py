"""The fare of a taxi is learned from the four coordinates of the ride: the loss stays high and does not converge.

Fault: a learning rate (0.001, the default) and a number of steps too small.
Repair (asker): a larger rate and more steps. A second, evident fault is mended too: raw degrees (-73.98 and 40.75, with
deviations of some hundredths) are standardized.
"""

import keras
import numpy as np
from _program import explained, predictions

URL = "https://github.com/GoogleCloudPlatform/asl-ml-immersion/issues/345"
YEAR = 2023
TOPIC = "time series"
CONFIRMED = "asker"
KINDS = ("inputs: scale or offset", "optimizer: rate too small", "training: epochs, batches, order")
VISIBLE = True
EVIDENCE = (
    "columns have means of -73.98 and 40.75 and deviations of 0.02 to 0.03; outputs differ by 0.004, targets by 4.9"
)
REPRODUCED = True


def build(repaired):
    rng = np.random.default_rng(0)
    x = np.array([-73.98, 40.75, -73.98, 40.75]) + rng.normal(0, 1, (600, 4)) * [0.03, 0.025, 0.03, 0.025]
    distance = np.hypot(84 * (x[:, 2] - x[:, 0]), 111 * (x[:, 3] - x[:, 1]))
    y = (2.5 + 2 * distance + rng.normal(0, 0.5, 600))[:, None]
    if repaired:
        x = (x - x.mean(0)) / x.std(0)
    model = keras.Sequential(
        [
            keras.layers.Input((4,)),
            keras.layers.Dense(32, activation="relu"),
            keras.layers.Dense(8, activation="relu"),
            keras.layers.Dense(1),
        ]
    )
    model.compile(optimizer=keras.optimizers.Adam(0.01 if repaired else 0.001), loss="mse")
    return model, x.astype("float32"), y.astype("float32")


def train(model, x, y):
    # The larger rate comes with more epochs.
    epochs = 20 if float(model.optimizer.learning_rate) > 0.005 else 10
    model.fit(x, y, batch_size=32, epochs=epochs, verbose=0)


def score(model, x, y):
    return explained(predictions(model, x), y)
