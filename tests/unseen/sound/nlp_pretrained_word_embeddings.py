"""Newsgroups by 1D convolutions over fixed word vectors, after keras.io examples/nlp/pretrained_word_embeddings.py."""

import keras
import numpy as np
from _shared import reviews
from keras import layers

URL = "https://keras.io/examples/nlp/pretrained_word_embeddings/"


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
