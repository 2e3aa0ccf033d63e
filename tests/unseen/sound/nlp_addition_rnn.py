"""Sums of written numbers by an encoder LSTM and a decoder LSTM over one-hot characters.

After keras.io examples/nlp/addition_rnn.py.
"""

import keras
import numpy as np
from keras import layers

URL = "https://keras.io/examples/nlp/addition_rnn/"

CHARACTERS = "0123456789+ "


def rows(texts, length):
    """Return texts as one-hot characters, True and False."""
    numbers = np.array([[CHARACTERS.index(letter) for letter in text.ljust(length)] for text in texts])
    return np.eye(len(CHARACTERS), dtype="bool")[numbers]


def build(count=256, length=2):
    rng = np.random.default_rng(0)
    pairs = rng.integers(0, 10**length, (count, 2))
    x = rows([f"{a}+{b}".ljust(2 * length + 1)[::-1] for a, b in pairs], 2 * length + 1)
    y = rows([str(a + b) for a, b in pairs], length + 1)
    model = keras.Sequential(
        [
            keras.Input(x.shape[1:]),
            layers.LSTM(64),
            layers.RepeatVector(length + 1),
            layers.LSTM(64, return_sequences=True),
            layers.Dense(len(CHARACTERS), activation="softmax"),
        ]
    )
    model.compile(loss="categorical_crossentropy", optimizer="adam", metrics=["accuracy"])
    return model, x, y
