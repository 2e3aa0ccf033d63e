"""A siamese net with the contrastive loss on digits: in some iteration the derivatives are NaN.

Fault: two equal samples have a distance of 0, where the derivative of the square root is infinite.
Repair (asker, taken over by the maintainer): a small constant under the square root.
"""

import keras
import numpy as np
from _program import separated
from keras import layers, ops
from sklearn.datasets import load_digits

URL = "https://github.com/adambielski/siamese-triplet/issues/18"
YEAR = 2018
TOPIC = "losses, layers and training loops of one's own"
CONFIRMED = "asker"
KINDS = ("loss: value or gradient not finite",)
VISIBLE = False
EVIDENCE = "4 of 500 pairs are two equal images, none of the first 32; their loss and gradients are finite"
REPRODUCED = True


def data():
    """Return pairs of digits, half of them of the same digit (1), four of those the same image twice."""
    digits, classes = load_digits(return_X_y=True)
    rng = np.random.default_rng(0)
    first = rng.integers(0, len(digits), 500)
    same = rng.random(500) < 0.5
    others = np.arange(len(digits))
    second = [
        rng.choice(others[((classes == classes[i]) == s) & (others != i)]) for i, s in zip(first, same, strict=True)
    ]
    second = np.array(second)
    twins = np.flatnonzero(same)[60::60]
    second[twins] = first[twins]
    x = np.stack([digits[first], digits[second]], 1).reshape(-1, 2, 8, 8, 1) / 16
    return x.astype("float32"), same[:, None].astype("float32")


def build(repaired):
    x, y = data()
    embedding = keras.Sequential(
        [
            layers.Input((8, 8, 1)),
            layers.Conv2D(16, 3, padding="same"),
            layers.PReLU(),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(64),
            layers.PReLU(),
            layers.Dense(2),
        ]
    )
    inputs = layers.Input((2, 8, 8, 1))
    outputs = layers.Concatenate()([embedding(inputs[:, 0]), embedding(inputs[:, 1])])
    model = keras.Model(inputs, outputs)

    def contrastive(y_true, y_pred):
        squares = ops.sum((y_pred[:, :2] - y_pred[:, 2:]) ** 2, -1, keepdims=True)
        distances = ops.sqrt(squares + (1e-9 if repaired else 0.0))
        return 0.5 * (y_true * squares + (1 - y_true) * ops.relu(1.0 - distances) ** 2)

    model.compile(keras.optimizers.Adam(1e-3), contrastive)
    return model, x, y


def train(model, x, y):
    model.fit(x, y, batch_size=32, epochs=15, verbose=0)


def score(model, x, y):
    outputs = model.predict(x, verbose=0)
    return separated(-np.sum((outputs[:, :2] - outputs[:, 2:]) ** 2, -1), y)
