"""Sales of a bank by telephone from encoded columns.

After keras.io examples/structured_data/feature_space_advanced.py.
"""

import keras
import numpy as np
from keras import layers

URL = "https://keras.io/examples/structured_data/feature_space_advanced/"


def build(count=256):
    rng = np.random.default_rng(0)
    y = (rng.random(count) < 0.2).astype("int64")
    parts, chosen = [], []
    for size in (2, 4, 8, 3, 3, 3, 2, 10, 5, 3, 3, 4, 4):
        chosen.append(np.where(rng.random(count) < 0.3 * y, size - 1, rng.integers(0, size, count)))
        parts.append(np.eye(size)[chosen[-1]])
    numbers = rng.normal(size=(count, 7)) + np.outer(y, [-0.2, 0.4, -0.8, -0.3, 0.3, -0.9, -1.0])
    parts.append((numbers - numbers.mean(0)) / numbers.std(0))
    for first, second, size in ((12, 10, 8), (4, 5, 6), (9, 0, 2)):
        parts.append(np.eye(size)[(chosen[first] * 5 + chosen[second]) % size])
    x = np.concatenate(parts, axis=1).astype("float32")
    inputs = keras.Input((x.shape[1],))
    h = layers.Dropout(0.5)(layers.Dense(64, activation="relu")(inputs))
    model = keras.Model(inputs, layers.Dense(1, activation="sigmoid")(h))
    model.compile(optimizer="adam", loss="binary_crossentropy", metrics=["accuracy"])
    return model, x, y
