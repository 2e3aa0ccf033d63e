"""Pictures by a compact convolutional Transformer with sequence pooling, after keras.io examples/vision/cct.py."""

import keras
import numpy as np
from _shared import pictures
from keras import layers, ops

URL = "https://keras.io/examples/vision/cct/"


class Depth(layers.Layer):
    """Leaves a whole branch out for some of the pictures."""

    def __init__(self, rate):
        super().__init__()
        self.rate, self.seeds = rate, keras.random.SeedGenerator(1337)

    def call(self, x, training=False):
        if not training:
            return x
        keep = 1 - self.rate
        return x / keep * ops.floor(keep + keras.random.uniform((ops.shape(x)[0], 1, 1), seed=self.seeds))


class Pooling(layers.Layer):
    def __init__(self):
        super().__init__()
        self.attention = layers.Dense(1)

    def call(self, x):
        weights = ops.softmax(self.attention(x), axis=1)
        return ops.squeeze(ops.matmul(ops.transpose(weights, (0, 2, 1)), x), -2)


class Positions(layers.Layer):
    def build(self, shape):
        self.table = self.add_weight(shape=shape[1:], initializer="glorot_uniform", trainable=True)

    def call(self, x):
        return self.table + x


def build(width=32, heads=2, blocks=2):
    x, y = pictures(10, 32)
    inputs = keras.Input((32, 32, 3))
    h = layers.RandomFlip("horizontal")(layers.RandomCrop(32, 32)(layers.Rescaling(scale=1.0 / 255)(inputs)))
    for filters in (16, width):
        h = layers.Conv2D(
            filters, 3, 1, padding="valid", use_bias=False, activation="relu", kernel_initializer="he_normal"
        )(layers.ZeroPadding2D(1)(h))
        h = layers.MaxPooling2D(3, 2, "same")(layers.ZeroPadding2D(1)(h))
    h = Positions()(layers.Reshape((-1, width))(h))
    for rate in np.linspace(0, 0.1, blocks):
        h1 = layers.LayerNormalization(epsilon=1e-5)(h)
        attended = layers.MultiHeadAttention(num_heads=heads, key_dim=width, dropout=0.1)(h1, h1)
        h2 = layers.Add()([Depth(rate)(attended), h])
        h3 = layers.LayerNormalization(epsilon=1e-5)(h2)
        for _ in range(2):
            h3 = layers.Dropout(0.1)(layers.Dense(width, activation="gelu")(h3))
        h = layers.Add()([Depth(rate)(h3), h2])
    h = Pooling()(layers.LayerNormalization(epsilon=1e-5)(h))
    model = keras.Model(inputs, layers.Dense(10)(h))
    model.compile(
        optimizer=keras.optimizers.AdamW(learning_rate=0.001, weight_decay=0.0001),
        loss=keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1),
        metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")],
    )
    return model, x * 255, keras.utils.to_categorical(y, 10)
