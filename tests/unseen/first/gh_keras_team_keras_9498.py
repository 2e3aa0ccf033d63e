"""A net fine-tuned with the triplet loss: afterwards it gives the same result for all inputs.

Fault: the distances are means, not sums, over 128 numbers of vectors of length 1: the margin of 1 is out of reach.
Repair (asker): the sum in the place of the mean. (The optimizer is not in the report; the net was a ResNet.)
"""

import keras
import numpy as np
from _program import predictions, separated
from keras import layers, ops
from sklearn.datasets import load_digits

URL = "https://github.com/keras-team/keras/issues/9498"
YEAR = 2018
TOPIC = "losses, layers and training loops of one's own"
CONFIRMED = "asker"
KINDS = ("loss: sign or formula",)
VISIBLE = True
EVIDENCE = "the distances in the loss are about 0.0002, and at most 0.03, beside a margin of 1: the loss is 0.9999"
REPRODUCED = False

WIDTH = 128


def data():
    """Return triplets of digits: a digit, another image of it, and an image of another digit."""
    digits, classes = load_digits(return_X_y=True)
    rng = np.random.default_rng(0)
    first = rng.integers(0, len(digits), 400)
    near = [rng.choice(np.flatnonzero(classes == classes[i])) for i in first]
    far = [rng.choice(np.flatnonzero(classes != classes[i])) for i in first]
    x = np.stack([digits[first], digits[near], digits[far]], 1).reshape(-1, 3, 8, 8, 1) / 16
    return x.astype("float32"), np.zeros((400, 1), "float32")


def build(repaired):
    x, y = data()
    base = keras.Sequential(
        [
            layers.Input((8, 8, 1)),
            layers.Conv2D(16, 3, activation="relu", padding="same"),
            layers.Conv2D(32, 3, activation="relu", padding="same"),
            layers.GlobalMaxPooling2D(),
            layers.Dropout(0.5),
            layers.Dense(WIDTH),
            layers.UnitNormalization(),
        ]
    )
    inputs = layers.Input((3, 8, 8, 1))
    outputs = layers.Concatenate()([base(inputs[:, part]) for part in range(3)])
    model = keras.Model(inputs, outputs)
    reduce = ops.sum if repaired else ops.mean

    def triplet(y_true, y_pred):
        anchor, near, far = y_pred[:, :WIDTH], y_pred[:, WIDTH : 2 * WIDTH], y_pred[:, 2 * WIDTH :]
        return ops.relu(1.0 + reduce((anchor - near) ** 2, -1) - reduce((anchor - far) ** 2, -1))

    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), triplet)
    return model, x, y


def train(model, x, y):
    model.fit(x, y, batch_size=16, epochs=30, verbose=0)


def score(model, x, y):
    outputs = predictions(model, x)
    anchor, near, far = (outputs[:, part * WIDTH : (part + 1) * WIDTH] for part in range(3))
    distances = np.concatenate([np.sum((anchor - near) ** 2, -1), np.sum((anchor - far) ** 2, -1)])
    return separated(np.round(distances, 6), np.repeat([0, 1], len(x)))
