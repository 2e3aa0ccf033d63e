"""Forest cover from raw numbers and classes by a wide and deep network.

After keras.io examples/structured_data/wide_deep_cross_networks.py.
"""

import keras
import numpy as np
from keras import layers, ops

URL = "https://keras.io/examples/structured_data/wide_deep_cross_networks/"


def build(count=256, types=7):
    rng = np.random.default_rng(0)
    y = rng.choice(types, count, p=[0.36, 0.49, 0.06, 0.01, 0.02, 0.03, 0.03])
    height = np.array([3130, 2920, 2400, 2220, 2790, 2420, 3360])[y] + rng.normal(0, 110, count)
    numbers = [
        height,
        rng.integers(0, 360, count),
        rng.gamma(4, 3.5, count),
        rng.exponential(270, count),
        rng.normal(46, 58, count),
        rng.exponential(2300, count),
        np.clip(rng.normal(212, 27, count), 0, 254),
        np.clip(rng.normal(223, 20, count), 0, 254),
        np.clip(rng.normal(142, 38, count), 0, 254),
        rng.exponential(1900, count),
    ]
    area = np.where(height > 2900, rng.integers(0, 3, count), 3)
    soil = np.clip(height / 100 - 20 + rng.normal(0, 3, count), 0, 39).astype(int)
    first, second, third = keras.Input((10,)), keras.Input((), dtype="int32"), keras.Input((), dtype="int32")
    wide = layers.concatenate([first, ops.one_hot(second, 4), ops.one_hot(third, 40)])
    wide = layers.BatchNormalization()(wide)
    deep = layers.concatenate([first, layers.Embedding(4, 2)(second), layers.Embedding(40, 6)(third)])
    for units in (32, 32):
        deep = layers.ReLU()(layers.BatchNormalization()(layers.Dense(units)(deep)))
        deep = layers.Dropout(0.1)(deep)
    outputs = layers.Dense(types, activation="softmax")(layers.concatenate([wide, deep]))
    model = keras.Model([first, second, third], outputs)
    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate=0.001),
        loss=keras.losses.SparseCategoricalCrossentropy(),
        metrics=[keras.metrics.SparseCategoricalAccuracy()],
    )
    return model, [np.stack(numbers, 1).astype("float32"), area.astype("int32"), soil.astype("int32")], y
