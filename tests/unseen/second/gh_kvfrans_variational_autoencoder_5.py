"""A convolutional variational autoencoder trains well, then its loss is not a number and all images are dark.

Fault: 1e-8 in the logarithms is lost when 1 is added to it in float32, so that an output of exactly 1 gives log(0).
Repair (asker): 1e-6 instead.
"""

import keras
import numpy as np
from _program import explained, predictions
from keras import layers, ops

URL = "https://github.com/kvfrans/variational-autoencoder/issues/5"
YEAR = 2017
TOPIC = "autoencoders"
CONFIRMED = "asker"
KINDS = ("loss: value or gradient not finite",)
VISIBLE = False
EVIDENCE = (
    "all outputs of the first batch are 0.5 and the loss is finite; it is not a number from about the 90th "
    "step on; 1e-8 + 1 is 1 in float32, which only the text of the loss shows"
)
REPRODUCED = True
SIDE = 12


class Sampling(layers.Layer):
    def __init__(self):
        super().__init__()
        self.seed = keras.random.SeedGenerator(1)

    def call(self, inputs):
        mean, deviation = inputs
        terms = mean**2 + deviation**2 - ops.log(deviation**2) - 1
        self.add_loss(0.5 * ops.mean(ops.sum(terms, axis=1)))
        return mean + deviation * keras.random.normal(ops.shape(mean), seed=self.seed)


def build(repaired):
    small = 1e-6 if repaired else 1e-8

    def distance(targets, outputs):
        likelihood = targets * ops.log(small + outputs) + (1 - targets) * ops.log(small + 1 - outputs)
        return -ops.sum(likelihood, axis=(1, 2, 3))

    rng = np.random.default_rng(0)
    x = np.zeros((200, SIDE, SIDE, 1), "float32")
    for image, (row, column) in zip(x, rng.integers(1, SIDE - 5, (200, 2)), strict=True):
        image[row : row + 4, column : column + 4] = 1
        image[0], image[-1], image[:, 0], image[:, -1] = 1, 1, 1, 1
    normal = keras.initializers.TruncatedNormal(stddev=0.02)
    settings = {"kernel_size": 5, "strides": 2, "padding": "same", "kernel_initializer": normal}
    inputs = layers.Input((SIDE, SIDE, 1))
    hidden = layers.LeakyReLU(negative_slope=0.2)(layers.Conv2D(16, **settings)(inputs))
    hidden = layers.LeakyReLU(negative_slope=0.2)(layers.Conv2D(32, **settings)(hidden))
    hidden = layers.Flatten()(hidden)
    weights = keras.initializers.RandomNormal(stddev=0.02)
    code = Sampling()([layers.Dense(20, kernel_initializer=weights)(hidden) for _ in range(2)])
    hidden = layers.Dense(3 * 3 * 32, activation="relu", kernel_initializer=weights)(code)
    hidden = layers.Reshape((3, 3, 32))(hidden)
    hidden = layers.Conv2DTranspose(16, activation="relu", **settings)(hidden)
    model = keras.Model(inputs, layers.Conv2DTranspose(1, activation="sigmoid", **settings)(hidden))
    model.compile(keras.optimizers.Adam(0.001), loss=distance)
    return model, x, x


def train(model, x, y):
    model.fit(x, y, batch_size=100, epochs=300, verbose=0)


def score(model, x, y):
    return explained(predictions(model, x), y)
