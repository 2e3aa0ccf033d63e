"""Two views of each picture with columns alike and apart by Barlow Twins with ResNet-34.

After keras.io examples/vision/barlow_twins.py.
"""

import keras
import numpy as np
from _shared import pictures
from keras import layers, ops

URL = "https://keras.io/examples/vision/barlow_twins/"


def unit(x, filters, strides=1, relu=True):
    x = layers.BatchNormalization(axis=3)(layers.Conv2D(filters, (3, 3), padding="same", strides=strides)(x))
    return layers.Activation("relu")(x) if relu else x


def network(size, width=64):
    inputs = keras.Input((size, size, 3))
    h = layers.Conv2D(8, kernel_size=7, strides=2, padding="same")(layers.ZeroPadding2D((3, 3))(inputs))
    h = layers.Activation("relu")(layers.BatchNormalization()(h))
    h = layers.MaxPool2D(pool_size=3, strides=2, padding="same")(h)
    for stage, (count, filters) in enumerate(((3, 8), (4, 12), (6, 16), (3, 24))):
        for block in range(count):
            strides = 2 if stage and not block else 1
            inner = unit(unit(h, filters, strides), filters, relu=False)
            h = layers.Conv2D(filters, (1, 1), strides=2)(h) if strides == 2 else h
            h = layers.Activation("relu")(layers.Add()([inner, h]))
    h = layers.Flatten()(layers.AveragePooling2D((2, 2), padding="same")(h))
    for _ in range(2):
        h = layers.ReLU()(layers.BatchNormalization()(layers.Dense(width)(h)))
    return keras.Model(inputs, layers.Dense(width)(h))


class Barlow(keras.Model):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def call(self, inputs, training=False):
        return [self.network(x, training=training) for x in inputs]

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, **kwargs):
        first, second = ((z - ops.mean(z, axis=0)) / ops.std(z, axis=0) for z in y_pred)
        c = ops.matmul(ops.transpose(first), second) / ops.cast(ops.shape(first)[0], "float32")
        same = ops.eye(c.shape[0])
        return ops.sum(ops.square(c - 1) * same) + 5e-3 * ops.sum(ops.square(c) * (1 - same))


def build(size=32, count=128):
    x, _ = pictures(10, 40, count=count)
    rng = np.random.default_rng(0)
    views = []
    for _ in range(2):
        row, column = rng.integers(0, 40 - size, (2, count))
        view = np.stack([x[i, row[i] : row[i] + size, column[i] : column[i] + size] for i in range(count)])
        view = np.where(rng.random((count, 1, 1, 1)) < 0.5, view[:, :, ::-1], view)
        views.append(np.clip(view * rng.uniform(0.6, 1.4, (count, 1, 1, 3)), 0, 1).astype("float32"))
    model = Barlow(network(size))
    model.compile(optimizer=keras.optimizers.Lamb())
    return model, views, None
