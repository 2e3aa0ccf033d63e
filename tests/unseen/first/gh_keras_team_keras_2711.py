"""A network with one convolution sorts gray comic panels into two kinds: the loss sticks at 8.85 from the start.

Fault: its convolution has no activation and feeds every pixel of 32 maps to the last layer, under a rate of 0.1 with
momentum: a linear model whose softmax is thrown to one class and stays there.
Repair (asker): several ReLU convolutions with pooling and dropout; excellent results.
The rate of the asker's last model is not shown; a tenth of it is taken, as comments advise a lower one. Pictures are 32
instead of 106 pixels wide, in [0, 1] (assumed).
"""

import keras
import numpy as np
from _program import accuracy, predictions

URL = "https://github.com/keras-team/keras/issues/2711"
YEAR = 2016
TOPIC = "image classification"
CONFIRMED = "asker"
KINDS = ("activation: missing or wrong", "optimizer: rate too large")
VISIBLE = True
EVIDENCE = (
    "No ReLU, 32,768 inputs of the last layer: one step moves logits of size 0.3 by 8.6; the loss goes "
    "to 8.06 and stays."
)
REPRODUCED = True


def build(repaired):
    rng = np.random.default_rng(0)
    labels = np.arange(300) % 2
    x = rng.uniform(0.6, 1, (300, 32, 32))
    for panel, label in zip(x, labels, strict=True):
        for row, column in rng.integers(0, 24, (4, 2)):
            panel[row : row + 8, column : column + 8] *= 1 - 0.8 * (np.indices((8, 8))[label] % 2)
    x = x[..., None].astype("float32")
    y = np.eye(2, dtype="float32")[labels]

    layers = keras.layers
    if repaired:
        hidden = []
        for filters in (8, 16):
            hidden += [layers.Conv2D(filters, 5, padding="same", activation="relu"), layers.MaxPooling2D()]
            hidden += [layers.Dropout(0.25)]
    else:
        hidden = [layers.Conv2D(32, 10, padding="same")]
    model = keras.Sequential(
        [keras.Input((32, 32, 1)), *hidden, layers.Flatten(), layers.Dense(2, activation="softmax")]
    )
    rate = keras.optimizers.schedules.InverseTimeDecay(0.01 if repaired else 0.1, 1, 0.01)
    model.compile(loss="categorical_crossentropy", optimizer=keras.optimizers.SGD(rate, momentum=0.9))
    return model, x, y


def train(model, x, y):
    model.fit(x, y, batch_size=64, epochs=10, verbose=0)


def score(model, x, y):
    return accuracy(predictions(model, x), y)
