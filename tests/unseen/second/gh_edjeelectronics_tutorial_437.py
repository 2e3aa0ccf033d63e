"""The classes of a detector of playing cards are trained with too small a number of classes: the loss explodes.

Fault: num_classes of the configuration is 3, the label map has 6; labels beyond it become rows of zeros, for which the
gradient of the softmax loss is the softmax itself, so that all logits fall for ever.
Repair (maintainer, to whom it had happened): num_classes as in the label map.
Only the second stage (crops, scaled to [-1, 1]) is ported; the loss has the gradient that TensorFlow has for such rows.
"""

import keras
import numpy as np
from _program import accuracy, predictions

URL = (
    "https://github.com/EdjeElectronics/"
    "TensorFlow-Object-Detection-API-Tutorial-Train-Multiple-Objects-Windows-10/issues/437"
)
YEAR = 2020
TOPIC = "image classification"
CONFIRMED = "maintainer"
KINDS = ("labels: form does not fit the loss or the output",)
VISIBLE = True
EVIDENCE = "47 % of the labels (4, 5 and 6) are beyond the 4 outputs, so that their rows of the target are all zeros"
REPRODUCED = True

CARDS = 6


def crops(count=400):
    """Return crops of cards, and of background (0), with the numbers of the label map."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CARDS + 1, count)
    marks = rng.choice([40, 220], (CARDS + 1, 4, 4, 3)).repeat(6, 1).repeat(6, 2)
    x = rng.integers(0, 256, (count, 32, 32, 3)).astype("float32")
    for i, label in enumerate(labels):
        row, column = rng.integers(0, 9, 2)
        if label:
            noise = rng.normal(0, 30, (24, 24, 3))
            x[i, row : row + 24, column : column + 24] = np.clip(marks[label] + noise, 0, 255)
    return x / 127.5 - 1, labels.astype("int32")[:, None]


def softmax_loss(labels, logits):
    """Return a cross-entropy with the gradient softmax - row, also for labels that have a row of zeros."""
    classes = keras.ops.arange(logits.shape[-1])
    rows = keras.ops.cast(keras.ops.equal(keras.ops.cast(labels, "int32"), classes), logits.dtype)
    return keras.ops.mean(keras.ops.logsumexp(logits, axis=-1) - keras.ops.sum(rows * logits, axis=-1))


def build(repaired):
    num_classes = CARDS if repaired else 3
    model = keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            keras.layers.Conv2D(16, 5, strides=2, activation="relu"),
            keras.layers.Conv2D(32, 3, strides=2, activation="relu"),
            keras.layers.Conv2D(32, 3, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(num_classes + 1),
        ]
    )
    model.compile(keras.optimizers.SGD(0.0002, momentum=0.9, clipnorm=10.0), softmax_loss)
    x, y = crops()
    return model, x, y


def train(model, x, y):
    model.fit(x, y, batch_size=1, epochs=6, verbose=0)


def score(model, x, y):
    return accuracy(predictions(model, x), y)
