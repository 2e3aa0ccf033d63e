"""The siamese example of Keras on digits: the accuracy is very low, on the training data too.

Fault: a commit let the contrastive loss draw pairs of label 0 together, but 1 is the label of two equal digits.
Repair (comment, confirmed by the asker): the commit is taken back, so that the two terms change places.
"""

import keras
import numpy as np
from _program import predictions, separated
from keras import layers, ops
from sklearn.datasets import load_digits

URL = "https://github.com/keras-team/keras/issues/5052"
YEAR = 2017
TOPIC = "losses, layers and training loops of one's own"
CONFIRMED = "asker"
KINDS = ("loss: sign or formula",)
VISIBLE = True
EVIDENCE = "the loss draws together the pairs of label 0, whose images differ more (3.1) than those of label 1 (2.0)"
REPRODUCED = True


def data():
    """Return pairs of digits with pixels from 0 to 1: the same digit (1) and another one (0) in turn."""
    digits, classes = load_digits(return_X_y=True)
    rng = np.random.default_rng(0)
    first = rng.integers(0, len(digits), 500)
    same = np.arange(500) % 2 == 0
    second = np.array(
        [rng.choice(np.flatnonzero((classes == classes[i]) == s)) for i, s in zip(first, same, strict=True)]
    )
    x = np.stack([digits[first], digits[second]], 1) / 16
    return x.astype("float32"), same[:, None].astype("float32")


def distance(pair):
    return ops.sqrt(ops.maximum(ops.sum((pair[0] - pair[1]) ** 2, 1, keepdims=True), keras.config.epsilon()))


def build(repaired):
    x, y = data()
    base = keras.Sequential(
        [
            layers.Input((64,)),
            layers.Dense(128, activation="relu"),
            layers.Dropout(0.1),
            layers.Dense(128, activation="relu"),
            layers.Dropout(0.1),
            layers.Dense(128, activation="relu"),
        ]
    )
    inputs = layers.Input((2, 64))
    outputs = layers.Lambda(distance, output_shape=(1,))([base(inputs[:, 0]), base(inputs[:, 1])])
    model = keras.Model(inputs, outputs)

    def contrastive(y_true, y_pred):
        near, far = y_pred**2, ops.relu(1.0 - y_pred) ** 2
        return y_true * near + (1 - y_true) * far if repaired else (1 - y_true) * near + y_true * far

    model.compile(keras.optimizers.RMSprop(1e-3), contrastive)
    return model, x, y


def train(model, x, y):
    model.fit(x, y, batch_size=64, epochs=12, verbose=0)


def score(model, x, y):
    return separated(-predictions(model, x), y)
