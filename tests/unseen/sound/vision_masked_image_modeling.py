"""Masked patches of pictures rebuilt by an encoder and a decoder.

After keras.io examples/vision/masked_image_modeling.py.
"""

import keras
from _shared import Patches, pictures
from keras import layers, ops

URL = "https://keras.io/examples/vision/masked_image_modeling/"


COUNT, SEEN = 64, 16


def block(x, width, heads):
    h = layers.LayerNormalization(epsilon=1e-6)(x)
    x = layers.Add()([x, layers.MultiHeadAttention(heads, width, dropout=0.1)(h, h)])
    h = layers.LayerNormalization(epsilon=1e-6)(x)
    for units in (2 * width, width):
        h = layers.Dropout(0.1)(layers.Dense(units, activation="gelu")(h))
    return layers.Add()([x, h])


class MaskedAutoencoder(keras.Model):
    def __init__(self, width=48, narrow=32):
        super().__init__()
        self.patches = Patches(4)
        self.projection = layers.Dense(width)
        self.places, self.lower_places = layers.Embedding(COUNT, width), layers.Embedding(COUNT, narrow)
        inputs = keras.Input((SEEN, width))
        h = inputs
        for _ in range(6):
            h = block(h, width, 4)
        self.encoder = keras.Model(inputs, layers.LayerNormalization(epsilon=1e-6)(h))
        self.lower = layers.Dense(narrow)
        inputs = keras.Input((COUNT, narrow))
        h = inputs
        for _ in range(2):
            h = block(h, narrow, 4)
        h = layers.Flatten()(layers.LayerNormalization(epsilon=1e-6)(h))
        self.decoder = keras.Model(inputs, layers.Reshape((COUNT, 48))(layers.Dense(3072, activation="sigmoid")(h)))
        self.seeds = keras.random.SeedGenerator(0)

    def build(self, shape):
        self.token = self.add_weight((1, 1, 48), initializer="random_normal", name="mask_token")

    def call(self, x, training=False):
        patches = self.patches(x)
        order = ops.argsort(keras.random.uniform((COUNT,), seed=self.seeds))
        seen, hidden = order[:SEEN], order[SEEN:]
        encoded = self.encoder(self.projection(ops.take(patches, seen, axis=1)) + self.places(seen), training=training)
        masked = ops.broadcast_to(self.projection(self.token), (ops.shape(x)[0], COUNT - SEEN, encoded.shape[-1]))
        masked = masked + self.places(hidden)
        tokens = ops.concatenate([self.lower(encoded), self.lower(masked)], axis=1) + self.lower_places(order)
        drawn = self.decoder(ops.take(tokens, ops.argsort(order), axis=1), training=training)
        return ops.take(patches, hidden, axis=1), ops.take(drawn, hidden, axis=1)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, **kwargs):
        return ops.mean(ops.square(y_pred[0] - y_pred[1]))


def build():
    x, _ = pictures(10, 32, count=96)
    model = MaskedAutoencoder()
    model.compile(optimizer=keras.optimizers.AdamW(learning_rate=5e-3 / 10, weight_decay=1e-4))
    return model, x, None
