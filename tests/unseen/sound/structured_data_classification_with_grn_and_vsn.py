"""Income from census columns by gated residual networks and variable selection.

After keras.io examples/structured_data/classification_with_grn_and_vsn.py.
"""

import keras
import numpy as np
from keras import layers, ops

URL = "https://keras.io/examples/structured_data/classification_with_grn_and_vsn/"

CLASSES = {"work": 9, "education": 17, "marital": 7, "industry": 24, "race": 5, "sex": 2, "tax": 6}


class Gated(layers.Layer):
    """Gated residual network with layer normalization at its end."""

    def __init__(self, units, rate):
        super().__init__()
        self.units = units
        self.elu, self.linear = layers.Dense(units, activation="elu"), layers.Dense(units)
        self.drop = layers.Dropout(rate)
        self.value, self.gate = layers.Dense(units), layers.Dense(units, activation="sigmoid")
        self.project = layers.Dense(units)
        self.norm = layers.LayerNormalization()

    def call(self, x, training=False):
        h = self.drop(self.linear(self.elu(x)), training=training)
        x = self.project(x) if x.shape[-1] != self.units else x
        return self.norm(x + self.value(h) * self.gate(h))


def census(count=256):
    """Return classes as integers, numbers as they are in the census, and incomes."""
    rng = np.random.default_rng(0)
    rich = (rng.random(count) < 0.1).astype("int32")
    x = {
        "age": rng.integers(16, 70, count) + 10 * rich,
        "wage_per_hour": rng.integers(300, 2500, count) * (rng.random(count) < 0.06),
        "capital_gains": rng.integers(500, 15000, count) * (rng.random(count) < 0.04 + 0.2 * rich),
        "dividends": rng.integers(50, 3000, count) * (rng.random(count) < 0.1 + 0.3 * rich),
        "persons": rng.integers(0, 7, count),
        "weeks": np.where(rng.random(count) < 0.45 * (1 - rich), 0, 52),
    }
    x = {name: column.astype("float32") for name, column in x.items()}
    for name, size in CLASSES.items():
        x[name] = np.where(rich & (rng.random(count) < 0.5), size - 1, rng.integers(0, size, count)).astype("int64")
    return x, rich


def build(units=16, rate=0.15):
    x, y = census()
    inputs = {name: keras.Input((), name=name, dtype="int64" if name in CLASSES else "float32") for name in x}
    encoded = []
    for name, column in inputs.items():
        if name in CLASSES:
            encoded.append(layers.Embedding(CLASSES[name], units)(column))
        else:
            encoded.append(layers.Dense(units)(ops.expand_dims(column, -1)))
    v = Gated(units, rate)(layers.concatenate(encoded))
    v = ops.expand_dims(layers.Dense(len(encoded), activation="softmax")(v), -1)
    h = ops.sum(ops.stack([Gated(units, rate)(column) for column in encoded], axis=1) * v, axis=1)
    model = keras.Model(inputs, layers.Dense(1, activation="sigmoid")(h))
    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate=0.001),
        loss=keras.losses.BinaryCrossentropy(),
        metrics=[keras.metrics.BinaryAccuracy(name="accuracy")],
    )
    return model, x, y
