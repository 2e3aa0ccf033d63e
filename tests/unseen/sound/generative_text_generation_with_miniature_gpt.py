"""Next word of a review by one Transformer block.

After keras.io examples/generative/text_generation_with_miniature_gpt.py.
"""

import keras
import numpy as np
from keras import layers, ops

URL = "https://keras.io/examples/generative/text_generation_with_miniature_gpt/"

WORDS, LENGTH = 300, 24


class Block(layers.Layer):
    def __init__(self, width, heads, hidden, rate=0.1):
        super().__init__()
        self.attention = layers.MultiHeadAttention(heads, width)
        self.dense = keras.Sequential([layers.Dense(hidden, activation="relu"), layers.Dense(width)])
        self.norms = [layers.LayerNormalization(epsilon=1e-6) for _ in range(2)]
        self.drops = [layers.Dropout(rate) for _ in range(2)]

    def call(self, x, training=False):
        mask = np.tri(x.shape[1], dtype="bool")[None]
        x = self.norms[0](x + self.drops[0](self.attention(x, x, attention_mask=mask), training=training))
        return self.norms[1](x + self.drops[1](self.dense(x), training=training))


class Embeddings(layers.Layer):
    def __init__(self, width):
        super().__init__()
        self.tokens, self.positions = layers.Embedding(WORDS, width), layers.Embedding(LENGTH, width)

    def call(self, x):
        return self.tokens(x) + self.positions(ops.arange(0, x.shape[-1]))


def sentences(vocabulary, length, count=256, seed=0):
    """Return rows of token numbers from 2 on where each token mostly follows from the one before."""
    rng = np.random.default_rng(seed)
    follower = rng.permutation(np.arange(2, vocabulary))
    x = rng.integers(2, vocabulary, (count, length))
    for i in range(1, length):
        x[:, i] = np.where(rng.random(count) < 0.8, follower[x[:, i - 1] - 2], x[:, i])
    return x.astype("int32")


def build():
    words = sentences(WORDS, LENGTH + 1)
    inputs = keras.Input((LENGTH,), dtype="int32")
    h = Block(48, 2, 48)(Embeddings(48)(inputs))
    model = keras.Model(inputs, [layers.Dense(WORDS)(h), h])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss=[loss, None])
    return model, words[:, :-1], words[:, 1:]
