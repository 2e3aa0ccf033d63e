"""Reviews by two bidirectional LSTMs, after keras.io examples/nlp/bidirectional_lstm_imdb.py."""

import keras
import numpy as np
from _shared import reviews
from keras import layers

URL = "https://keras.io/examples/nlp/bidirectional_lstm_imdb/"


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
