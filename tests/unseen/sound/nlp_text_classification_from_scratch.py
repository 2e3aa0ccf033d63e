"""Reviews by two strided 1D convolutions over learned word vectors.

After keras.io examples/nlp/text_classification_from_scratch.py.
"""

import keras
from _shared import reviews
from keras import layers

URL = "https://keras.io/examples/nlp/text_classification_from_scratch/"


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
