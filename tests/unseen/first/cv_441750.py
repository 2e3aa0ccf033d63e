"""An autoencoder as wide as its input of uniform noise does not get to a loss of zero after 500 epochs.

Fault: binary cross-entropy for targets between 0 and 1 that are neither: its least value is their entropy, not zero.
Repair (accepted answer): a loss that suits numbers, mean squared error.
"""

import keras
import numpy as np
from _program import explained, predictions

URL = "https://stats.stackexchange.com/questions/441750/"
YEAR = 2019
TOPIC = "autoencoders"
CONFIRMED = "accepted answer"
KINDS = ("loss: wrong kind for the task",)
VISIBLE = False
EVIDENCE = (
    "not reproduced: as targets between 0 and 1 the noise is like grey values, for which this loss is taken on "
    "purpose; its least value is 0.5 here, and both losses lead to the same outputs"
)
REPRODUCED = False


def build(repaired):
    width = 40
    x = np.random.default_rng(0).uniform(size=(800, width)).astype("float32")
    layers = [keras.layers.Dense(width, activation="relu") for _ in range(5)]
    model = keras.Sequential([keras.Input((width,)), *layers, keras.layers.Dense(width, activation="sigmoid")])
    model.compile(optimizer="adam", loss="mean_squared_error" if repaired else "binary_crossentropy")
    return model, x, x


def train(model, x, y):
    model.fit(x, y, batch_size=32, epochs=20, verbose=0)


def score(model, x, y):
    return explained(predictions(model, x), y)
