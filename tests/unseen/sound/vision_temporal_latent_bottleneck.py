"""Pictures read in chunks of patches by a fast and a slow stream.

After keras.io examples/vision/temporal_latent_bottleneck.py.
"""

import keras
from _shared import pictures
from keras import layers, ops

URL = "https://keras.io/examples/vision/temporal_latent_bottleneck/"


class Attend(layers.Layer):
    def __init__(self, width, heads=4, rate=0.2):
        super().__init__()
        self.attention = layers.MultiHeadAttention(num_heads=heads, key_dim=width, dropout=rate)
        self.norms = [layers.LayerNormalization(epsilon=1e-5) for _ in range(4)]
        self.dense = keras.Sequential(
            [layers.Dense(4 * width, activation="gelu"), layers.Dense(width), layers.Dropout(rate)]
        )

    def call(self, query, other, training=False):
        q, k, v = self.norms[0](query), self.norms[1](other), self.norms[2](other)
        x = query + self.attention(q, v, k, training=training)
        return x + self.dense(self.norms[3](x), training=training)


class Bottleneck(keras.Model):
    def __init__(self, width=32, chunk=4, count=16, depth=4, every=2):
        super().__init__()
        self.chunk, self.width, self.every = chunk, width, every
        self.projection = layers.Conv2D(width, kernel_size=8, strides=8)
        self.flatten = layers.Reshape((count, width))
        self.places, self.norm = layers.Embedding(count, width), layers.LayerNormalization(epsilon=1e-5)
        self.fast = [Attend(width) for _ in range(depth + depth // every)]
        self.slow = Attend(width)
        self.pool, self.head = layers.GlobalAveragePooling1D(), layers.Dense(10, activation="softmax")

    def call(self, x, training=False):
        x = self.flatten(self.projection(x))
        x = self.norm(x + self.places(ops.arange(x.shape[1])))
        slow = ops.zeros_like(x[:, : self.chunk])
        for start in range(0, x.shape[1], self.chunk):
            fast = x[:, start : start + self.chunk]
            for i, layer in enumerate(self.fast):
                fast = layer(fast, fast, training=training)
                if i % self.every == 0:
                    fast = layer(fast, slow, training=training)
            slow = self.slow(slow, fast, training=training)
        return self.head(self.pool(fast))


def build():
    x, y = pictures(10, 32, count=96)
    model = Bottleneck()
    model(x[:1])
    model.compile(
        optimizer=keras.optimizers.AdamW(learning_rate=1e-3, weight_decay=1e-2),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model, x, y
