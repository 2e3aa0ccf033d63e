"""Pictures by a vision Transformer for small data, shifted patches and local attention.

After keras.io examples/vision/vit_small_ds.py.
"""

import keras
import numpy as np
from _shared import Patches, Places, pictures
from keras import layers, ops

URL = "https://keras.io/examples/vision/vit_small_ds/"


COUNT = 64


def shifted(x, patch):
    """Return the picture with four copies of it, moved by half a patch along the diagonals."""
    half = patch // 2
    size = x.shape[1]
    wide = ops.pad(x, ((0, 0), (half, half), (half, half), (0, 0)))
    moves = [(0, 0), (0, 2 * half), (2 * half, 0), (2 * half, 2 * half)]
    return ops.concatenate([x] + [wide[:, a : a + size, b : b + size] for a, b in moves], axis=-1)


class LocalAttention(layers.Layer):
    """Attention with a learned temperature in which no patch looks at itself."""

    def __init__(self, heads, width, rate=0.1):
        super().__init__()
        self.heads, self.width = heads, width
        self.dense = [layers.Dense(heads * width) for _ in range(3)]
        self.out, self.drop = layers.Dense(width), layers.Dropout(rate)

    def build(self, shape):
        self.tau = self.add_weight((), initializer=keras.initializers.Constant(float(self.width) ** 0.5), name="tau")

    def call(self, x, training=False):
        count = x.shape[1]
        q, k, v = (
            ops.transpose(ops.reshape(dense(x), (-1, count, self.heads, self.width)), (0, 2, 1, 3))
            for dense in self.dense
        )
        scores = ops.matmul(q / self.tau, ops.transpose(k, (0, 1, 3, 2)))
        scores = ops.subtract(scores, 1e9 * np.eye(count, dtype="float32"))
        h = ops.matmul(self.drop(ops.softmax(scores), training=training), v)
        return self.out(ops.reshape(ops.transpose(h, (0, 2, 1, 3)), (-1, count, self.heads * self.width)))


class Warmup(keras.optimizers.schedules.LearningRateSchedule):
    def __call__(self, step):
        step = ops.cast(step, "float32")
        fall = 0.5 * 0.001 * (1 + ops.cos(np.pi * (step - 20) / 180))
        return ops.where(step > 200, 0.0, ops.where(step < 20, 0.001 * step / 20, fall))


def build(width=32, heads=4, blocks=8):
    x, y = pictures(10, 32, count=96)
    x = x * 255
    normalization = layers.Normalization()
    normalization.adapt(x)
    inputs = keras.Input((32, 32, 3))
    h = layers.RandomFlip("horizontal")(normalization(inputs))
    h = layers.RandomZoom(height_factor=0.2, width_factor=0.2)(layers.RandomRotation(factor=0.02)(h))
    h = layers.LayerNormalization(epsilon=1e-6)(Patches(4)(layers.Lambda(shifted, arguments={"patch": 4})(h)))
    h = Places(COUNT, width)(h)
    for _ in range(blocks):
        x1 = layers.LayerNormalization(epsilon=1e-6)(h)
        x2 = layers.Add()([LocalAttention(heads, width)(x1), h])
        x3 = layers.LayerNormalization(epsilon=1e-6)(x2)
        for units in (2 * width, width):
            x3 = layers.Dropout(0.1)(layers.Dense(units, activation="gelu")(x3))
        h = layers.Add()([x3, x2])
    h = layers.Dropout(0.5)(layers.Flatten()(layers.LayerNormalization(epsilon=1e-6)(h)))
    for units in (256, 128):
        h = layers.Dropout(0.5)(layers.Dense(units, activation="gelu")(h))
    model = keras.Model(inputs, layers.Dense(10)(h))
    model.compile(
        optimizer=keras.optimizers.AdamW(learning_rate=Warmup(), weight_decay=0.0001),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
    )
    return model, x, y
