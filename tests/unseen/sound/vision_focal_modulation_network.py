"""Pictures by focal modulation, contexts of growing size in place of attention.

After keras.io examples/vision/focal_modulation_network.py.
"""

import keras
import numpy as np
from _shared import pictures
from keras import layers, ops

URL = "https://keras.io/examples/vision/focal_modulation_network/"


class Modulation(layers.Layer):
    def __init__(self, width, levels=2, window=3):
        super().__init__()
        self.width, self.levels = width, levels
        self.start = layers.Dense(2 * width + levels + 1)
        self.context = [
            layers.DepthwiseConv2D(window + 2 * i, padding="same", activation="gelu", use_bias=False)
            for i in range(levels)
        ]
        self.modulator, self.project = layers.Conv2D(width, 1), layers.Dense(width)

    def call(self, x):
        h = self.start(x)
        query, context, gates = h[..., : self.width], h[..., self.width : 2 * self.width], h[..., 2 * self.width :]
        total = 0.0
        for i in range(self.levels):
            context = self.context[i](context)
            total = total + context * gates[..., i : i + 1]
        whole = ops.gelu(ops.mean(context, axis=(1, 2), keepdims=True))
        total = total + whole * gates[..., self.levels :]
        return self.project(query * self.modulator(total))


class Warmup(keras.optimizers.schedules.LearningRateSchedule):
    def __call__(self, step):
        step = ops.cast(step, "float32")
        fall = 0.5 * 1e-3 * (1 + ops.cos(np.pi * (step - 20) / 380))
        return ops.where(step > 400, 0.0, ops.where(step < 20, 1e-3 * step / 20, fall))


def build(width=24):
    x, y = pictures(10, 32, count=96)
    inputs = keras.Input((32, 32, 3))
    h = layers.RandomFlip("horizontal")(layers.RandomCrop(32, 32)(inputs))
    h = layers.Rescaling(1 / 255.0)(h)
    for stage, depth in enumerate((2, 3, 2)):
        size = 4 if stage == 0 else 2
        h = layers.Conv2D(width * 2**stage, size, strides=size)(h)
        h = layers.LayerNormalization(epsilon=1e-7)(h)
        for _ in range(depth):
            h = h + Modulation(width * 2**stage)(h)
            inner = layers.LayerNormalization(epsilon=1e-5)(h)
            inner = layers.Dense(4 * width * 2**stage, activation="gelu")(inner)
            h = h + layers.Dense(width * 2**stage)(inner)
    h = layers.GlobalAveragePooling2D()(layers.LayerNormalization(epsilon=1e-7)(h))
    model = keras.Model(inputs, layers.Dense(10, activation="softmax")(h))
    model.compile(
        optimizer=keras.optimizers.AdamW(learning_rate=Warmup(), weight_decay=1e-4),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model, x * 255, y
