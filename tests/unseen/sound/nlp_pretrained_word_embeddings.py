"""Newsgroups by 1D convolutions over fixed word vectors, after keras.io examples/nlp/pretrained_word_embeddings.py."""

import keras
import numpy as np
from keras import layers

URL = "https://keras.io/examples/nlp/pretrained_word_embeddings/"


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


def build(vocabulary=600, classes=4, length=130):
    x, y = reviews(vocabulary, length, classes=classes)
    vectors = np.random.default_rng(1).normal(0, 0.4, (vocabulary, 48))
    for topic in range(classes):
        start = vocabulary // 2 + topic * 20
        vectors[start : start + 20] = 0.5 * vectors[start : start + 20] + 0.5 * vectors[start]
    vectors[:2] = 0
    embedding = layers.Embedding(vocabulary, 48, trainable=False)
    embedding.build((1,))
    embedding.set_weights([vectors])
    inputs = keras.Input((length,), dtype="int32")
    h = embedding(inputs)
    for _ in range(2):
        h = layers.MaxPooling1D(3)(layers.Conv1D(48, 5, activation="relu")(h))
    h = layers.GlobalMaxPooling1D()(layers.Conv1D(48, 5, activation="relu")(h))
    h = layers.Dropout(0.5)(layers.Dense(48, activation="relu")(h))
    model = keras.Model(inputs, layers.Dense(classes, activation="softmax")(h))
    model.compile(loss="sparse_categorical_crossentropy", optimizer="rmsprop", metrics=["acc"])
    return model, x, y
