"""Speeds on roads of a network by a graph convolution and an LSTM.

After keras.io examples/timeseries/timeseries_traffic_forecasting.py.
"""

import keras
import numpy as np
from keras import layers, ops

URL = "https://keras.io/examples/timeseries/timeseries_traffic_forecasting/"

ROADS, PAST, AHEAD = 10, 12, 3


class GraphLSTM(layers.Layer):
    def __init__(self, near, features=10, units=32):
        super().__init__()
        self.near, self.features = near, features
        self.lstm = layers.LSTM(units, activation="relu")
        self.dense = layers.Dense(AHEAD)

    def build(self, shape):
        self.kernel = self.add_weight((shape[-1], self.features), initializer="glorot_uniform", name="kernel")
        self.lstm.build((None, PAST, 2 * self.features))
        self.dense.build((None, self.lstm.units))

    def call(self, x):
        x = ops.transpose(x, [2, 0, 1, 3])
        around = ops.einsum("ij,jbtf->ibtf", self.near, x)
        h = ops.concatenate([ops.matmul(x, self.kernel), ops.matmul(around, self.kernel)], axis=-1)
        h = self.dense(self.lstm(ops.reshape(h, (-1, PAST, 2 * self.features))))
        return ops.transpose(ops.reshape(h, (ROADS, -1, AHEAD)), [1, 2, 0])


def build(count=192):
    rng = np.random.default_rng(0)
    links = (np.eye(ROADS, k=1) + np.eye(ROADS, k=-1)).astype("float32")
    near = links / links.sum(1, keepdims=True)
    time = np.arange(count + PAST + AHEAD)
    speed = 60 - 15 * np.maximum(np.sin(2 * np.pi * (time[:, None] / 72 + np.arange(ROADS) * 0.03)), 0)
    speed += rng.normal(0, 1.5, speed.shape)
    speed = ((speed - speed.mean(0)) / speed.std(0)).astype("float32")
    x = np.stack([speed[i : i + PAST] for i in range(count)])[..., None]
    y = np.stack([speed[i + PAST : i + PAST + AHEAD] for i in range(count)])
    inputs = keras.Input((PAST, ROADS, 1))
    model = keras.Model(inputs, GraphLSTM(near)(inputs))
    model.compile(optimizer=keras.optimizers.RMSprop(learning_rate=0.0002), loss=keras.losses.MeanSquaredError())
    return model, x, y
