"""Cats or dogs by a small Xception, after keras.io examples/vision/image_classification_from_scratch.py."""

import keras
from _shared import pictures
from keras import layers

URL = "https://keras.io/examples/vision/image_classification_from_scratch/"


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
