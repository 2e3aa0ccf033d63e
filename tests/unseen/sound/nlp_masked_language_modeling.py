"""BERT-like encoder that fills in masked words, after keras.io examples/nlp/masked_language_modeling.py."""

import keras
import numpy as np
from keras import layers, ops

URL = "https://keras.io/examples/nlp/masked_language_modeling/"

WORDS, LENGTH, MASK = 120, 24, 119


class MaskedModel(keras.Model):
    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, **kwargs):
        masked = ops.cast(ops.not_equal(y, -1), "float32")
        return super().compute_loss(x, ops.maximum(y, 0), y_pred, masked)


def sentences(count=256, seed=0):
    """Return rows of word numbers, frequent ones first, where each word often tells the next."""
    rng = np.random.default_rng(seed)
    x = np.minimum(2 + rng.exponential(20, (count, LENGTH)).astype(int), WORDS - 2)
    for i in range(1, LENGTH):
        x[:, i] = np.where(rng.random(count) < 0.6, 2 + (x[:, i - 1] * 7) % 40, x[:, i])
    return x


class Positions(layers.Layer):
    """Adds a trained vector for each place, at first the sines and cosines of Vaswani et al."""

    def __init__(self, width):
        super().__init__()
        self.table = layers.Embedding(LENGTH, width, embeddings_initializer=keras.initializers.Constant(waves(width)))

    def call(self, x):
        return x + self.table(ops.arange(LENGTH))


def waves(width):
    angles = np.arange(LENGTH)[:, None] / 10000 ** (2 * np.arange(width) / width)
    angles[:, 0::2], angles[:, 1::2] = np.sin(angles[:, 0::2]), np.cos(angles[:, 1::2])
    return angles


def build(width=48, heads=4):
    words = sentences()
    masked = np.random.default_rng(0).random(words.shape) < 0.15
    masked[:, -2] = True
    inputs = keras.Input((LENGTH,), dtype="int64")
    h = Positions(width)(layers.Embedding(WORDS, width)(inputs))
    attended = layers.Dropout(0.1)(layers.MultiHeadAttention(heads, width // heads)(h, h, h))
    h = layers.LayerNormalization(epsilon=1e-6)(h + attended)
    dense = layers.Dense(width)(layers.Dense(width, activation="relu")(h))
    h = layers.LayerNormalization(epsilon=1e-6)(h + layers.Dropout(0.1)(dense))
    model = MaskedModel(inputs, layers.Dense(WORDS, activation="softmax")(h))
    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate=0.001), loss=keras.losses.SparseCategoricalCrossentropy()
    )
    return model, np.where(masked, MASK, words), np.where(masked, words, -1)
