"""Translation by a Transformer with one encoder and one decoder block.

After keras.io examples/nlp/neural_machine_translation_with_transformer.py.
"""

import keras
import numpy as np
from _shared import Embeddings
from keras import layers

URL = "https://keras.io/examples/nlp/neural_machine_translation_with_transformer/"


def encoder(x, width, heads, hidden):
    x = layers.LayerNormalization()(x + layers.MultiHeadAttention(heads, width)(x, x))
    dense = layers.Dense(width)(layers.Dense(hidden, activation="relu")(x))
    return layers.LayerNormalization()(x + dense)


def decoder(x, memory, width, heads, hidden):
    x = layers.LayerNormalization()(x + layers.MultiHeadAttention(heads, width)(x, x, use_causal_mask=True))
    x = layers.LayerNormalization()(x + layers.MultiHeadAttention(heads, width)(x, memory, memory))
    dense = layers.Dense(width)(layers.Dense(hidden, activation="relu")(x))
    return layers.LayerNormalization()(x + dense)


def build(count=256, vocabulary=150, length=12, width=32, heads=8, hidden=128):
    rng = np.random.default_rng(0)
    code = rng.permutation(np.arange(3, vocabulary))
    sizes = rng.integers(4, length, (count, 1))
    words = np.minimum(3 + rng.exponential(30, (count, length)).astype(int), vocabulary - 1)
    source = np.where(np.arange(length) < sizes, words, 0)
    target = np.where(source > 0, code[source - 3], 0)
    target = np.where(np.arange(length) == sizes, 2, target)
    before = np.concatenate([np.ones((count, 1), int), target[:, :-1]], axis=1)
    first, second = keras.Input((length,), dtype="int64"), keras.Input((length,), dtype="int64")
    memory = encoder(Embeddings(length, vocabulary, width)(first), width, heads, hidden)
    h = decoder(Embeddings(length, vocabulary, width)(second), memory, width, heads, hidden)
    outputs = layers.Dense(vocabulary, activation="softmax")(layers.Dropout(0.5)(h))
    model = keras.Model([first, second], outputs)
    model.compile("rmsprop", loss=keras.losses.SparseCategoricalCrossentropy(ignore_class=0), metrics=["accuracy"])
    return model, [source, before], target
