"""Cats or dogs by a small Xception, after keras.io examples/vision/image_classification_from_scratch.py."""

import keras
import numpy as np
from keras import layers

URL = "https://keras.io/examples/vision/image_classification_from_scratch/"


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


def build(size=72):
    x, y = pictures(2, size, count=64)
    inputs = keras.Input((size, size, 3))
    h = layers.Rescaling(1.0 / 255)(inputs)
    h = layers.Conv2D(16, 3, strides=2, padding="same")(h)
    h = before = layers.Activation("relu")(layers.BatchNormalization()(h))
    for filters in (24, 32, 48, 64):
        for _ in range(2):
            h = layers.SeparableConv2D(filters, 3, padding="same")(layers.Activation("relu")(h))
            h = layers.BatchNormalization()(h)
        h = layers.MaxPooling2D(3, strides=2, padding="same")(h)
        h = before = layers.add([h, layers.Conv2D(filters, 1, strides=2, padding="same")(before)])
    h = layers.SeparableConv2D(96, 3, padding="same")(h)
    h = layers.Activation("relu")(layers.BatchNormalization()(h))
    h = layers.Dropout(0.25)(layers.GlobalAveragePooling2D()(h))
    model = keras.Model(inputs, layers.Dense(1, activation=None)(h))
    model.compile(
        optimizer=keras.optimizers.Adam(3e-4),
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
        metrics=[keras.metrics.BinaryAccuracy(name="acc")],
    )
    return model, x * 255, y
