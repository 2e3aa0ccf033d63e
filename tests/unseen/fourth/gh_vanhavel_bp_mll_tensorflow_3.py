"""The genres of films are told from their posters with BP-MLL, which compares labels in pairs: NaN after some steps.

Fault: some films have all genres, so that there is no pair of a right and a wrong one; the loss divides 0 by 0.
Repair (guessed by the maintainer, confirmed by the asker): these films are left out.
The asker's CNN is only linked: two convolutions are put before the layers of the repository's example; its optimizer,
Adagrad, has the rate 0.01 instead of 0.001. Pictures of 16 by 16 with a mark for each of six genres.
"""

import keras
import numpy as np
from _program import predictions, separated
from keras import layers, ops

URL = "https://github.com/vanHavel/bp-mll-tensorflow/issues/3"
YEAR = 2019
TOPIC = "several labels or rare classes"
CONFIRMED = "asker"
KINDS = ("loss: value or gradient not finite", "labels: form does not fit the loss or the output")
VISIBLE = True
EVIDENCE = (
    "4 % of the rows of the targets are all ones; the first loss of a batch with one of them (three of four) is NaN"
)
REPRODUCED = True
GENRES = 6


def bp_mll(y_true, y_pred):
    right = ops.cast(ops.equal(y_true, 1), "float32")
    wrong = 1 - right
    pairs = right[:, :, None] * wrong[:, None, :]
    sums = ops.sum(pairs * ops.exp(y_pred[:, None, :] - y_pred[:, :, None]), (1, 2))
    return ops.mean(sums / (ops.sum(right, 1) * ops.sum(wrong, 1)))


def build(repaired):
    rng = np.random.default_rng(0)
    y = (rng.random((400, GENRES)) < 0.3).astype("float32")
    y[np.arange(400), rng.integers(0, GENRES, 400)] = 1
    y[rng.permutation(400)[:16]] = 1
    marks = rng.random((GENRES, 16, 16, 3)) < 0.15
    x = np.clip(0.4 * np.tensordot(y, marks, 1) + rng.uniform(0, 0.5, (400, 16, 16, 3)), 0, 1)
    if repaired:
        mixed = (y.sum(1) > 0) & (y.sum(1) < GENRES)
        x, y = x[mixed], y[mixed]
    model = keras.Sequential(
        [
            keras.Input((16, 16, 3)),
            layers.Conv2D(16, 3, 2, activation="relu"),
            layers.Conv2D(32, 3, 2, activation="relu"),
            layers.Flatten(),
            layers.Dense(128, "relu"),
            layers.Dense(64, "relu"),
            layers.Dense(GENRES, "sigmoid"),
        ]
    )
    model.compile(keras.optimizers.Adagrad(0.01), bp_mll)
    return model, x.astype("float32"), y


def train(model, x, y):
    model.fit(x, y, batch_size=32, epochs=15, verbose=0)


def score(model, x, y):
    outputs = predictions(model, x)
    return np.mean([separated(outputs[:, genre], y[:, genre]) for genre in range(GENRES)])
