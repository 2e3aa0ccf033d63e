"""Pictures by a vision Transformer that keeps four learned tokens, after keras.io examples/vision/token_learner.py."""

import keras
from _shared import pictures
from keras import layers, ops

URL = "https://keras.io/examples/vision/token_learner/"


class Positions(layers.Layer):
    def __init__(self, count, width):
        super().__init__()
        self.count, self.table = count, layers.Embedding(count, width)

    def call(self, x):
        return x + self.table(ops.arange(self.count))


def learn_tokens(x, count=4):
    side, width = int(x.shape[1] ** 0.5), x.shape[2]
    h = layers.LayerNormalization(epsilon=1e-6)(layers.Reshape((side, side, width))(x))
    for activation in ("gelu", "gelu", "gelu", "sigmoid"):
        h = layers.Conv2D(count, kernel_size=(3, 3), activation=activation, padding="same", use_bias=False)(h)
    maps = ops.transpose(layers.Reshape((-1, count))(h), (0, 2, 1))[..., None]
    return ops.mean(maps * layers.Reshape((1, -1, width))(x), axis=2)


def transformer(x, width, heads):
    x1 = layers.LayerNormalization(epsilon=1e-6)(x)
    x2 = layers.Add()([layers.MultiHeadAttention(num_heads=heads, key_dim=width, dropout=0.1)(x1, x1), x])
    x3 = layers.LayerNormalization(epsilon=1e-6)(x2)
    for units in (2 * width, width):
        x3 = layers.Dropout(0.1)(layers.Dense(units, activation="gelu")(x3))
    return layers.Add()([x3, x2])


def build(width=48, heads=4):
    x, y = pictures(10, 32, count=96)
    inputs = keras.Input((32, 32, 3))
    h = layers.Rescaling(1 / 255.0)(inputs)
    h = layers.RandomFlip("horizontal")(layers.RandomCrop(32, 32)(h))
    h = layers.Conv2D(width, kernel_size=4, strides=4, padding="valid")(h)
    h = layers.Dropout(0.1)(Positions(64, width)(layers.Reshape((64, width))(h)))
    for i in range(4):
        h = transformer(h, width, heads)
        if i == 2:
            h = learn_tokens(h)
    h = layers.GlobalAvgPool1D()(layers.LayerNormalization(epsilon=1e-6)(h))
    model = keras.Model(inputs, layers.Dense(10, activation="softmax")(h))
    model.compile(
        optimizer=keras.optimizers.AdamW(learning_rate=1e-3, weight_decay=1e-4),
        loss="sparse_categorical_crossentropy",
        metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
    )
    return model, x * 255, y
