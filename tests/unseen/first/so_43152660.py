"""A hundred labels, most of them rare, with targets from 1 to 5 for the labels of an example: results are imbalanced.

Fault: rare labels; the targets up to 5, meant as weights, are beyond what a sigmoid and its cross entropy can reach.
Repair (accepted answer: weights of the classes, or copies of rare examples): targets of 0 and 1, and a loss in which
the ones of a label weigh as much as its zeros. The last layer, left with a ReLU by the answer, is linear there too.
"""

import keras
import numpy as np
from _program import predictions
from keras import layers, ops

URL = "https://stackoverflow.com/questions/43152660"
YEAR = 2017
TOPIC = "several labels or rare classes"
CONFIRMED = "accepted answer"
KINDS = ("targets: beyond the last activation", "activation: missing or wrong")
VISIBLE = True
EVIDENCE = "targets of a sigmoid cross entropy are as large as 4.92, and the last layer gives logits from 0 up (ReLU)"
REPRODUCED = True

FEATURES, LABELS = 60, 30


def data():
    """Return features and labels whose shares go down from 0.4 to 0.02, as zeros and ones."""
    rng = np.random.default_rng(0)
    x = rng.normal(0, 1, (800, FEATURES))
    scores = x @ rng.normal(0, 1, (FEATURES, LABELS)) / FEATURES**0.5 + rng.normal(0, 0.3, (800, LABELS))
    shares = np.geomspace(0.4, 0.02, LABELS)
    y = np.stack([scores[:, label] > np.quantile(scores[:, label], 1 - shares[label]) for label in range(LABELS)], 1)
    return x.astype("float32"), y.astype("float32")


def build(repaired):
    x, y = data()
    shares = y.mean(0)
    model = keras.Sequential(
        [
            layers.Input((FEATURES,)),
            layers.Dense(100, activation="relu"),
            layers.Dropout(0.2),
            layers.Dense(LABELS, activation=None if repaired else "relu"),
        ]
    )
    weights = ops.convert_to_tensor((1 - shares) / shares, "float32")

    def weighted(y_true, y_pred):
        ones = y_true * ops.softplus(-y_pred) * weights
        return ops.mean(ones + (1 - y_true) * ops.softplus(y_pred), -1)

    plain = keras.losses.BinaryCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-3), weighted if repaired else plain)
    return model, x, y if repaired else (y * (1 + 4 * (1 - shares))).astype("float32")


def train(model, x, y):
    model.fit(x, y, batch_size=32, epochs=20, verbose=0)


def score(model, x, y):
    """Return the mean F1 of the labels, from 0 for the answer that all examples have all labels."""
    answers, y = predictions(model, x) > 0, y > 0
    hits, shares = (answers & y).sum(0), y.mean(0)
    blind = 2 * shares / (1 + shares)
    return float(np.clip((2 * hits / (answers.sum(0) + y.sum(0)) - blind) / (1 - blind), 0, 1).mean())
