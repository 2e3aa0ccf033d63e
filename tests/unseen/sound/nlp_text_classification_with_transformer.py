"""Reviews by one Transformer block and average pooling.

After keras.io examples/nlp/text_classification_with_transformer.py.
"""

import keras
import numpy as np
from keras import layers, ops

URL = "https://keras.io/examples/nlp/text_classification_with_transformer/"


class Block(layers.Layer):
    """One Transformer block with normalization after each part."""

    def __init__(self, width, heads, hidden, rate=0.1):
        super().__init__()
        self.attention = layers.MultiHeadAttention(num_heads=heads, key_dim=width)
        self.dense = keras.Sequential([layers.Dense(hidden, activation="relu"), layers.Dense(width)])
        self.norms = [layers.LayerNormalization(epsilon=1e-6) for _ in range(2)]
        self.drops = [layers.Dropout(rate) for _ in range(2)]

    def call(self, x, training=False):
        x = self.norms[0](x + self.drops[0](self.attention(x, x), training=training))
        return self.norms[1](x + self.drops[1](self.dense(x), training=training))


class Embeddings(layers.Layer):
    """Sum of embeddings of tokens and of their places."""

    def __init__(self, length, vocabulary, width):
        super().__init__()
        self.tokens, self.places = layers.Embedding(vocabulary, width), layers.Embedding(length, width)

    def call(self, x):
        return self.tokens(x) + self.places(ops.arange(0, x.shape[-1]))


def reviews(vocabulary, length, count=256, classes=2, seed=0):
    """Return padded rows of word numbers, frequent words first, and labels that some of the words tell."""
    rng = np.random.default_rng(seed)
    chance = 1 / (np.arange(2, vocabulary) + 5.0)
    x = rng.choice(np.arange(2, vocabulary), (count, length), p=chance / chance.sum())
    y = rng.permutation(np.arange(count) % classes)
    telling = vocabulary // 2 + y[:, None] * 20 + rng.integers(0, 20, (count, length))
    x = np.where(rng.random((count, length)) < 0.15, telling, x)
    ends = rng.integers(length // 2, length + 1, (count, 1))
    return np.where(np.arange(length) < ends, x, 0).astype("int32"), y


def build():
    x, y = reviews(1000, 48)
    inputs = keras.Input(shape=(48,))
    h = Block(32, 2, 32)(Embeddings(48, 1000, 32)(inputs))
    h = layers.Dropout(0.1)(layers.GlobalAveragePooling1D()(h))
    h = layers.Dropout(0.1)(layers.Dense(20, activation="relu")(h))
    model = keras.Model(inputs, layers.Dense(2, activation="softmax")(h))
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model, x, y
