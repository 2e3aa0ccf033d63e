"""An autoencoder of sigmoids for digits, with cross-entropy: every output is the same blob.

Fault: cross-entropy takes grey values for probabilities of black and white.
Repair (best answer): mean squared error, with which the asker got decent images.
The report does not say the optimizer; Adam with a rate of 0.01 is assumed.
"""

import keras
from _program import explained, predictions
from sklearn.datasets import load_digits

URL = "https://stats.stackexchange.com/questions/245448/"
YEAR = 2016
TOPIC = "autoencoders"
CONFIRMED = "votes"
KINDS = ("loss: wrong kind for the task",)
VISIBLE = False
EVIDENCE = "the targets lie in [0, 1] as grey values do, for which this loss is taken on purpose"
REPRODUCED = False


def build(repaired):
    x = (load_digits().data[:800] / 16).astype("float32")
    widths = (48, 24, 48, 64)
    layers = [keras.layers.Dense(width, activation="sigmoid") for width in widths]
    model = keras.Sequential([keras.Input((64,)), *layers])
    model.compile(keras.optimizers.Adam(0.01), "mean_squared_error" if repaired else "binary_crossentropy")
    return model, x, x


def train(model, x, y):
    model.fit(x, y, batch_size=32, epochs=20, verbose=0)


def score(model, x, y):
    return explained(predictions(model, x) - x.mean(0), x - x.mean(0))
