"""Heart disease from standardized numbers and one-hot classes.

After keras.io examples/structured_data/structured_data_classification_from_scratch.py.
"""

import keras
import numpy as np
from keras import layers

URL = "https://keras.io/examples/structured_data/structured_data_classification_from_scratch/"


def build(count=256):
    rng = np.random.default_rng(0)
    sick = (rng.random(count) < 0.28).astype("int64")
    numbers = rng.normal([54, 131, 246, 149, 1.0, 0.7], [9, 17, 50, 23, 1.1, 0.9], (count, 6))
    numbers += np.outer(sick, [3, 4, 6, -12, 0.7, 0.6])
    numbers = (numbers - numbers.mean(0)) / numbers.std(0)
    inputs, columns = [], []
    for i in range(6):
        inputs.append(keras.Input((1,)))
        columns.append(numbers[:, i : i + 1].astype("float32"))
    for size in (2, 4, 2, 3, 2, 3, 5):
        inputs.append(keras.Input((size,)))
        chosen = np.where(rng.random(count) < 0.3, sick % size, rng.integers(0, size, count))
        columns.append(np.eye(size, dtype="float32")[chosen])
    h = layers.concatenate(inputs)
    h = layers.Dropout(0.5)(layers.Dense(32, activation="relu")(h))
    model = keras.Model(inputs, layers.Dense(1, activation="sigmoid")(h))
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    return model, columns, sick
