"""Translation letter by letter, an LSTM reads and another writes from its state.

After keras.io examples/nlp/lstm_seq2seq.py.
"""

import keras
import numpy as np
from keras import layers

URL = "https://keras.io/examples/nlp/lstm_seq2seq/"


def build(count=192, letters=20, length=10):
    rng = np.random.default_rng(0)
    code = rng.permutation(np.arange(3, letters))
    sizes = rng.integers(4, length + 1, (count, 1))
    source = np.where(np.arange(length) < sizes, rng.integers(3, letters, (count, length)), 0)
    target = np.where(source > 0, code[source - 3], 0)
    target = np.where(np.arange(length + 1) == sizes, 2, np.pad(target, ((0, 0), (0, 1))))
    before = np.concatenate([np.ones((count, 1), int), target[:, :-1]], axis=1)
    rows = np.eye(letters, dtype="float32")
    first, second = keras.Input((None, letters)), keras.Input((None, letters))
    _, *state = layers.LSTM(64, return_state=True)(first)
    h, _, _ = layers.LSTM(64, return_sequences=True, return_state=True)(second, initial_state=state)
    model = keras.Model([first, second], layers.Dense(letters, activation="softmax")(h))
    model.compile(optimizer="rmsprop", loss="categorical_crossentropy", metrics=["accuracy"])
    wanted = rows[target]
    return model, [rows[source], rows[before]], wanted
