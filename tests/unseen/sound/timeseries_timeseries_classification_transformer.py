"""Engine noise with and without a fault by Transformer blocks.

After keras.io examples/timeseries/timeseries_classification_transformer.py.
"""

import keras
import numpy as np
from keras import layers

URL = "https://keras.io/examples/timeseries/timeseries_classification_transformer/"


def noises(count=128, length=64):
    """Return standardized series; the ones of class 1 carry a tone."""
    rng = np.random.default_rng(0)
    y = rng.permutation(np.arange(count) % 2)
    time = np.arange(length)
    x = np.apply_along_axis(lambda row: np.convolve(row, np.ones(5) / 5, "same"), 1, rng.normal(size=(count, length)))
    x += y[:, None] * np.sin(2 * np.pi * (time / 11 + rng.random((count, 1)))) * (time > 25)
    return ((x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True))[..., None].astype("float32"), y


def encoder(x, size, heads, hidden, rate):
    h = layers.MultiHeadAttention(key_dim=size, num_heads=heads, dropout=rate)(x, x)
    h = layers.LayerNormalization(epsilon=1e-6)(layers.Dropout(rate)(h))
    rest = h + x
    h = layers.Conv1D(hidden, kernel_size=1, activation="relu")(rest)
    h = layers.Conv1D(x.shape[-1], kernel_size=1)(layers.Dropout(rate)(h))
    return layers.LayerNormalization(epsilon=1e-6)(h) + rest


def build():
    x, y = noises()
    inputs = keras.Input(x.shape[1:])
    h = inputs
    for _ in range(4):
        h = encoder(h, 16, 4, 4, 0.25)
    h = layers.GlobalAveragePooling1D(data_format="channels_first")(h)
    h = layers.Dropout(0.4)(layers.Dense(128, activation="relu")(h))
    model = keras.Model(inputs, layers.Dense(2, activation="softmax")(h))
    model.compile(
        loss="sparse_categorical_crossentropy",
        optimizer=keras.optimizers.Adam(learning_rate=1e-4),
        metrics=["sparse_categorical_accuracy"],
    )
    return model, x, y
