"""A new last layer for 750 sparse labels on features of Inception: a few labels are always true, the rest never.

Fault: some labels have far more examples than others, which have too few.
Repair (maintainer): more examples of the labels with few of them, made by transformations.
"""

import keras
import numpy as np
from _program import predictions
from keras import layers

URL = "https://github.com/BartyzalRadek/Multi-label-Inception-net/issues/8"
YEAR = 2017
TOPIC = "several labels or rare classes"
CONFIRMED = "maintainer"
KINDS = ("classes: rare",)
VISIBLE = False
EVIDENCE = "shares of the labels in the targets go from 0.9 to 0.01; all other numbers of the batch are sound"
REPRODUCED = True

FEATURES, LABELS = 256, 30


def data():
    """Return features, none below 0, and labels; four labels are on most images, the others are sparse."""
    rng = np.random.default_rng(0)
    shares = np.r_[0.9, 0.8, 0.75, 0.7, np.geomspace(0.1, 0.02, LABELS - 4)]
    y = rng.random((500, LABELS)) < shares
    marks = rng.gamma(1, 1, (LABELS, FEATURES)) * (rng.random((LABELS, FEATURES)) < 0.08)
    x = np.maximum(0, y @ marks + rng.normal(0.1, 0.3, (500, FEATURES)))
    x *= (2048 / FEATURES) ** 0.5  # as long as the 2048 features of the report
    return x.astype("float32"), y.astype("float32")


def build(repaired):
    x, y = data()
    if repaired:
        rng = np.random.default_rng(1)
        rows = [rng.choice(np.flatnonzero(y[:, label]), 150) for label in range(4, LABELS)]
        rows = np.concatenate([np.arange(len(x)), *rows])
        x, y = x[rows] + rng.normal(0, 0.05, (len(rows), FEATURES)).astype("float32"), y[rows]
    start = keras.initializers.TruncatedNormal(stddev=0.001)
    model = keras.Sequential(
        [layers.Input((FEATURES,)), layers.Dense(LABELS, activation="sigmoid", kernel_initializer=start)]
    )
    model.compile(keras.optimizers.SGD(0.01), "binary_crossentropy")
    return model, x, y


def train(model, x, y):
    rng = np.random.default_rng(2)
    for _ in range(700):
        rows = rng.integers(0, len(x), 100)
        model.train_on_batch(x[rows], y[rows])


def score(model, x, y):
    """Return the mean F1 of the labels on the first images, from 0 for the answer that all have all labels."""
    x, y = data()
    answers, y = predictions(model, x) > 0.5, y > 0.5
    hits, shares = (answers & y).sum(0), y.mean(0)
    blind = 2 * shares / (1 + shares)
    return float(np.clip((2 * hits / (answers.sum(0) + y.sum(0)) - blind) / (1 - blind), 0, 1).mean())
