"""Dark pictures made bright by Zero-DCE, losses without targets, after keras.io examples/vision/zero_dce.py."""

import keras
from _shared import pictures
from keras import layers, ops

URL = "https://keras.io/examples/vision/zero_dce/"


def colour_loss(x):
    red, green, blue = (ops.mean(x, axis=(1, 2))[:, i] for i in range(3))
    return ops.mean(ops.sqrt((red - green) ** 4 + (red - blue) ** 4 + (blue - green) ** 4 + 1e-12))


def exposure_loss(x, wanted=0.6):
    return ops.mean(ops.square(ops.average_pool(ops.mean(x, axis=3, keepdims=True), 8, 8, "valid") - wanted))


def smoothness_loss(x):
    rows, columns = x[:, 1:] - x[:, :-1], x[:, :, 1:] - x[:, :, :-1]
    return 2 * (ops.mean(ops.square(rows)) + ops.mean(ops.square(columns)))


def spatial_loss(x, y):
    x, y = (ops.average_pool(ops.mean(a, axis=3, keepdims=True), 4, 4, "valid") for a in (x, y))
    total = 0.0
    for axis in (1, 2):
        for shift in (1, -1):
            total = total + ops.square((x - ops.roll(x, shift, axis)) - (y - ops.roll(y, shift, axis)))
    return ops.mean(total)


class ZeroDCE(keras.Model):
    def __init__(self, width=16):
        super().__init__()
        inputs = keras.Input((None, None, 3))

        def convolution(x, filters=width, activation="relu"):
            return layers.Conv2D(filters, (3, 3), strides=(1, 1), activation=activation, padding="same")(x)

        h1 = convolution(inputs)
        h2 = convolution(h1)
        h3 = convolution(h2)
        h4 = convolution(h3)
        h5 = convolution(layers.Concatenate()([h4, h3]))
        h6 = convolution(layers.Concatenate()([h5, h2]))
        self.curves = keras.Model(inputs, convolution(layers.Concatenate()([h6, h1]), 24, "tanh"))

    def call(self, x):
        curves = self.curves(x)
        y = x
        for i in range(8):
            y = y + curves[..., 3 * i : 3 * i + 3] * (ops.square(y) - y)
        return y, curves

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, **kwargs):
        bright, curves = y_pred
        loss = 200 * smoothness_loss(curves) + ops.mean(spatial_loss(bright, x))
        return loss + 5 * colour_loss(bright) + 10 * exposure_loss(bright)


def build():
    x, _ = pictures(8, 48, count=64)
    model = ZeroDCE()
    model.compile(optimizer=keras.optimizers.Adam(learning_rate=1e-4))
    return model, (0.3 * x**1.5).astype("float32"), None
