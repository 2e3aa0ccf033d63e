"""Sounds classified from a fixed STFT layer by 1D convolutions, after keras.io examples/audio/stft.py."""

import keras
import numpy as np
from keras import layers

URL = "https://keras.io/examples/audio/stft/"

RATE = 1000


def sounds(count=100, classes=10, seconds=2.5):
    """Return waves in -1..1, a fading tone of one pitch a class in noise, and the classes."""
    rng = np.random.default_rng(0)
    y = rng.permutation(np.arange(count) % classes)
    time = np.arange(int(RATE * seconds)) / RATE
    pitch = 40 + 40 * y[:, None] + rng.normal(0, 3, (count, 1))
    fade = np.exp(-time * rng.uniform(0.3, 1, (count, 1)))
    x = 0.6 * fade * np.sin(2 * np.pi * (pitch * time + rng.random((count, 1)))) + rng.normal(
        0, 0.05, (count, len(time))
    )
    return np.clip(x, -1, 1)[..., None].astype("float32"), y


def build():
    x, y = sounds()
    model = keras.Sequential(
        [
            keras.Input((None, 1)),
            layers.STFTSpectrogram(
                mode="log", frame_length=RATE * 40 // 1000, frame_step=RATE * 15 // 1000, trainable=False
            ),
            layers.Conv1D(16, 64, activation="relu"),
            layers.Conv1D(32, 16, activation="relu"),
            layers.LayerNormalization(),
            layers.MaxPooling1D(4),
            layers.Conv1D(32, 8, activation="relu"),
            layers.Conv1D(64, 8, activation="relu"),
            layers.Conv1D(128, 4, activation="relu"),
            layers.LayerNormalization(),
            layers.Dropout(0.5),
            layers.GlobalMaxPooling1D(),
            layers.Dense(64, activation="relu"),
            layers.Dense(64, activation="relu"),
            layers.Dropout(0.5),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(optimizer=keras.optimizers.Adam(1e-5), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model, x, y
