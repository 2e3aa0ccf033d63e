"""Accents told from embeddings of speech by dense layers with dropout.

After keras.io examples/audio/uk_ireland_accent_recognition.py.
"""

import keras
import numpy as np
from keras import layers

URL = "https://keras.io/examples/audio/uk_ireland_accent_recognition/"


def embeddings(count=256, width=256, classes=7):
    """Return sparse embeddings as of a network that ends in ReLU, with their accents one-hot."""
    rng = np.random.default_rng(0)
    y = rng.permutation(np.arange(count) % classes)
    centres = rng.normal(0, 0.6, (classes, width))
    x = np.maximum(centres[y] + rng.normal(-0.3, 0.6, (count, width)), 0)
    return x.astype("float32"), np.eye(classes, dtype="float32")[y]


def build():
    x, y = embeddings()
    inputs = keras.Input((256,))
    h = inputs
    for units, rate in ((256, 0.15), (384, 0.2), (192, 0.25), (384, 0.2)):
        h = layers.Dropout(rate)(layers.Dense(units, activation="relu")(h))
    model = keras.Model(inputs, layers.Dense(7, activation="softmax")(h))
    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate=1.9644e-5),
        loss=keras.losses.CategoricalCrossentropy(),
        metrics=["accuracy", keras.metrics.AUC(name="auc")],
    )
    return model, x, y
