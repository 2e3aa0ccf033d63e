"""A variational autoencoder for pictures: the divergence is zero at once, and the error does not go down.

Fault: the divergence is a sum over the hidden numbers, the error a mean over the pixels.
Repair (answer): the mean of the divergence, with a small weight; here the weight that stands for normal pixels with a
deviation of 0.1. Smooth pictures of 8 by 8 in three colours are drawn instead of CIFAR-10; the four layers of encoder
and decoder are not told: dense ones with 128 units.
"""

import keras
import numpy as np
from _program import explained, predictions
from keras import layers, ops

URL = "https://datascience.stackexchange.com/questions/35741"
YEAR = 2018
TOPIC = "autoencoders"
CONFIRMED = "votes"
KINDS = ("loss: sign or formula", "regularization: too strong")
VISIBLE = True
EVIDENCE = (
    "the divergence is 8.4, the error 0.09; the gradient of the first weights is 0.2, of which 3e-5 come from the error"
    " and a divergence of the right weight"
)
REPRODUCED = True
PIXELS, HIDDEN = 192, 256


class Sampling(layers.Layer):
    """Draws the hidden numbers and adds their weighted divergence from a normal distribution to the loss."""

    def __init__(self, weight, **kwargs):
        super().__init__(**kwargs)
        self.weight, self.seed_generator = weight, keras.random.SeedGenerator()

    def call(self, inputs):
        mean, log_variance = inputs
        divergence = -0.5 * ops.sum(1 + log_variance - ops.square(mean) - ops.exp(log_variance), 1)
        self.add_loss(self.weight * ops.mean(divergence))
        return mean + ops.exp(0.5 * log_variance) * keras.random.normal(ops.shape(mean), seed=self.seed_generator)


def build(repaired):
    rng = np.random.default_rng(0)
    across, down = np.meshgrid(np.arange(8) / 8, np.arange(8) / 8)
    waves = [np.cos(np.pi * (a * across + b * down)) for a, b in ((0, 0), (1, 0), (0, 1), (1, 1))]
    waves = np.stack(waves).reshape(4, 64, 1)
    x = (rng.normal(size=(1000, 4, 1, 3)) * waves).sum(1).reshape(1000, PIXELS)
    x = (1 / (1 + np.exp(-x))).astype("float32")

    inputs = hidden = keras.Input((PIXELS,))
    for _ in range(3):
        hidden = layers.Dense(128, "relu")(hidden)
    weight = 2 * 0.1**2 / PIXELS if repaired else 1.0
    hidden = Sampling(weight)([layers.Dense(HIDDEN)(hidden), layers.Dense(HIDDEN)(hidden)])
    for _ in range(3):
        hidden = layers.Dense(128, "relu")(hidden)
    model = keras.Model(inputs, layers.Dense(PIXELS, "sigmoid")(hidden))
    model.compile(keras.optimizers.Adam(0.001), "mse")
    return model, x, x


def train(model, x, y):
    model.fit(x, y, batch_size=40, epochs=20, verbose=0)


def score(model, x, y):
    return explained(predictions(model, x) - y.mean(0), y - y.mean(0))
