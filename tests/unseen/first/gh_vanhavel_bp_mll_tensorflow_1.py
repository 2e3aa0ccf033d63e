"""A pairwise ranking loss for several labels (BP-MLL) on the yeast genes: the loss is NaN after about ten steps.

Fault: an example without any label, or with all labels, has no pair of labels: the loss divides 0 by 0.
Repair (maintainer's guess for the same symptom in issue 3 of the repository, where an asker confirmed it): such
examples are taken out of the training data.
"""

import keras
import numpy as np
from _program import predictions, separated
from keras import layers, ops

URL = "https://github.com/vanHavel/bp-mll-tensorflow/issues/1"
YEAR = 2017
TOPIC = "several labels or rare classes"
CONFIRMED = "comments"
KINDS = ("loss: value or gradient not finite",)
VISIBLE = False
EVIDENCE = "2 of 500 examples have no label; the first 32 have 1 to 9 labels, finite loss and finite gradients"
REPRODUCED = True

FEATURES, LABELS = 103, 14


def data():
    """Return 103 features of unit length with three main directions, and 14 labels; two examples have no label."""
    rng = np.random.default_rng(0)
    x = rng.normal(0, 0.1, (500, FEATURES))
    x += rng.normal(0, 1, (500, 3)) @ rng.normal(0, 0.06, (3, FEATURES))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    scores = x @ rng.normal(0, 1, (FEATURES, LABELS)) + rng.normal(0, 0.1, (500, LABELS))
    y = scores > np.quantile(scores, 0.7, axis=0)
    few, many = ~y.any(1), y.all(1)
    y[few, scores[few].argmax(1)] = True
    y[many, 0] = False
    y[[337, 452]] = False
    return x.astype("float32"), y.astype("float32")


def ranking(y_true, y_pred):
    """Return the mean of exp(other output - output of a label) over pairs of a label and another, per example."""
    pairs = y_true[:, :, None] * (1 - y_true[:, None, :])
    errors = ops.exp(y_pred[:, None, :] - y_pred[:, :, None])
    return ops.sum(pairs * errors, (1, 2)) / ops.sum(pairs, (1, 2))


def build(repaired):
    x, y = data()
    if repaired:
        kept = y.any(1) & ~y.all(1)
        x, y = x[kept], y[kept]
    model = keras.Sequential(
        [
            layers.Input((FEATURES,)),
            layers.Dense(128, activation="relu"),
            layers.Dropout(0.5),
            layers.Dense(64, activation="relu"),
            layers.Dropout(0.5),
            layers.Dense(LABELS, activation="sigmoid"),
        ]
    )
    model.compile(keras.optimizers.Adagrad(0.01), ranking)
    return model, x, y


def train(model, x, y):
    model.fit(x, y, batch_size=32, epochs=40, verbose=0)


def score(model, x, y):
    outputs = predictions(model, x)
    return float(np.mean([separated(outputs[:, label], y[:, label]) for label in range(LABELS)]))
