"""Reviews by two bidirectional LSTMs, after keras.io examples/nlp/bidirectional_lstm_imdb.py."""

import keras
import numpy as np
from keras import layers

URL = "https://keras.io/examples/nlp/bidirectional_lstm_imdb/"


def reviews(vocabulary, length, count=256, classes=2, seed=0):
    """Return padded rows of word numbers, frequent words first, and labels that some of the words tell."""
    rng = np.random.default_rng(seed)
    chance = 1 / (np.arange(2, vocabulary) + 5.0)
    x = rng.choice(np.arange(2, vocabulary), (count, length), p=chance / chance.sum())
    y = rng.permutation(np.arange(count) % classes)
    telling = vocabulary // 2 + y[:, None] * 20 + rng.integers(0, 20, (count, length))
    x = np.where(rng.random((count, length)) < 0.15, telling, x)
    ends = rng.integers(length // 2, length + 1, (count, 1))
    return np.where(np.arange(length) < ends, x, 0).astype("int32"), y


def build():
    x, y = reviews(1000, 48)
    x = np.array([np.roll(row, (row == 0).sum()) for row in x])
    inputs = keras.Input(shape=(None,), dtype="int32")
    h = layers.Embedding(1000, 48)(inputs)
    h = layers.Bidirectional(layers.LSTM(24, return_sequences=True))(h)
    h = layers.Bidirectional(layers.LSTM(24))(h)
    model = keras.Model(inputs, layers.Dense(1, activation="sigmoid")(h))
    model.compile(optimizer="adam", loss="binary_crossentropy", metrics=["accuracy"])
    return model, x, y
