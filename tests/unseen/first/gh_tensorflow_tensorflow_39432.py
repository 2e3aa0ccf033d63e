"""The autoencoder of a well-known tutorial converges fast with keras, and not at all with tensorflow.keras.

Fault: the rate that "adadelta" stands for is 0.001 there, not 1.
Repair (maintainers, in this and the same reports before it): a rate of 1.
"""

import keras
from _program import explained, predictions
from sklearn.datasets import load_digits

URL = "https://github.com/tensorflow/tensorflow/issues/39432"
YEAR = 2020
TOPIC = "autoencoders"
CONFIRMED = "maintainer"
KINDS = ("optimizer: rate too small",)
VISIBLE = True
EVIDENCE = (
    "Adadelta with a rate of 0.001, a thousandth of the method's own: a step leaves the loss of the batch at "
    "0.7002, one at 1 brings 0.6981"
)
REPRODUCED = True


def build(repaired):
    x = (load_digits().data[:800] / 16).astype("float32")
    model = keras.Sequential(
        [
            keras.Input((64,)),
            keras.layers.Dense(16, activation="relu"),
            keras.layers.Dense(64, activation="sigmoid"),
        ]
    )
    model.compile(keras.optimizers.Adadelta(1.0 if repaired else 0.001), "binary_crossentropy")
    return model, x, x


def train(model, x, y):
    model.fit(x, y, batch_size=32, epochs=20, verbose=0)


def score(model, x, y):
    return explained(predictions(model, x), y)
