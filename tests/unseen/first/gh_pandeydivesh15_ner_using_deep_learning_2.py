"""A bidirectional LSTM tags the words of news with names: the loss is NaN from the start of the training.

Fault: a dropout of 0.2 behind the softmax takes probabilities away, at times that of the true tag or all of them.
Repair (maintainer, who had the same): a dropout of 0.
(Four kinds of names in the place of nine tags make up for a few hundred sentences in the place of 14,000.)
"""

import keras
import numpy as np
from _program import predictions
from keras import layers

URL = "https://github.com/pandeydivesh15/NER-using-Deep-Learning/issues/2"
YEAR = 2017
TOPIC = "several labels or rare classes"
CONFIRMED = "maintainer"
KINDS = ("regularization: too strong (dropout, penalties)",)
VISIBLE = True
EVIDENCE = "the last layer is a dropout of 0.2 behind the softmax: one in five true tags has probability 0 in a batch"
REPRODUCED = True

TAGS, WIDTH, LENGTH = 5, 50, 16


def data():
    """Return word vectors and tags in rows padded in front to the longest sentence; tag 0 is for all else."""
    rng = np.random.default_rng(0)
    kinds = rng.normal(0, 0.8, (TAGS, WIDTH))
    tags = rng.choice(TAGS, (400, LENGTH), p=np.r_[0.8, np.full(TAGS - 1, 0.05)])
    x = kinds[tags] + rng.normal(0, 0.4, (400, LENGTH, WIDTH))
    padded = np.arange(LENGTH) < rng.integers(2, 12, 400)[:, None]
    x[padded], tags[padded] = 0, 0
    return x.astype("float32"), np.eye(TAGS, dtype="float32")[tags]


def build(repaired):
    x, y = data()
    model = keras.Sequential(
        [
            layers.Input((LENGTH, WIDTH)),
            layers.Bidirectional(layers.LSTM(16, return_sequences=True)),
            layers.TimeDistributed(layers.Dense(TAGS, activation="softmax")),
            layers.Dropout(0.0 if repaired else 0.2),
        ]
    )
    model.compile("adam", "categorical_crossentropy")
    return model, x, y


def train(model, x, y):
    model.fit(x, y, batch_size=50, epochs=20, verbose=0)


def score(model, x, y):
    """Return the share of the names that get their tag."""
    outputs, tags = predictions(model, x), y.argmax(-1)
    if not np.isfinite(outputs).all():
        return 0.0
    return float((outputs.argmax(-1) == tags)[tags > 0].mean())
