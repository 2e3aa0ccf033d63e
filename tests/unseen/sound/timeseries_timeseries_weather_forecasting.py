"""Temperature some hours ahead from seven measured columns by an LSTM.

After keras.io examples/timeseries/timeseries_weather_forecasting.py.
"""

import keras
import numpy as np
from keras import layers

URL = "https://keras.io/examples/timeseries/timeseries_weather_forecasting/"


def build(count=192, past=60, ahead=12):
    rng = np.random.default_rng(0)
    time = np.arange(count + past + ahead)
    waves = np.sin(2 * np.pi * (time[:, None] / [48, 48, 48, 24, 70, 110, 33] + rng.random(7)))
    columns = waves + np.cumsum(rng.normal(0, 0.05, waves.shape), axis=0) + rng.normal(0, 0.1, waves.shape)
    columns[:, 1] = 0.8 * columns[:, 1] + 0.5 * columns[:, 2]
    columns = ((columns - columns.mean(0)) / columns.std(0)).astype("float32")
    x = np.stack([columns[i : i + past] for i in range(count)])
    y = columns[past + ahead - 1 : past + ahead - 1 + count, 1:2]
    inputs = keras.Input((past, 7))
    model = keras.Model(inputs, layers.Dense(1)(layers.LSTM(32)(inputs)))
    model.compile(optimizer=keras.optimizers.Adam(learning_rate=0.001), loss="mse")
    return model, x, y
