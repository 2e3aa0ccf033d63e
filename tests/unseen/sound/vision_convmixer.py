"""Pictures by ConvMixer, depthwise convolutions with sums around them, after keras.io examples/vision/convmixer.py."""

import keras
from _shared import pictures
from keras import layers

URL = "https://keras.io/examples/vision/convmixer/"


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
