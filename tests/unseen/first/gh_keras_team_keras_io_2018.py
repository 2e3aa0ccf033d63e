"""A transformer example classifies standardized series of one channel: the accuracy stays at one half.

Fault: the average over time leaves one number per series, which is 0 for each of the standardized series.
Repair (the reports of the same example confirm it): pooling with channels first, which keeps the times.
"""

import keras
import numpy as np
from _program import accuracy, predictions

URL = "https://github.com/keras-team/keras-io/issues/2018"
YEAR = 2025
TOPIC = "time series"
CONFIRMED = "comments"
KINDS = ("inputs: other (wrong axis, all alike, no information)",)
VISIBLE = True
EVIDENCE = "the pooled feature is one number, within 1e-8 of 0 for all series, and all examples get the same output"
REPRODUCED = True

STEPS = 40


def encode(inputs):
    x = keras.layers.MultiHeadAttention(num_heads=2, key_dim=16, dropout=0.25)(inputs, inputs)
    x = keras.layers.Dropout(0.25)(x)
    x = keras.layers.LayerNormalization(epsilon=1e-6)(x)
    residual = keras.layers.Add()([x, inputs])
    x = keras.layers.Conv1D(4, 1, activation="relu")(residual)
    x = keras.layers.Dropout(0.25)(x)
    x = keras.layers.Conv1D(1, 1)(x)
    x = keras.layers.LayerNormalization(epsilon=1e-6)(x)
    return keras.layers.Add()([x, residual])


def build(repaired):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 160)
    time = np.arange(STEPS) / STEPS
    # One class has an additional resonance.
    wave = np.sin(2 * np.pi * 2 * time) + y[:, None] * 0.8 * np.sin(2 * np.pi * 7 * time)
    x = wave + rng.normal(0, 0.7, (160, STEPS))
    x = (x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True)
    inputs = keras.layers.Input((STEPS, 1))
    hidden = encode(encode(inputs))
    hidden = keras.layers.GlobalAveragePooling1D("channels_first" if repaired else "channels_last")(hidden)
    hidden = keras.layers.Dropout(0.4)(keras.layers.Dense(128, activation="relu")(hidden))
    model = keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(hidden))
    model.compile(optimizer=keras.optimizers.Adam(1e-4), loss="sparse_categorical_crossentropy")
    return model, x[..., None].astype("float32"), y


def train(model, x, y):
    model.fit(x, y, batch_size=16, epochs=40, verbose=0)


def score(model, x, y):
    return accuracy(predictions(model, x), y)
