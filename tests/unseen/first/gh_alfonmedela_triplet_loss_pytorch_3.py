"""A net is trained with the semi-hard triplet loss of its batches: the loss is NaN at times.

Fault: a small batch of many categories may have no two examples of one category: the mean over no pair is 0 / 0.
Repair (maintainer, accepted by the asker): a larger batch.
"""

import keras
import numpy as np
from _program import predictions, separated
from keras import layers, ops

URL = "https://github.com/alfonmedela/triplet-loss-pytorch/issues/3"
YEAR = 2023
TOPIC = "losses, layers and training loops of one's own"
CONFIRMED = "maintainer"
KINDS = ("loss: value or gradient not finite", "training: epochs, batches, order")
VISIBLE = False
EVIDENCE = "with 100 categories a batch of 16 has no pair in about one of four cases; other batches have a finite loss"
REPRODUCED = True

CATEGORIES, FEATURES = 100, 32


def data():
    """Return features of examples of many categories, and the numbers of the categories."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, CATEGORIES, 800)
    x = rng.normal(0, 1, (CATEGORIES, FEATURES))[y] + rng.normal(0, 1, (800, FEATURES))
    return x.astype("float32"), y[:, None].astype("float32")


def semihard(y_true, y_pred):
    """Return the mean over pairs of a category of the loss with the nearest negative that is farther away."""
    squares = ops.sum((y_pred[:, None] - y_pred[None]) ** 2, -1)
    same = ops.cast(y_true == ops.transpose(y_true), "float32")
    farther = ops.cast(squares[:, None] > squares[:, :, None], "float32") * (1 - same[:, None])
    nearest = ops.min(squares[:, None] * farther + 1e3 * (1 - farther), -1)
    hardest = ops.max(squares - 1e3 * same, -1, keepdims=True)
    negatives = ops.where(nearest < 1e3, nearest, hardest)
    pairs = same - ops.eye(ops.shape(same)[0])
    return ops.sum(pairs * ops.relu(squares - negatives + 1.0)) / ops.sum(pairs)


def build(repaired):
    x, y = data()
    model = keras.Sequential(
        [
            layers.Input((FEATURES,)),
            layers.Dense(64, activation="relu"),
            layers.Dense(32),
            layers.UnitNormalization(),
        ]
    )
    model.compile(keras.optimizers.Adam(1e-3), semihard)
    model.examples = 100 if repaired else 16  # in a batch
    return model, x, y


def train(model, x, y):
    for _ in range(4 if model.examples == 16 else 12):
        model.fit(x, y, batch_size=model.examples, verbose=0)


def score(model, x, y):
    outputs = predictions(model, x)
    pairs = np.triu_indices(len(x), 1)
    if not np.isfinite(outputs).all():
        return 0.0
    squares = ((outputs[:, None] - outputs[None]) ** 2).sum(-1)[pairs]
    return separated(-squares, (y == y.T)[pairs])
