"""Actions in videos by GRUs over features of the frames, after keras.io examples/vision/video_classification.py."""

import keras
import numpy as np
from keras import layers

URL = "https://keras.io/examples/vision/video_classification/"


def features(count=128, frames=20, width=256, classes=5):
    """Return pooled features of a network that ends in ReLU, which drift with the action, and masks of real frames."""
    rng = np.random.default_rng(0)
    y = rng.permutation(np.arange(count) % classes)
    start, drift = rng.normal(0, 0.5, (classes, width)), rng.normal(0, 0.5, (classes, width))
    time = np.linspace(0, 1, frames)[:, None]
    x = start[y][:, None] + time * drift[y][:, None] + rng.normal(0, 0.3, (count, 1, width))
    x = np.maximum(x + rng.normal(0, 0.1, x.shape), 0)
    mask = np.arange(frames) < rng.integers(frames // 2, frames + 1, (count, 1))
    return (x * mask[..., None]).astype("float32"), mask, y


def build():
    x, mask, y = features()
    frames, real = keras.Input(x.shape[1:]), keras.Input((x.shape[1],), dtype="bool")
    h = layers.GRU(16, return_sequences=True)(frames, mask=real)
    h = layers.Dropout(0.4)(layers.GRU(8)(h))
    h = layers.Dense(8, activation="relu")(h)
    model = keras.Model([frames, real], layers.Dense(5, activation="softmax")(h))
    model.compile(loss="sparse_categorical_crossentropy", optimizer="adam", metrics=["accuracy"])
    return model, [x, mask], y
