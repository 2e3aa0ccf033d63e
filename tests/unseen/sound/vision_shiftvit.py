"""Pictures by ShiftViT, channels moved by one pixel in place of attention.

After keras.io examples/vision/shiftvit.py.
"""

import keras
import numpy as np
from _shared import pictures
from keras import layers, ops

URL = "https://keras.io/examples/vision/shiftvit/"


class Block(layers.Layer):
    """Moves four parts of the channels by a pixel and adds a dense part, left out for some of the pictures."""

    def __init__(self, width, part, skip, rate=0.2):
        super().__init__()
        self.part, self.skip = part, skip
        self.norm = layers.LayerNormalization(epsilon=1e-5)
        self.dense = keras.Sequential(
            [
                layers.Dense(2 * width, activation="gelu"),
                layers.Dropout(rate),
                layers.Dense(width),
                layers.Dropout(rate),
            ]
        )
        self.seeds = keras.random.SeedGenerator(0)

    def call(self, x, training=False):
        p = self.part
        moved = [
            ops.pad(x[:, :, :-1, :p], ((0, 0), (0, 0), (0, 1), (0, 0))),
            ops.pad(x[:, :, 1:, p : 2 * p], ((0, 0), (0, 0), (0, 1), (0, 0))),
            ops.pad(x[:, :-1, :, 2 * p : 3 * p], ((0, 0), (0, 1), (0, 0), (0, 0))),
            ops.pad(x[:, 1:, :, 3 * p : 4 * p], ((0, 0), (0, 1), (0, 0), (0, 0))),
        ]
        x = ops.concatenate([*moved, x[..., 4 * p :]], axis=-1)
        h = self.dense(self.norm(x), training=training)
        if training and self.skip > 0:
            keep = 1 - self.skip
            h = h / keep * ops.floor(keep + keras.random.uniform((ops.shape(x)[0], 1, 1, 1), seed=self.seeds))
        return x + h


class Warmup(keras.optimizers.schedules.LearningRateSchedule):
    def __call__(self, step):
        step = ops.cast(step, "float32")
        fall = 0.5 * 1e-3 * (1 + ops.cos(np.pi * (step - 30) / 170))
        return ops.where(step > 200, 0.0, ops.where(step < 30, 1e-3 * step / 30, fall))


def build(width=24, part=4):
    x, y = pictures(10, 32, count=96)
    inputs = keras.Input((32, 32, 3))
    h = layers.RandomCrop(32, 32)(inputs)
    h = layers.Rescaling(1 / 255.0)(layers.RandomFlip("horizontal")(h))
    h = layers.Conv2D(width, kernel_size=4, strides=4, padding="same")(h)
    for stage, count in enumerate((2, 4, 8, 2)):
        for skip in np.linspace(0, 0.2, count):
            h = Block(h.shape[-1], part, float(skip))(h)
        if stage < 3:
            h = layers.LayerNormalization(epsilon=1e-5)(h)
            h = layers.Conv2D(2 * h.shape[-1], kernel_size=2, strides=2, padding="same", use_bias=False)(h)
    model = keras.Model(inputs, layers.Dense(10)(layers.GlobalAveragePooling2D()(h)))
    model.compile(
        optimizer=keras.optimizers.AdamW(learning_rate=Warmup(), weight_decay=1e-4),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
    )
    return model, x * 255, y
