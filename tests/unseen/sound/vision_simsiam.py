"""Two views of each picture brought together by SimSiam, one side held still.

After keras.io examples/vision/simsiam.py.
"""

import keras
import numpy as np
from _shared import pictures
from keras import layers, ops

URL = "https://keras.io/examples/vision/simsiam/"


def unit(x, filters, strides=1):
    x = layers.Activation("relu")(layers.BatchNormalization()(x))
    return layers.Conv2D(
        filters,
        3,
        strides=strides,
        padding="same",
        kernel_initializer="he_normal",
        kernel_regularizer=keras.regularizers.l2(0.0005),
    )(x)


def encoder(size, width=64, decay=0.0005):
    inputs = keras.Input((size, size, 3))
    h = layers.Rescaling(scale=1.0 / 127.5, offset=-1)(inputs)
    h = layers.Conv2D(8, 3, padding="same", kernel_initializer="he_normal")(h)
    for stack, filters in enumerate((8, 16, 32)):
        for block in range(2):
            strides = 2 if stack and not block else 1
            inner = unit(unit(h, filters, strides), filters)
            h = h if h.shape[-1] == filters and strides == 1 else layers.Conv2D(filters, 1, strides=strides)(h)
            h = layers.add([h, inner])
    h = layers.Activation("relu")(layers.BatchNormalization()(h))
    h = layers.GlobalAveragePooling2D()(h)
    l2 = keras.regularizers.l2(decay)
    h = layers.Dense(width, use_bias=False, kernel_regularizer=l2)(h)
    h = layers.ReLU()(layers.BatchNormalization()(h))
    h = layers.Dense(width, use_bias=False, kernel_regularizer=l2)(h)
    return keras.Model(inputs, layers.BatchNormalization()(h))


def predictor(width=64, hidden=16, decay=0.0005):
    l2 = keras.regularizers.l2(decay)
    return keras.Sequential(
        [
            keras.Input((width,)),
            layers.Dense(hidden, use_bias=False, kernel_regularizer=l2),
            layers.ReLU(),
            layers.BatchNormalization(),
            layers.Dense(width),
        ]
    )


def apart(p, z):
    p, z = ops.normalize(p, axis=1), ops.normalize(ops.stop_gradient(z), axis=1)
    return -ops.mean(ops.sum(p * z, axis=1))


class SimSiam(keras.Model):
    def __init__(self, size):
        super().__init__()
        self.encoder, self.predictor = encoder(size), predictor()

    def call(self, inputs, training=False):
        z1, z2 = (self.encoder(x, training=training) for x in inputs)
        return z1, z2, self.predictor(z1, training=training), self.predictor(z2, training=training)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, **kwargs):
        z1, z2, p1, p2 = y_pred
        return apart(p1, z2) / 2 + apart(p2, z1) / 2


def build(size=24, count=128):
    x, _ = pictures(10, 32, count=count)
    rng = np.random.default_rng(0)
    views = []
    for _ in range(2):
        row, column = rng.integers(0, 32 - size, (2, count))
        view = np.stack([x[i, row[i] : row[i] + size, column[i] : column[i] + size] for i in range(count)])
        view = np.where(rng.random((count, 1, 1, 1)) < 0.5, view[:, :, ::-1], view)
        views.append((np.clip(view * rng.uniform(0.6, 1.4, (count, 1, 1, 3)), 0, 1) * 255).astype("float32"))
    model = SimSiam(size)
    rate = keras.optimizers.schedules.CosineDecay(initial_learning_rate=0.03, decay_steps=400)
    model.compile(optimizer=keras.optimizers.SGD(rate, momentum=0.6))
    return model, views, None
