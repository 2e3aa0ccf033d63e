"""Three stacked LSTMs shall answer the first of three numbers: nothing for 12 epochs, then they learn by the 22nd.

Fault: the default rate of Adam, 0.001, is too small for the few steps (200 records an epoch).
Repair (answer): a larger rate; 0.01 is taken here, since the stored text shows no number.
Training stops after 12 epochs, where the question sees no gain yet. The batch size is assumed to be the default.
"""

import keras
import numpy as np
from _program import accuracy, predictions

URL = "https://stackoverflow.com/questions/43442560"
YEAR = 2017
TOPIC = "text and sequences"
CONFIRMED = "votes"
KINDS = ("optimizer: rate too small",)
VISIBLE = False
EVIDENCE = "The loss goes from 0.693 to 0.655 in 12 epochs, and to 0.0002 with the larger rate."
REPRODUCED = True


def build(repaired):
    rng = np.random.default_rng(0)
    first = rng.integers(0, 2, 200)
    x = np.stack([first, rng.integers(0, 10, 200), rng.integers(0, 10, 200)], 1)[..., None].astype("float32")
    y = np.eye(2, dtype="float32")[first]

    model = keras.Sequential(
        [
            keras.Input((3, 1)),
            keras.layers.LSTM(15, return_sequences=True),
            keras.layers.LSTM(15, return_sequences=True),
            keras.layers.LSTM(15),
            keras.layers.Dense(2, activation="softmax", kernel_initializer="random_uniform"),
        ]
    )
    optimizer = keras.optimizers.Adam(0.01 if repaired else 0.001)
    model.compile(loss="categorical_crossentropy", optimizer=optimizer)
    return model, x, y


def train(model, x, y):
    model.fit(x, y, epochs=12, verbose=0)


def score(model, x, y):
    return accuracy(predictions(model, x), y)
