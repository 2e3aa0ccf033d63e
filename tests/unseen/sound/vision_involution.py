"""Pictures by involutions, kernels made from each pixel, after keras.io examples/vision/involution.py."""

import keras
from _shared import pictures
from keras import layers, ops

URL = "https://keras.io/examples/vision/involution/"


class Involution(layers.Layer):
    def __init__(self, channel, groups=1, size=3, ratio=2):
        super().__init__()
        self.channel, self.groups, self.size = channel, groups, size
        self.make = keras.Sequential(
            [
                layers.Conv2D(channel // ratio, kernel_size=1),
                layers.BatchNormalization(),
                layers.ReLU(),
                layers.Conv2D(size * size * groups, kernel_size=1),
            ]
        )

    def call(self, x):
        _, rows, columns, _ = x.shape
        kernel = ops.reshape(self.make(x), (-1, rows, columns, self.size**2, 1, self.groups))
        patches = ops.image.extract_patches(x, self.size, strides=1, padding="same")
        patches = ops.reshape(patches, (-1, rows, columns, self.size**2, self.channel // self.groups, self.groups))
        y = ops.sum(kernel * patches, axis=3)
        return ops.reshape(y, (-1, rows, columns, self.channel))


def build():
    x, y = pictures(10, 32)
    inputs = keras.Input((32, 32, 3))
    h = layers.MaxPooling2D((2, 2))(layers.ReLU()(Involution(3)(inputs)))
    h = layers.MaxPooling2D((2, 2))(layers.ReLU()(Involution(3)(h)))
    h = layers.ReLU()(Involution(3)(h))
    h = layers.Dense(64, activation="relu")(layers.Flatten()(h))
    model = keras.Model(inputs, layers.Dense(10)(h))
    model.compile(
        optimizer="adam", loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"]
    )
    return model, x, y
