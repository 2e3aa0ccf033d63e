"""Heart disease from columns encoded by a feature space.

After keras.io examples/structured_data/structured_data_classification_with_feature_space.py.
"""

import keras
import numpy as np
from keras import layers

URL = "https://keras.io/examples/structured_data/structured_data_classification_with_feature_space/"


def build(count=256):
    rng = np.random.default_rng(0)
    sick = (rng.random(count) < 0.28).astype("int64")
    numbers = rng.normal([131, 246, 149, 1.0], [17, 50, 23, 1.1], (count, 4)) + np.outer(sick, [4, 6, -12, 0.7])
    parts = [(numbers - numbers.mean(0)) / numbers.std(0)]
    age = np.clip((rng.normal(54, 9, count) + 3 * sick - 29) // 2, 0, 29).astype(int)
    parts.append(np.eye(30)[age])
    chosen = []
    for size in (3, 3, 4, 6, 4, 4, 5, 6):
        chosen.append(np.where(rng.random(count) < 0.3, sick % size, rng.integers(0, size, count)))
        parts.append(np.eye(size)[chosen[-1]])
    parts.append(np.eye(64)[(chosen[0] * 31 + age * 7) % 64])
    parts.append(np.eye(16)[(chosen[1] * 5 + chosen[7]) % 16])
    x = np.concatenate(parts, axis=1).astype("float32")
    inputs = keras.Input((x.shape[1],))
    h = layers.Dropout(0.5)(layers.Dense(32, activation="relu")(inputs))
    model = keras.Model(inputs, layers.Dense(1, activation="sigmoid")(h))
    model.compile(optimizer="adam", loss="binary_crossentropy", metrics=["accuracy"])
    return model, x, sick
