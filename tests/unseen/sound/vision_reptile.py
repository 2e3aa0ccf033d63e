"""Letters of few kinds by four convolutions and SGD, the network of Reptile.

After keras.io examples/vision/reptile.py.
"""

import keras
import numpy as np
from keras import layers
from sklearn.datasets import load_digits

URL = "https://keras.io/examples/vision/reptile/"


def digits(size, count=256):
    """Return handwritten digits in 0..1, enlarged to `size` pixels, and their labels."""
    data = load_digits()
    steps = np.linspace(0, 7, size).round().astype(int)
    x = data.images[:count, steps][:, :, steps, None] / 16
    return x.astype("float32"), data.target[:count]


def unit(x):
    x = layers.Conv2D(filters=32, kernel_size=3, strides=2, padding="same")(x)
    return layers.ReLU()(layers.BatchNormalization()(x))


def build():
    x, y = digits(28)
    few = y < 5
    inputs = keras.Input((28, 28, 1))
    h = inputs
    for _ in range(4):
        h = unit(h)
    model = keras.Model(inputs, layers.Dense(5, activation="softmax")(layers.Flatten()(h)))
    model.compile(
        optimizer=keras.optimizers.SGD(learning_rate=0.003), loss=keras.losses.SparseCategoricalCrossentropy()
    )
    return model, x[few], y[few]
