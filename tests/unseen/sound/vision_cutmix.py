"""Pictures with pasted parts of others, labels mixed in the same shares, by ResNet-20.

After keras.io examples/vision/cutmix.py.
"""

import keras
import numpy as np
from _shared import pictures
from keras import layers

URL = "https://keras.io/examples/vision/cutmix/"


def unit(x, filters, strides=1, activation=True):
    x = layers.Conv2D(
        filters,
        3,
        strides=strides,
        padding="same",
        kernel_initializer="he_normal",
        kernel_regularizer=keras.regularizers.L2(1e-4),
    )(x)
    x = layers.BatchNormalization()(x)
    return layers.Activation("relu")(x) if activation else x


def build(count=128):
    rng = np.random.default_rng(0)
    x, y = pictures(10, 32, count=count)
    y = np.eye(10)[y]
    other = rng.permutation(count)
    for i in range(count):
        share = rng.beta(0.25, 0.25)
        size = int(32 * np.sqrt(1 - share))
        row, column = rng.integers(0, 33 - size, 2)
        x[i, row : row + size, column : column + size] = x[other[i], row : row + size, column : column + size]
        y[i] = y[i] * (1 - size**2 / 1024) + np.eye(10)[y[other[i]].argmax()] * size**2 / 1024
    inputs = keras.Input((32, 32, 3))
    h = unit(inputs, 8)
    for stack, filters in enumerate((8, 16, 24)):
        for block in range(3):
            strides = 2 if stack > 0 and block == 0 else 1
            inner = unit(unit(h, filters, strides), filters, activation=False)
            if strides == 2:
                h = layers.Conv2D(
                    filters,
                    1,
                    strides=2,
                    padding="same",
                    kernel_initializer="he_normal",
                    kernel_regularizer=keras.regularizers.L2(1e-4),
                )(h)
            h = layers.Activation("relu")(layers.add([h, inner]))
    h = layers.Flatten()(layers.AveragePooling2D(pool_size=8)(h))
    model = keras.Model(inputs, layers.Dense(10, activation="softmax", kernel_initializer="he_normal")(h))
    model.compile(
        loss=keras.losses.CategoricalCrossentropy(),
        optimizer=keras.optimizers.Adam(learning_rate=1e-3),
        metrics=["accuracy"],
    )
    return model, x, y.astype("float32")
