"""Actions in videos by a Transformer over features of the frames.

After keras.io examples/vision/video_transformers.py.
"""

import keras
import numpy as np
from keras import layers, ops

URL = "https://keras.io/examples/vision/video_transformers/"


class Positions(layers.Layer):
    def __init__(self, length, width):
        super().__init__()
        self.table, self.length = layers.Embedding(length, width), length

    def call(self, x):
        return x + self.table(ops.arange(self.length))


class Encoder(layers.Layer):
    def __init__(self, width, hidden, heads):
        super().__init__()
        self.attention = layers.MultiHeadAttention(num_heads=heads, key_dim=width, dropout=0.3)
        self.dense = keras.Sequential([layers.Dense(hidden, activation="gelu"), layers.Dense(width)])
        self.norms = [layers.LayerNormalization(), layers.LayerNormalization()]

    def call(self, x):
        x = self.norms[0](x + self.attention(x, x))
        return self.norms[1](x + self.dense(x))


def build(count=128, frames=20, width=128, classes=5):
    rng = np.random.default_rng(0)
    y = rng.permutation(np.arange(count) % classes)
    start, drift = rng.normal(0, 0.5, (classes, width)), rng.normal(0, 0.5, (classes, width))
    x = start[y][:, None] + np.linspace(0, 1, frames)[:, None] * drift[y][:, None]
    x = np.maximum(x + rng.normal(0, 0.3, (count, 1, width)) + rng.normal(0, 0.1, x.shape), 0)
    inputs = keras.Input((frames, width))
    h = Encoder(width, 4, 1)(Positions(frames, width)(inputs))
    h = layers.Dropout(0.5)(layers.GlobalMaxPooling1D()(h))
    model = keras.Model(inputs, layers.Dense(classes, activation="softmax")(h))
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model, x.astype("float32"), y
