"""Reviews by a bidirectional LSTM with maxima over time.

After keras.io examples/nlp/active_learning_review_classification.py.
"""

import keras
import numpy as np
from keras import layers

URL = "https://keras.io/examples/nlp/active_learning_review_classification/"


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
    x, y = reviews(600, 48)
    model = keras.Sequential(
        [
            keras.Input((48,)),
            layers.Embedding(600, 48),
            layers.Bidirectional(layers.LSTM(16, return_sequences=True)),
            layers.GlobalMaxPool1D(),
            layers.Dense(20, activation="relu"),
            layers.Dropout(0.5),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile(
        loss="binary_crossentropy",
        optimizer="rmsprop",
        metrics=[keras.metrics.BinaryAccuracy(), keras.metrics.FalseNegatives(), keras.metrics.FalsePositives()],
    )
    return model, x, y
