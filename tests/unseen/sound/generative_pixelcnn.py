"""Digits drawn pixel by pixel by masked convolutions, after keras.io examples/generative/pixelcnn.py."""

import keras
import numpy as np
from _shared import digits
from keras import layers, ops

URL = "https://keras.io/examples/generative/pixelcnn/"


class PixelConvolution(layers.Conv2D):
    """Convolution that sees only pixels above and to the left, with `own` also the pixel itself."""

    def __init__(self, own, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.own = own

    def build(self, shape):
        super().build(shape)
        self.visible = np.zeros(self.kernel.shape, "float32")
        middle = self.kernel.shape[0] // 2
        self.visible[:middle] = 1
        self.visible[middle, : middle + self.own] = 1

    def call(self, x):
        y = ops.conv(x, self.kernel * self.visible, padding=self.padding)
        return self.activation(y + self.bias)


class Residual(layers.Layer):
    def __init__(self, filters):
        super().__init__()
        self.parts = [
            layers.ReLU(),
            layers.Conv2D(filters, 1, activation="relu"),
            PixelConvolution(True, filters // 2, 3, activation="relu", padding="same"),
            layers.Conv2D(filters, 1, activation="relu"),
        ]

    def call(self, x):
        y = x
        for part in self.parts:
            y = part(y)
        return x + y


def build():
    x = (digits(16)[0] > 0.33).astype("float32")
    inputs = keras.Input(x.shape[1:])
    h = PixelConvolution(False, 32, 7, padding="same", activation="relu")(inputs)
    for _ in range(5):
        h = Residual(32)(h)
    for _ in range(2):
        h = PixelConvolution(True, 32, 1, activation="relu", padding="valid")(h)
    model = keras.Model(inputs, layers.Conv2D(1, 1, activation="sigmoid")(h))
    model.compile(optimizer=keras.optimizers.Adam(learning_rate=0.0005), loss="binary_crossentropy")
    return model, x, x
