"""Reviews by a Transformer block whose dense part is a mixture of experts.

After keras.io examples/nlp/text_classification_with_switch_transformer.py.
"""

import keras
from _shared import Embeddings, reviews
from keras import layers, ops

URL = "https://keras.io/examples/nlp/text_classification_with_switch_transformer/"

EXPERTS, WIDTH, LENGTH = 6, 32, 24


class Switch(layers.Layer):
    """Sends each token to its best expert, up to a capacity, and adds a loss that balances them."""

    def __init__(self):
        super().__init__()
        self.route = layers.Dense(EXPERTS)
        self.experts = [
            keras.Sequential([layers.Dense(WIDTH, activation="relu"), layers.Dense(WIDTH)]) for _ in range(EXPERTS)
        ]
        self.seeds = keras.random.SeedGenerator(0)

    def call(self, x, training=False):
        tokens = ops.reshape(x, (-1, WIDTH))
        logits = self.route(tokens)
        if training:
            logits = logits + keras.random.uniform(ops.shape(logits), 0.9, 1.1, seed=self.seeds)
        chances = ops.softmax(logits)
        mask = ops.one_hot(ops.argmax(chances, axis=-1), EXPERTS)
        self.add_loss(ops.mean(ops.mean(chances, axis=0) * ops.mean(mask, axis=0)) * EXPERTS**2)
        capacity = ops.cast(ops.shape(tokens)[0] // EXPERTS, "float32")
        mask = mask * ops.cast(ops.cumsum(mask, axis=0) * mask < capacity, "float32")
        outputs = ops.stack([expert(tokens) for expert in self.experts], axis=1)
        return ops.reshape(ops.sum(outputs * (chances * mask)[..., None], axis=1), ops.shape(x))


def build():
    x, y = reviews(600, LENGTH)
    inputs = keras.Input((LENGTH,), dtype="int32")
    h = Embeddings(LENGTH, 600, WIDTH)(inputs)
    h = layers.LayerNormalization(epsilon=1e-6)(h + layers.Dropout(0.1)(layers.MultiHeadAttention(2, WIDTH)(h, h)))
    h = layers.LayerNormalization(epsilon=1e-6)(h + layers.Dropout(0.1)(Switch()(h)))
    h = layers.Dropout(0.25)(layers.GlobalAveragePooling1D()(h))
    h = layers.Dropout(0.25)(layers.Dense(WIDTH, activation="relu")(h))
    model = keras.Model(inputs, layers.Dense(2, activation="softmax")(h))
    model.compile(optimizer=keras.optimizers.Adam(0.001), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model, x, y
