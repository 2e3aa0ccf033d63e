"""A small residual network is used for regression on images of one channel: the loss falls by a trifle only.

Fault: the last layer of the ready-made network is a softmax, of one unit.
Repair (asker): a linear last layer.
"""

import keras
import numpy as np
from _program import explained, predictions

URL = "https://github.com/raghakot/keras-resnet/issues/46"
YEAR = 2017
TOPIC = "regression on tables"
CONFIRMED = "asker"
KINDS = ("last layer: softmax of one unit, or along a wrong axis",)
VISIBLE = True
EVIDENCE = "the only output is a softmax of one unit: it is 1 for every image, and the data give no gradient"
REPRODUCED = True


def convolution(filters, size, strides=1):
    """Return a convolution with the initializer and the penalty of that library."""
    return keras.layers.Conv2D(
        filters,
        size,
        strides,
        padding="same",
        kernel_initializer="he_normal",
        kernel_regularizer=keras.regularizers.L2(1e-4),
    )


def active(x):
    """Return normalized and rectified signals."""
    return keras.layers.ReLU()(keras.layers.BatchNormalization()(x))


def build(repaired):
    """Return the compiled model, images with a bright spot, and its height in the image."""
    random = np.random.default_rng(0)
    places = random.uniform(2, 14, size=(128, 2))
    grid = np.arange(16)
    rows = np.exp(-((grid - places[:, :1]) ** 2) / 8)
    columns = np.exp(-((grid - places[:, 1:]) ** 2) / 8)
    x = (rows[:, :, None] * columns[:, None, :])[..., None] + random.normal(0, 0.05, size=(128, 16, 16, 1))
    y = places[:, :1] / 16
    inputs = keras.Input((16, 16, 1))
    signal = active(convolution(4, 7, 2)(inputs))
    signal = keras.layers.MaxPooling2D(3, 2, padding="same")(signal)
    for stage, filters in enumerate((4, 8, 8, 8)):
        strides = 2 if stage else 1
        shortcut = signal if stage == 0 else convolution(filters, 1, strides)(signal)
        inner = convolution(filters, 3, strides)(active(signal) if stage else signal)
        signal = keras.layers.Add()([shortcut, convolution(filters, 3)(active(inner))])
    signal = keras.layers.Flatten()(keras.layers.AveragePooling2D(1)(active(signal)))
    activation = "linear" if repaired else "softmax"
    outputs = keras.layers.Dense(1, activation=activation, kernel_initializer="he_normal")(signal)
    model = keras.Model(inputs, outputs)
    model.compile(optimizer=keras.optimizers.Adam(3e-3), loss="mse")
    return model, x.astype("float32"), y.astype("float32")


def train(model, x, y):
    """Train for 20 epochs."""
    model.fit(x, y, batch_size=8, epochs=20, verbose=0)


def score(model, x, y):
    """Return the explained share of the variance."""
    return explained(predictions(model, x), y)
