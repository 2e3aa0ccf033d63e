"""Daily series rebuilt by a convolutional autoencoder.

After keras.io examples/timeseries/timeseries_anomaly_detection.py.
"""

import keras
import numpy as np
from keras import layers

URL = "https://keras.io/examples/timeseries/timeseries_anomaly_detection/"


def build(count=192, window=96):
    rng = np.random.default_rng(0)
    time = np.arange(count + window - 1)
    series = 20 + 8 * np.sin(2 * np.pi * time / 48) + 3 * np.sin(2 * np.pi * time / 24) + rng.normal(0, 0.5, len(time))
    series = (series - series.mean()) / series.std()
    x = np.lib.stride_tricks.sliding_window_view(series, window)[..., None].astype("float32")
    model = keras.Sequential(
        [
            keras.Input((window, 1)),
            layers.Conv1D(32, 7, padding="same", strides=2, activation="relu"),
            layers.Dropout(0.2),
            layers.Conv1D(16, 7, padding="same", strides=2, activation="relu"),
            layers.Conv1DTranspose(16, 7, padding="same", strides=2, activation="relu"),
            layers.Dropout(0.2),
            layers.Conv1DTranspose(32, 7, padding="same", strides=2, activation="relu"),
            layers.Conv1DTranspose(1, 7, padding="same"),
        ]
    )
    model.compile(optimizer=keras.optimizers.Adam(learning_rate=0.001), loss="mse")
    return model, x, x
