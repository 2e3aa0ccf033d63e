"""What people do, from their motion, by two LSTM layers: the loss falls below zero, the accuracy stays at 0.18.

Fault: the predictions are given as the labels, and the labels as the logits, of a cross-entropy which gives no
gradient to its labels: only the penalty of the weights is trained.
Repair (maintainer, confirmed by the asker): each in its place. The weights, normal with a standard deviation of 1,
are left by the answer, and mended here too. 16 steps instead of 128, 16 units instead of 32, 240 series in batches
of 60.
"""

import keras
import numpy as np
from _program import accuracy, predictions
from keras import layers, ops

URL = "https://github.com/guillaume-chevalier/LSTM-Human-Activity-Recognition/issues/8"
YEAR = 2017
TOPIC = "text and sequences"
CONFIRMED = "maintainer"
KINDS = (
    "gradient: blocked (not differentiable, stopped, frozen, not connected)",
    "loss: sign or formula",
    "weights: too large",
)
VISIBLE = True
EVIDENCE = (
    "the gradient of each weight is 0.0015 times the weight, that of the penalty, and exactly 0 for the"
    " cross-entropy; the loss takes its first argument, rows with a single one, for logits. The first and last kernel"
    " have a standard deviation of 1 for 9 and 16 inputs"
)
REPRODUCED = True
STEPS, UNITS, DECAY = 16, 16, 0.0015


def exchanged(y_true, y_pred):
    """The cross-entropy of TensorFlow 1 with its two arguments exchanged."""
    return -ops.sum(ops.stop_gradient(y_pred) * ops.log_softmax(y_true), -1)


def penalty():
    return keras.regularizers.L2(DECAY / 2)


def build(repaired):
    rng = np.random.default_rng(0)
    count = 240
    y = np.arange(count) % 6
    time = np.arange(STEPS)[:, None]
    waves = np.stack([np.sin((0.4 + 0.35 * kind) * time + np.arange(9)) for kind in range(3)])
    levels = rng.normal(0, 1, (3, 9))
    shift = rng.integers(0, 4, count)
    x = np.where((y < 3)[:, None, None], 0, levels[y % 3][:, None]) + rng.normal(0, 0.3, (count, STEPS, 9))
    for row in np.flatnonzero(y < 3):
        x[row] += np.roll(waves[y[row]], shift[row], 0)

    def normal(mean=0.0):
        return keras.initializers.RandomNormal(mean, 1)

    model = keras.Sequential(
        [
            keras.Input((STEPS, 9)),
            layers.Dense(
                UNITS,
                activation="relu",
                kernel_initializer="he_normal" if repaired else normal(),
                bias_initializer="zeros" if repaired else normal(1.0),
                kernel_regularizer=penalty(),
                bias_regularizer=penalty(),
            ),
        ]
    )
    for again in (True, False):
        model.add(
            layers.LSTM(
                UNITS,
                return_sequences=again,
                recurrent_initializer="glorot_uniform",
                kernel_regularizer=penalty(),
                recurrent_regularizer=penalty(),
                bias_regularizer=penalty(),
            )
        )
    model.add(
        layers.Dense(
            6,
            kernel_initializer="glorot_uniform" if repaired else normal(),
            bias_initializer="zeros" if repaired else normal(),
            kernel_regularizer=penalty(),
            bias_regularizer=penalty(),
        )
    )
    loss = keras.losses.CategoricalCrossentropy(from_logits=True) if repaired else exchanged
    model.compile(keras.optimizers.Adam(0.0025), loss)
    return model, x.astype("float32"), np.eye(6, dtype="float32")[y]


def train(model, x, y):
    model.fit(x, y, batch_size=60, epochs=15, verbose=0)


def score(model, x, y):
    return accuracy(predictions(model, x), y)
