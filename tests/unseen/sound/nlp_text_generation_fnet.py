"""Answers of a chat by an FNet encoder and a decoder with attention.

After keras.io examples/nlp/text_generation_fnet.py.
"""

import keras
import numpy as np
from _shared import Embeddings
from keras import layers, ops

URL = "https://keras.io/examples/nlp/text_generation_fnet/"


def encoder(x, width, hidden):
    mixed = ops.real(ops.fft2((x, ops.zeros_like(x)))[0])
    x = layers.LayerNormalization()(x + mixed)
    return layers.LayerNormalization()(x + layers.Dense(width)(layers.Dense(hidden, activation="relu")(x)))


def decoder(x, memory, width, heads, hidden):
    x = layers.LayerNormalization()(x + layers.MultiHeadAttention(heads, width)(x, x, use_causal_mask=True))
    x = layers.LayerNormalization()(x + layers.MultiHeadAttention(heads, width)(x, memory, memory))
    return layers.LayerNormalization()(x + layers.Dense(width)(layers.Dense(hidden, activation="relu")(x)))


def build(count=256, vocabulary=150, length=12, width=48, heads=4, hidden=64):
    rng = np.random.default_rng(0)
    answer = rng.permutation(np.arange(3, vocabulary))
    sizes = rng.integers(4, length, (count, 1))
    words = np.minimum(3 + rng.exponential(30, (count, length)).astype(int), vocabulary - 1)
    source = np.where(np.arange(length) < sizes, words, 0)
    target = np.where(np.arange(length) == sizes, 2, np.where(source > 0, answer[source - 3], 0))
    before = np.concatenate([np.ones((count, 1), int), target[:, :-1]], axis=1)
    first, second = keras.Input((length,), dtype="int32"), keras.Input((length,), dtype="int32")
    memory = encoder(Embeddings(length, vocabulary, width)(first), width, hidden)
    h = decoder(Embeddings(length, vocabulary, width)(second), memory, width, heads, hidden)
    model = keras.Model([first, second], layers.Dense(vocabulary, activation="softmax")(layers.Dropout(0.5)(h)))
    model.compile("adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model, [source.astype("int32"), before.astype("int32")], target.astype("int32")
