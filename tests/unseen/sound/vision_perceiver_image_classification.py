"""Pictures by Perceiver, a few latent rows that look at all patches.

After keras.io examples/vision/perceiver_image_classification.py.
"""

import keras
from _shared import Patches, Places, pictures
from keras import layers, ops

URL = "https://keras.io/examples/vision/perceiver_image_classification/"


def dense(width, rate=0.2):
    return keras.Sequential([layers.Dense(width, activation="gelu"), layers.Dense(width), layers.Dropout(rate)])


class Perceiver(keras.Model):
    def __init__(self, size=48, patch=4, latents=24, width=32, heads=4, blocks=4, iterations=2):
        super().__init__()
        count = (size // patch) ** 2
        self.iterations, self.latents, self.width = iterations, latents, width
        self.augment = keras.Sequential(
            [layers.Normalization(), layers.Resizing(size, size), layers.RandomFlip("horizontal")]
        )
        self.patches, self.places = Patches(patch), Places(count, width)
        latent, data = keras.Input((latents, width)), keras.Input((count, width))
        q, k = layers.LayerNormalization(epsilon=1e-6)(latent), layers.LayerNormalization(epsilon=1e-6)(data)
        query, key, value = layers.Dense(width)(q), layers.Dense(width)(k), layers.Dense(width)(k)
        h = layers.Attention(use_scale=True, dropout=0.1)([query, key, value], return_attention_scores=False)
        h = layers.LayerNormalization(epsilon=1e-6)(layers.Add()([h, q]))
        self.cross = keras.Model([latent, data], layers.Add()([dense(width)(h), h]))
        inputs = keras.Input((latents, width))
        x0 = inputs
        for _ in range(blocks):
            x1 = layers.LayerNormalization(epsilon=1e-6)(x0)
            x2 = layers.Add()([layers.MultiHeadAttention(heads, width, dropout=0.1)(x1, x1), x0])
            x3 = layers.LayerNormalization(epsilon=1e-6)(x2)
            x0 = layers.Add()([dense(width)(x3), x2])
        self.transformer = keras.Model(inputs, x0)
        self.pooling, self.classify = layers.GlobalAveragePooling1D(), layers.Dense(10)

    def build(self, shape):
        self.rows = self.add_weight((self.latents, self.width), initializer="random_normal", name="latents")

    def call(self, x, training=False):
        data = self.places(self.patches(self.augment(x, training=training)))
        latent = ops.broadcast_to(self.rows[None], (ops.shape(x)[0], self.latents, self.width))
        for _ in range(self.iterations):
            latent = self.transformer(self.cross([latent, data], training=training), training=training)
        return self.classify(self.pooling(latent))


def build():
    x, y = pictures(10, 32)
    x = x * 255
    model = Perceiver()
    model.augment.layers[0].adapt(x)
    model.compile(
        optimizer=keras.optimizers.AdamW(learning_rate=0.001, weight_decay=0.0001),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[keras.metrics.SparseCategoricalAccuracy(name="acc")],
    )
    return model, x, y
