"""What a person watches, from EEG, by strided convolutions and four dense layers.

After keras.io examples/timeseries/eeg_signal_classification.py.
"""

import keras
import numpy as np
from keras import layers

URL = "https://keras.io/examples/timeseries/eeg_signal_classification/"


def build(count=192, length=512, classes=5):
    rng = np.random.default_rng(0)
    y = rng.permutation(np.arange(count) % classes)
    time = np.arange(length) / length
    x = np.cumsum(rng.normal(0, 0.3, (count, length)), axis=1) * 0.1
    x += np.sin(2 * np.pi * ((6 + 5 * y[:, None]) * time + rng.random((count, 1)))) + rng.normal(0, 0.3, x.shape)
    low, high = x.min(1, keepdims=True), x.max(1, keepdims=True)
    x = ((x - low) / (high - low))[..., None].astype("float32")
    inputs = keras.Input((length, 1))
    h = inputs
    for filters, size in ((8, 3), (16, 3), (24, 5), (32, 5), (48, 7), (64, 7)):
        h = layers.Conv1D(filters, size, strides=2, activation="relu", padding="same")(h)
        h = layers.BatchNormalization()(h)
    h = layers.Flatten()(layers.Dropout(0.2)(h))
    h = layers.Dropout(0.2)(layers.Dense(256, activation="relu")(h))
    for units in (128, 64):
        h = layers.Dense(units, activation="relu", kernel_regularizer=keras.regularizers.L2())(h)
        h = layers.Dropout(0.2)(h)
    h = layers.Dense(32, activation="relu", kernel_regularizer=keras.regularizers.L2())(h)
    model = keras.Model(inputs, layers.Dense(classes, activation="softmax")(h))
    model.compile(
        optimizer=keras.optimizers.Adam(amsgrad=True, learning_rate=0.001),
        loss=keras.losses.CategoricalCrossentropy(),
        metrics=[keras.metrics.TopKCategoricalAccuracy(k=3), keras.metrics.AUC()],
    )
    return model, x, np.eye(classes, dtype="float32")[y]
