"""Letters of few kinds by four convolutions and SGD, the network of Reptile.

After keras.io examples/vision/reptile.py.
"""

import keras
from _shared import digits
from keras import layers

URL = "https://keras.io/examples/vision/reptile/"


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
