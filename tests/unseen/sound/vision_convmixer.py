"""Pictures by ConvMixer, depthwise convolutions with sums around them, after keras.io examples/vision/convmixer.py."""

import keras
import numpy as np
from keras import layers

URL = "https://keras.io/examples/vision/convmixer/"


def pictures(classes, size, channels=3, count=128, seed=0):
    """Return smooth pictures in 0..1, a coloured spot on a shaded ground, and their class numbers."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(count) % classes)
    rows, columns = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    angles = 2 * np.pi * labels[:, None, None] / classes
    tilt = rng.normal(0, 0.1, (2, count, 1, 1))
    centre = 0.5 * np.stack([np.sin(angles), np.cos(angles)]) + rng.normal(0, 0.08, (2, count, 1, 1))
    spot = np.exp(-((rows - centre[0]) ** 2 + (columns - centre[1]) ** 2) / 0.15)
    ground = 0.4 + tilt[0] * rows + tilt[1] * columns
    colour = 0.5 + 0.4 * np.cos(angles[..., None] + np.arange(channels) * 2)
    x = ground[..., None] * (1 - spot[..., None]) + spot[..., None] * colour
    return np.clip(x + rng.normal(0, 0.02, x.shape), 0, 1).astype("float32"), labels


def after(x):
    return layers.BatchNormalization()(layers.Activation("gelu")(x))


def build(filters=32, depth=8):
    x, y = pictures(10, 32)
    inputs = keras.Input((32, 32, 3))
    h = layers.Rescaling(scale=1.0 / 255)(inputs)
    h = after(layers.Conv2D(filters, kernel_size=2, strides=2)(h))
    for _ in range(depth):
        h = layers.Add()([after(layers.DepthwiseConv2D(kernel_size=5, padding="same")(h)), h])
        h = after(layers.Conv2D(filters, kernel_size=1)(h))
    h = layers.GlobalAvgPool2D()(h)
    model = keras.Model(inputs, layers.Dense(10, activation="softmax")(h))
    model.compile(
        optimizer=keras.optimizers.AdamW(learning_rate=0.001, weight_decay=0.0001),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model, x * 255, y
