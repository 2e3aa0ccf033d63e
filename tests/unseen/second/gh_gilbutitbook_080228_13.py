"""Prices of houses from 13 columns, an exercise of a book: all predicted prices are the same number, 6.3.

Fault: the second hidden layer has 6 units only, which are all dead.
Repair (a second reader with the same number): 24 units.
"""

import keras
import numpy as np
from _program import explained, predictions
from keras import layers

URL = "https://github.com/gilbutITbook/080228/issues/13"
YEAR = 2021
TOPIC = "regression on tables"
CONFIRMED = "comments"
KINDS = ("activation: dead units", "capacity")
VISIBLE = False
EVIDENCE = (
    "with most seeds no unit of the second layer is dead at the start; with the seed of the report all 6 "
    "were; the columns are not scaled (up to 711)"
)
REPRODUCED = False


def build(repaired):
    rng = np.random.default_rng(0)
    number = 240
    wealth = rng.normal(size=number)  # of the district: most of the columns depend on it

    def column(slope, spread):
        return slope * wealth + spread * rng.normal(size=number)

    x = np.stack(
        [
            np.exp(column(-1.2, 1.2)) * 0.8,
            np.clip(column(15, 20), 0, 100),
            np.clip(11 + column(-4.5, 5), 0.5, 28),
            rng.random(number) < 0.07,
            np.clip(0.55 + column(-0.07, 0.09), 0.38, 0.87),
            6.3 + column(0.45, 0.5),
            np.clip(68 + column(-15, 23), 3, 100),
            np.clip(3.8 + column(1, 1.7), 1.1, 12),
            np.where(rng.random(number) < 0.26, 24, rng.integers(1, 9, number)),
            np.clip(408 + column(-100, 130), 187, 711),
            np.clip(18.4 + column(-1, 1.8), 12.6, 22),
            np.clip(396.9 - 60 * rng.exponential(size=number) ** 2, 0.3, 396.9),
            np.clip(12.6 + column(-5, 5), 1.7, 38),
        ],
        1,
    )
    y = np.clip(22 + 5 * (x[:, 5] - 6.3) / 0.7 - 4 * (x[:, 12] - 12.6) / 7 - 2 * (x[:, 10] - 18.4) / 2, 5, 50)
    model = keras.Sequential(
        [
            layers.Input((13,)),
            layers.Dense(30, activation="relu"),
            layers.Dense(24 if repaired else 6, activation="relu"),
            layers.Dense(1),
        ]
    )
    model.compile("adam", loss="mean_squared_error")
    return model, x.astype("float32"), y.astype("float32")


def train(model, x, y):
    model.fit(x, y, batch_size=10, epochs=150, verbose=0)


def score(model, x, y):
    return explained(predictions(model, x), y)
