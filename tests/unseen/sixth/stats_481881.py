"""A network of two convolutions for grids of 99 by 25 with two channels, of which one holds the answer: true for all.

Fault: the last layer is a softmax of one unit, which is 1 for any input, with the categorical cross-entropy.
Repair (the only answer): a sigmoid, with the binary cross-entropy. 8 and 16 filters instead of 30 and 64; three
epochs of 240 drawn grids instead of one epoch. The first channel (its numbers are on a page that is not stored) is
assumed to be normal with a variance of 1.
"""

import keras
import numpy as np
from _program import predictions, separated
from keras import layers

URL = "https://stats.stackexchange.com/questions/481881/convolutional-neural-network-fails-even-when-given-answer"
YEAR = 2020
TOPIC = "image classification"
CONFIRMED = "answer"
KINDS = ("last layer: softmax of one unit, or along a wrong axis",)
VISIBLE = True
EVIDENCE = "the output is 1 for each input, whatever the weights, the first loss is 0, and all gradients are 0"
REPRODUCED = True


def build(repaired):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, (240, 1)).astype("float32")
    x = np.stack([rng.normal(size=(240, 99, 25)), np.broadcast_to(y[:, :, None], (240, 99, 25))], -1)
    model = keras.Sequential(
        [
            keras.Input((99, 25, 2)),
            layers.Conv2D(8, 3, activation="relu"),
            layers.Conv2D(16, 3, activation="relu"),
            layers.Flatten(),
            layers.Dense(1, activation="sigmoid" if repaired else "softmax"),
        ]
    )
    model.compile("adam", "binary_crossentropy" if repaired else "categorical_crossentropy", metrics=["accuracy"])
    return model, x.astype("float32"), y


def train(model, x, y):
    model.fit(x, y, epochs=3, verbose=0)


def score(model, x, y):
    return separated(predictions(model, x), y)
