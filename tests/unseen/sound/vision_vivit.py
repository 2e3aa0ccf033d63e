"""Organs in small grey volumes by a video vision Transformer over tubes, after keras.io examples/vision/vivit.py."""

import keras
import numpy as np
from keras import layers, ops

URL = "https://keras.io/examples/vision/vivit/"


class Tubes(layers.Layer):
    def __init__(self, width, patch):
        super().__init__()
        self.projection = layers.Conv3D(filters=width, kernel_size=patch, strides=patch, padding="VALID")
        self.flatten = layers.Reshape((-1, width))

    def call(self, x):
        return self.flatten(self.projection(x))


class Positions(layers.Layer):
    def build(self, shape):
        self.count = shape[1]
        self.table = layers.Embedding(self.count, shape[2])

    def call(self, x):
        return x + self.table(ops.arange(self.count))


def volumes(count=96, size=20, classes=6):
    rng = np.random.default_rng(0)
    y = rng.permutation(np.arange(count) % classes)
    axes = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j, -1 : 1 : size * 1j]
    stretch = 0.25 + 0.5 * rng.random((classes, 3))
    x = np.empty((count, size, size, size, 1), "float32")
    for i in range(count):
        half = stretch[y[i]] * rng.uniform(0.9, 1.1, 3)
        distance = np.sqrt(((axes / half[:, None, None, None]) ** 2).sum(0))
        x[i, ..., 0] = 1 / (1 + np.exp(8 * (distance - 1))) * (0.5 + 0.08 * y[i])
    return np.clip(x + rng.normal(0, 0.02, x.shape), 0, 1).astype("float32"), y


def build(width=32, heads=8, blocks=8, classes=6):
    x, y = volumes()
    inputs = keras.Input(x.shape[1:])
    h = Positions()(Tubes(width, (5, 5, 5))(inputs))
    for _ in range(blocks):
        x1 = layers.LayerNormalization(epsilon=1e-6)(h)
        attended = layers.MultiHeadAttention(num_heads=heads, key_dim=width // heads, dropout=0.1)(x1, x1)
        x2 = layers.Add()([attended, h])
        x3 = layers.LayerNormalization(epsilon=1e-6)(x2)
        dense = keras.Sequential([layers.Dense(width * 4, activation="gelu"), layers.Dense(width, activation="gelu")])
        h = layers.Add()([dense(x3), x2])
    h = layers.GlobalAvgPool1D()(layers.LayerNormalization(epsilon=1e-6)(h))
    model = keras.Model(inputs, layers.Dense(classes, activation="softmax")(h))
    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate=1e-4),
        loss="sparse_categorical_crossentropy",
        metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
    )
    return model, x, y
