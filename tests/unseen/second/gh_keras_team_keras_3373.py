"""The variational autoencoder of Keras in August 2016: all places of the latent plane give the same digit.

Fault: the cross-entropy is a mean over 784 pixels, while the divergence from the prior is a full term, so that the
divergence wins.
Repair (pull request 3383, agreed by the maintainer): the cross-entropy is multiplied by the number of pixels again.
"""

import keras
import numpy as np
from _program import explained, predictions
from keras import ops

URL = "https://github.com/keras-team/keras/issues/3373"
YEAR = 2016
TOPIC = "autoencoders"
CONFIRMED = "maintainer"
KINDS = ("loss: sign or formula", "regularization: too strong (dropout, penalties)")
VISIBLE = True
EVIDENCE = (
    "on the weights of the code the gradient of the divergence is 230 times that of the cross-entropy, which "
    "is a mean over 784 pixels beside a full divergence"
)
REPRODUCED = True
PIXELS = 784


class Autoencoder(keras.Model):
    def __init__(self, weight):
        super().__init__()
        self.weight = weight
        self.hidden = keras.layers.Dense(256, activation="relu")
        self.mean = keras.layers.Dense(2)
        self.variance = keras.layers.Dense(2)
        self.back = keras.layers.Dense(256, activation="relu")
        self.pixels = keras.layers.Dense(PIXELS, activation="sigmoid")
        self.seed = keras.random.SeedGenerator(1)

    def call(self, inputs):
        hidden = self.hidden(inputs)
        mean, variance = self.mean(hidden), self.variance(hidden)
        noise = keras.random.normal(ops.shape(mean), seed=self.seed)
        self.add_loss(-0.5 * ops.mean(ops.sum(1 + variance - mean**2 - ops.exp(variance), axis=-1)))
        return self.pixels(self.back(mean + ops.exp(variance / 2) * noise))

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        distance = ops.mean(keras.losses.binary_crossentropy(y, y_pred))
        return self.weight * distance + sum(self.losses)


def build(repaired):
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[0:28, 0:28]
    # Strokes whose angle and place vary, with gray levels from 0 to 1, as in handwritten digits.
    angles, shifts = rng.uniform(0, np.pi, (600, 1, 1)), rng.uniform(-6, 6, (600, 1, 1))
    across = (rows - 14) * np.cos(angles) + (columns - 14) * np.sin(angles) - shifts
    along = (columns - 14) * np.cos(angles) - (rows - 14) * np.sin(angles)
    x = np.exp(-((across / 2.5) ** 2)) * (np.abs(along) < 10)
    x = x.reshape(600, PIXELS).astype("float32")
    model = Autoencoder(PIXELS if repaired else 1)
    model(x[:1])
    model.compile("rmsprop")
    return model, x, x


def train(model, x, y):
    model.fit(x, y, batch_size=100, epochs=100, verbose=0)


def score(model, x, y):
    outputs = predictions(model, x)
    return explained(outputs - y.mean(0), y - y.mean(0))
