"""A bidirectional LSTM tags the words of news with names: it gives the tag for all else, `O`, to every word.

Fault: 97 % of the targets are `O`: words that are no names, and the padding to the longest sentence.
Repair (maintainer): only sentences with names, none longer than a given length, so that there is little padding.
The dropout behind the softmax, which the answer left in place, is 0 in the repaired form.
"""

import keras
import numpy as np
from _program import predictions
from keras import layers

URL = "https://github.com/pandeydivesh15/NER-using-Deep-Learning/issues/1"
YEAR = 2017
TOPIC = "several labels or rare classes"
CONFIRMED = "maintainer"
KINDS = ("classes: rare", "regularization: too strong (dropout, penalties)")
VISIBLE = True
EVIDENCE = "97 % of the targets are one class, most of them zeros of padding; a dropout follows the softmax"
REPRODUCED = False

TAGS, WIDTH, LONGEST = 10, 50, 32


def data(length, named):
    """Return word vectors and tags, padded in front with zeros and `O`, as tag 0."""
    rng = np.random.default_rng(0)
    kinds = rng.normal(0, 0.8, (TAGS, WIDTH))
    tags = rng.choice(TAGS, (600, LONGEST), p=np.r_[0.91, np.full(TAGS - 1, 0.01)])
    x = kinds[tags] + rng.normal(0, 0.4, (600, LONGEST, WIDTH))
    words = np.minimum(LONGEST, 4 + rng.gamma(2, 4, 600).astype(int))
    padded = np.arange(LONGEST) < LONGEST - words[:, None]
    x[padded], tags[padded] = 0, 0
    kept = (words <= length) & ((tags > 0).any(1) | (not named))
    return x[kept, -length:].astype("float32"), np.eye(TAGS, dtype="float32")[tags[kept, -length:]]


def build(repaired):
    x, y = data(16, True) if repaired else data(LONGEST, False)
    model = keras.Sequential(
        [
            layers.Input((None, WIDTH)),
            layers.Bidirectional(layers.LSTM(16, return_sequences=True)),
            layers.TimeDistributed(layers.Dense(TAGS, activation="softmax")),
            layers.Dropout(0.0 if repaired else 0.2),
        ]
    )
    model.compile("adam", "categorical_crossentropy")
    return model, x, y


def train(model, x, y):
    model.fit(x, y, batch_size=50, epochs=16, verbose=0)


def score(model, x, y):
    """Return the share of the names in the short sentences that get their tag."""
    x, y = data(16, True)
    outputs, tags = predictions(model, x), y.argmax(-1)
    if not np.isfinite(outputs).all():
        return 0.0
    return float((outputs.argmax(-1) == tags)[tags > 0].mean())
