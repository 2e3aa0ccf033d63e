"""A convolutional network for CIFAR-10 (that of the old Keras example) converges very slowly.

Fault: RMSprop with a rate of 0.0001 (and a decay of 1e-6).
Repair (the person, and his commit): Adam with a rate of 0.001 (and a decay of 1e-5).
A quarter of the filters, 64 units instead of 512, drawn pictures of ten kinds of 16 x 16 instead of 32 x 32, values
0 to 1, 240 of them; batches of 24, which the issue does not name.
"""

import keras
import numpy as np
from _program import accuracy, predictions
from keras import layers

URL = "https://github.com/LabeliaLabs/distributed-learning-contributivity/issues/282"
YEAR = 2020
TOPIC = "image classification"
CONFIRMED = "person"
KINDS = ("optimizer: rate too small",)
VISIBLE = False
EVIDENCE = (
    "the rate is ten times too small, for RMSprop; weights, signals, gradients and data are as in the repaired form"
)
REPRODUCED = True


def build(repaired):
    rng = np.random.default_rng(0)
    count, size = 240, 16
    y = np.arange(count) % 10
    coarse = rng.random((10, 4, 4, 3)).repeat(4, 1).repeat(4, 2)
    x = (0.25 + 0.5 * coarse[y] + rng.normal(0, 0.1, (count, size, size, 3))).clip(0, 1).astype("float32")
    model = keras.Sequential(
        [
            keras.Input((size, size, 3)),
            layers.Conv2D(8, 3, padding="same", activation="relu"),
            layers.Conv2D(8, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Dropout(0.25),
            layers.Conv2D(16, 3, padding="same", activation="relu"),
            layers.Conv2D(16, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Dropout(0.25),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dropout(0.5),
            layers.Dense(10, activation="softmax"),
        ]
    )

    def decayed(rate, decay):
        return keras.optimizers.schedules.InverseTimeDecay(rate, 1, decay)

    if repaired:
        optimizer = keras.optimizers.Adam(decayed(0.001, 1e-5))
    else:
        optimizer = keras.optimizers.RMSprop(decayed(0.0001, 1e-6))
    model.compile(optimizer, "categorical_crossentropy")
    return model, x, np.eye(10, dtype="float32")[y]


def train(model, x, y):
    model.fit(x, y, batch_size=24, epochs=12, verbose=0)


def score(model, x, y):
    return accuracy(predictions(model, x), y)
