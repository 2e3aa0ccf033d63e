"""Pictures by a convolutional trunk and attention pooling of one learned token.

After keras.io examples/vision/patch_convnet.py.
"""

import keras
import numpy as np
from _shared import pictures
from keras import layers, ops

URL = "https://keras.io/examples/vision/patch_convnet/"


class Excite(layers.Layer):
    def __init__(self, width, ratio=8):
        super().__init__()
        self.squeeze, self.reduce = layers.GlobalAveragePooling2D(keepdims=True), layers.Dense(width // ratio, "relu")
        self.excite = layers.Dense(width, activation="sigmoid")

    def call(self, x):
        return x * self.excite(self.reduce(self.squeeze(x)))


class AttentionPooling(layers.Layer):
    def __init__(self, width, classes):
        super().__init__()
        self.width = width
        self.attention = layers.MultiHeadAttention(num_heads=1, key_dim=width, dropout=0.2)
        self.norms = [layers.LayerNormalization(epsilon=1e-6) for _ in range(3)]
        self.dense = keras.Sequential(
            [layers.Dense(width, activation="gelu"), layers.Dropout(0.2), layers.Dense(width, activation="gelu")]
        )
        self.classify = layers.Dense(classes)

    def build(self, shape):
        self.token = self.add_weight((1, 1, self.width), initializer="zeros", name="class_token")

    def call(self, x, training=False):
        token = ops.broadcast_to(self.token, (ops.shape(x)[0], 1, self.width))
        x = self.norms[0](ops.concatenate([token, x], axis=1))
        token = self.norms[1](token + self.attention(x[:, 0:1], x, x, training=training))
        token = self.norms[2](ops.squeeze(token, 1))
        return self.classify(token + self.dense(token, training=training))


class Warmup(keras.optimizers.schedules.LearningRateSchedule):
    def __call__(self, step):
        step = ops.cast(step, "float32")
        fall = 0.5 * 1e-3 * (1 + ops.cos(np.pi * (step - 30) / 170))
        return ops.where(step > 200, 0.0, ops.where(step < 30, 1e-3 * step / 30, fall))


def build(width=48, depth=2):
    x, y = pictures(10, 32)
    inputs = keras.Input((32, 32, 3))
    h = layers.RandomCrop(32, 32)(layers.Rescaling(1 / 255.0)(inputs))
    h = layers.RandomFlip("horizontal")(h)
    h = layers.Conv2D(width // 2, 3, strides=2, activation="gelu", padding="same")(h)
    h = layers.Conv2D(width, 3, strides=2, activation="gelu", padding="same")(h)
    for _ in range(depth):
        inner = layers.LayerNormalization(epsilon=1e-6)(h)
        inner = layers.Conv2D(width, 1, activation="gelu")(inner)
        inner = layers.Conv2D(width, 3, activation="gelu", padding="same")(inner)
        h = layers.Add()([layers.Conv2D(width, 1, padding="same")(Excite(width)(inner)), h])
    model = keras.Model(inputs, AttentionPooling(width, 10)(layers.Reshape((-1, width))(h)))
    model.compile(
        optimizer=keras.optimizers.AdamW(learning_rate=Warmup(), weight_decay=1e-4),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
    )
    return model, x * 255, y
