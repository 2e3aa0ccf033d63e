"""Fraud among card payments, very few ones, by wide dense layers.

After keras.io examples/structured_data/imbalanced_classification.py.
"""

import keras
import numpy as np
from keras import layers

URL = "https://keras.io/examples/structured_data/imbalanced_classification/"


def build(count=256, columns=30):
    rng = np.random.default_rng(0)
    y = (rng.permutation(count) < 6).astype("uint8")[:, None]
    x = rng.normal(size=(count, columns)) * rng.uniform(0.3, 2, columns)
    x[:, :8] += 2.5 * y * rng.choice([-1, 1], 8)
    x[:, 0] = np.sort(rng.uniform(0, 170000, count))
    x[:, -1] = rng.exponential(90, count)
    x = (x - x.mean(0)) / x.std(0)
    model = keras.Sequential(
        [
            keras.Input((columns,)),
            layers.Dense(64, activation="relu"),
            layers.Dense(64, activation="relu"),
            layers.Dropout(0.3),
            layers.Dense(64, activation="relu"),
            layers.Dropout(0.3),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    metrics = [keras.metrics.Precision(name="precision"), keras.metrics.Recall(name="recall")]
    model.compile(optimizer=keras.optimizers.Adam(1e-2), loss="binary_crossentropy", metrics=metrics)
    return model, x.astype("float32"), y
