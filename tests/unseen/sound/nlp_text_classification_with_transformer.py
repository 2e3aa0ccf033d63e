"""Reviews by one Transformer block and average pooling.

After keras.io examples/nlp/text_classification_with_transformer.py.
"""

import keras
from _shared import Embeddings, reviews
from keras import layers

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


def build():
    x, y = reviews(1000, 48)
    inputs = keras.Input(shape=(48,))
    h = Block(32, 2, 32)(Embeddings(48, 1000, 32)(inputs))
    h = layers.Dropout(0.1)(layers.GlobalAveragePooling1D()(h))
    h = layers.Dropout(0.1)(layers.Dense(20, activation="relu")(h))
    model = keras.Model(inputs, layers.Dense(2, activation="softmax")(h))
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model, x, y
