"""Reviews by two strided 1D convolutions over learned word vectors.

After keras.io examples/nlp/text_classification_from_scratch.py.
"""

import keras
import numpy as np
from keras import layers

URL = "https://keras.io/examples/nlp/text_classification_from_scratch/"


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
    x, y = reviews(1000, 100)
    inputs = keras.Input(shape=(None,), dtype="int64")
    h = layers.Dropout(0.5)(layers.Embedding(1000, 48)(inputs))
    for _ in range(2):
        h = layers.Conv1D(48, 7, padding="valid", activation="relu", strides=3)(h)
    h = layers.GlobalMaxPooling1D()(h)
    h = layers.Dropout(0.5)(layers.Dense(48, activation="relu")(h))
    model = keras.Model(inputs, layers.Dense(1, activation="sigmoid", name="predictions")(h))
    model.compile(loss="binary_crossentropy", optimizer="adam", metrics=["accuracy"])
    return model, x, y
