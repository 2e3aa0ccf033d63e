"""A face recognition net is trained with a triplet loss of the user's own: the weights explode, predictions are NaN.

Fault: the loss has no margin, so that equal embeddings of all faces are its minimum.
Repair (maintainer): a margin of 0.2.
"""

import keras
import numpy as np
from _program import predictions, separated
from keras import layers, ops

URL = "https://github.com/krasserm/face-recognition/issues/1"
YEAR = 2018
TOPIC = "losses, layers and training loops of one's own"
CONFIRMED = "maintainer"
KINDS = ("loss: sign or formula",)
VISIBLE = True
EVIDENCE = "the loss has no margin: it is exactly 0 for 38 % of the triplets, and would be 0 for equal embeddings"
REPRODUCED = True

PEOPLE, SIZE, WIDTH = 60, 16, 64


def data():
    """Return triplets of images with pixels from 0 to 1: a person, the same, and another, with light and noise."""
    rng = np.random.default_rng(0)
    coarse = rng.random((PEOPLE, 4, 4, 3))
    faces = 0.5 + 0.2 * (coarse.repeat(4, 1).repeat(4, 2) - 0.5)
    people = rng.integers(0, PEOPLE, 400)
    others = (people + rng.integers(1, PEOPLE, 400)) % PEOPLE
    x = faces[np.stack([people, people, others], 1)]
    x = x + rng.normal(0, 0.15, (400, 3, 1, 1, 1)) + rng.normal(0, 0.2, x.shape)
    return np.clip(x, 0, 1).astype("float32"), np.zeros((400, 1), "float32")


def build(repaired):
    x, y = data()
    base = keras.Sequential(
        [
            layers.Input((SIZE, SIZE, 3)),
            layers.Conv2D(16, 3, strides=2, padding="same"),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Conv2D(32, 3, strides=2, padding="same"),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Flatten(),
            layers.Dense(WIDTH),
            layers.UnitNormalization(),
        ]
    )
    inputs = layers.Input((3, SIZE, SIZE, 3))
    outputs = layers.Concatenate()([base(inputs[:, part]) for part in range(3)])
    model = keras.Model(inputs, outputs)
    margin = 0.2 if repaired else 0.0

    def triplet(y_true, y_pred):
        anchor, near, far = y_pred[:, :WIDTH], y_pred[:, WIDTH : 2 * WIDTH], y_pred[:, 2 * WIDTH :]
        return ops.relu(ops.sum((anchor - near) ** 2, -1) - ops.sum((anchor - far) ** 2, -1) + margin)

    model.compile("adam", triplet)
    return model, x, y


def train(model, x, y):
    model.fit(x, y, batch_size=32, epochs=8, verbose=0)


def score(model, x, y):
    outputs = predictions(model, x)
    anchor, near, far = (outputs[:, part * WIDTH : (part + 1) * WIDTH] for part in range(3))
    distances = np.concatenate([np.sum((anchor - near) ** 2, -1), np.sum((anchor - far) ** 2, -1)])
    return separated(distances, np.repeat([0, 1], len(x)))
