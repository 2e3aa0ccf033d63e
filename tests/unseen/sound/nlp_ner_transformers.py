"""Named entities, a tag for each word, by one Transformer block, after keras.io examples/nlp/ner_transformers.py."""

import keras
import numpy as np
from _shared import Embeddings
from keras import layers, ops

URL = "https://keras.io/examples/nlp/ner_transformers/"


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


class Tagger(keras.Model):
    def __init__(self, tags, vocabulary, length, width=32, heads=4, hidden=64):
        super().__init__()
        self.embeddings = Embeddings(length, vocabulary, width)
        self.block = Block(width, heads, hidden)
        self.drops = [layers.Dropout(0.1), layers.Dropout(0.1)]
        self.dense = layers.Dense(hidden, activation="relu")
        self.last = layers.Dense(tags, activation="softmax")

    def call(self, x, training=False):
        x = self.block(self.embeddings(x), training=training)
        x = self.dense(self.drops[0](x, training=training))
        return self.last(self.drops[1](x, training=training))


def tag_loss(y_true, y_pred):
    """Return the mean cross-entropy of words that are not padding."""
    loss = ops.sparse_categorical_crossentropy(y_true, y_pred)
    mask = ops.cast(y_true > 0, "float32")
    return ops.sum(loss * mask) / ops.sum(mask)


def build(count=192, vocabulary=500, length=24, tags=10):
    rng = np.random.default_rng(0)
    usual = np.where(rng.random(vocabulary) < 0.75, 1, rng.integers(2, tags, vocabulary))
    x = np.minimum(rng.exponential(80, (count, length)).astype(int) + 1, vocabulary - 1)
    x = np.where(np.arange(length) < rng.integers(8, length + 1, (count, 1)), x, 0)
    y = np.where(x > 0, usual[x], 0)
    model = Tagger(tags, vocabulary, length)
    model.compile(optimizer="adam", loss=tag_loss)
    return model, x.astype("int32"), y.astype("int32")
