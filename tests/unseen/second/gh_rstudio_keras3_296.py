"""The speed of traffic is predicted by dense layers with Adam: the reported accuracy stays at 0.

Fault: accuracy is reported for a regression; it counts only targets that are exactly 0 or 1.
Repair (maintainer): the mean absolute error is reported instead.
Columns are the speeds of 8 steps before, scaled to [0, 1] like the target (the reported losses are those of scaled
values).
"""

import keras
import numpy as np
from _program import explained, predictions

URL = "https://github.com/rstudio/keras3/issues/296"
YEAR = 2018
TOPIC = "time series"
CONFIRMED = "maintainer"
KINDS = ("evaluation or other code",)
VISIBLE = False
EVIDENCE = "weights, signals and gradients are the same in both forms; only the reported metric differs"
REPRODUCED = False

LAGS = 8


def speeds(count=255):
    """Return rows of scaled speeds and the speed that follows each."""
    rng = np.random.default_rng(0)
    time = np.arange(count + LAGS)
    jams = 18 * np.exp(-(((time % 96 - 33) / 8.0) ** 2)) + 22 * np.exp(-(((time % 96 - 70) / 10.0) ** 2))
    speed = 62 - jams + rng.normal(0, 1.5, len(time))
    speed = (speed - speed.min()) / (speed.max() - speed.min())
    rows = np.lib.stride_tricks.sliding_window_view(speed, LAGS)[:count]
    return rows.astype("float32"), speed[LAGS:].astype("float32")[:, None]


def build(repaired):
    uniform = keras.initializers.RandomUniform(-0.05, 0.05)
    model = keras.Sequential(
        [
            keras.Input((LAGS,)),
            keras.layers.Dense(256, activation="relu"),
            keras.layers.Dropout(0.4),
            keras.layers.Dense(128, activation="relu", kernel_initializer=uniform),
            keras.layers.Dropout(0.3),
            keras.layers.Dense(1, kernel_initializer=uniform.clone()),
        ]
    )
    model.compile("adam", "mean_squared_error", metrics=["mae" if repaired else "accuracy"])
    x, y = speeds()
    return model, x, y


def train(model, x, y):
    model.fit(x, y, batch_size=64, epochs=80, validation_split=0.3, verbose=0)


def score(model, x, y):
    return explained(predictions(model, x), y)
