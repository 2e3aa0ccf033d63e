"""Flowers by MobileViT, inverted residual blocks and Transformers over unfolded patches.

After keras.io examples/vision/mobilevit.py.
"""

import keras
from _shared import pictures
from keras import layers

URL = "https://keras.io/examples/vision/mobilevit/"


def convolution(x, filters, size=3, strides=2):
    return layers.Conv2D(filters, size, strides=strides, activation="swish", padding="same")(x)


def inverted(x, filters, strides=1):
    h = layers.Conv2D(2 * x.shape[-1], 1, padding="same", use_bias=False)(x)
    h = layers.Activation("swish")(layers.BatchNormalization()(h))
    h = layers.DepthwiseConv2D(3, strides=strides, padding="same", use_bias=False)(h)
    h = layers.Activation("swish")(layers.BatchNormalization()(h))
    h = layers.BatchNormalization()(layers.Conv2D(filters, 1, padding="same", use_bias=False)(h))
    return layers.Add()([h, x]) if x.shape[-1] == filters and strides == 1 else h


def transformers(x, count, width):
    for _ in range(count):
        x1 = layers.LayerNormalization(epsilon=1e-6)(x)
        x2 = layers.Add()([layers.MultiHeadAttention(num_heads=2, key_dim=width, dropout=0.1)(x1, x1), x])
        x3 = layers.LayerNormalization(epsilon=1e-6)(x2)
        for units in (2 * width, width):
            x3 = layers.Dropout(0.1)(layers.Dense(units, activation="swish")(x3))
        x = layers.Add()([x3, x2])
    return x


def vit(x, count, width):
    _, rows, columns, channels = x.shape
    h = convolution(convolution(x, width, strides=1), width, size=1, strides=1)
    patches = layers.Reshape((4, rows * columns // 4, width))(h)
    h = layers.Reshape((rows, columns, width))(transformers(patches, count, width))
    h = convolution(h, channels, size=1, strides=1)
    return convolution(layers.Concatenate(axis=-1)([x, h]), width, strides=1)


def build():
    x, y = pictures(5, 64, count=64)
    inputs = keras.Input((64, 64, 3))
    h = convolution(layers.Rescaling(scale=1.0 / 255)(inputs), 8)
    h = inverted(h, 8)
    h = inverted(inverted(inverted(h, 12, strides=2), 12), 12)
    h = vit(inverted(h, 16, strides=2), 2, 24)
    h = vit(inverted(h, 16, strides=2), 4, 32)
    h = vit(inverted(h, 20, strides=2), 3, 40)
    h = layers.GlobalAvgPool2D()(convolution(h, 64, size=1, strides=1))
    model = keras.Model(inputs, layers.Dense(5, activation="softmax")(h))
    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate=0.002),
        loss=keras.losses.CategoricalCrossentropy(label_smoothing=0.1),
        metrics=["accuracy"],
    )
    return model, x * 255, keras.utils.to_categorical(y, 5)
