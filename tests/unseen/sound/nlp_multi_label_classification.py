"""Several subjects of a paper from TF-IDF of its summary, after keras.io examples/nlp/multi_label_classification.py."""

import keras
import numpy as np
from keras import layers

URL = "https://keras.io/examples/nlp/multi_label_classification/"


def build(count=256, vocabulary=400, subjects=20):
    rng = np.random.default_rng(0)
    y = rng.random((count, subjects)) < 0.06
    y[np.arange(count), rng.integers(0, subjects, count)] = True
    topics = (rng.random((subjects, vocabulary)) < 0.04).astype("float32")
    common = 6 / (np.arange(vocabulary) + 10)
    counts = rng.poisson(common + 0.8 * (y @ topics))
    x = counts * np.log(1 + count / (1 + (counts > 0).sum(0)))
    model = keras.Sequential(
        [
            keras.Input((vocabulary,)),
            layers.Dense(128, activation="relu"),
            layers.Dense(64, activation="relu"),
            layers.Dense(subjects, activation="sigmoid"),
        ]
    )
    model.compile(loss="binary_crossentropy", optimizer="adam", metrics=["binary_accuracy"])
    return model, x.astype("float32"), y.astype("float32")
