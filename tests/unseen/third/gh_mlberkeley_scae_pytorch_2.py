"""A capsule autoencoder of digits has an infinite, then an undefined loss after 26 epochs.

Fault: the likelihood of the mixture of templates is the log of a sum of exp, without care for
very large or small exponents.
Repair (asker, merged by the author): logsumexp.
The transformations of the templates are left out; Adam stands for RAdam, which Keras does not have.
"""

import keras
import numpy as np
from _program import explained, predictions
from sklearn.datasets import load_digits

URL = "https://github.com/mlberkeley/scae-pytorch/issues/2"
YEAR = 2020
TOPIC = "autoencoders"
CONFIRMED = "asker"
KINDS = ("loss: value or gradient not finite",)
VISIBLE = False
EVIDENCE = "both forms have the same, finite loss and train alike over 26 epochs (scores 0.49 and 0.49)"
REPRODUCED = False

PARTS = 12


class Mixture(keras.layers.Layer):
    """From the presences of the parts to the means and the mixing logits of each pixel."""

    def build(self, shape):
        self.templates = self.add_weight(shape=(1, PARTS, 64), initializer=keras.initializers.RandomUniform(0, 0.5))
        self.heat = self.add_weight(shape=(1,), initializer="zeros")

    def call(self, presences):
        means = keras.ops.relu(self.templates) * keras.ops.ones_like(presences)[..., None]
        logits = means * keras.ops.softplus(self.heat + 0.5) + keras.ops.log(presences)[..., None]
        return keras.ops.stack([means, logits], -1)


def likelihood_loss(repaired):
    """Return the negative log likelihood under a mixture of normal distributions of deviation 1."""

    def loss(images, parts):
        means, logits = parts[..., 0], parts[..., 1]
        logs = -0.5 * (images[:, None] - means) ** 2 - 0.5 * np.log(2 * np.pi)
        if repaired:
            logs = keras.ops.logsumexp(logs + keras.ops.log_softmax(logits, axis=1), axis=1)
        else:
            logs = logs + logits - keras.ops.log(keras.ops.sum(keras.ops.exp(logits), axis=1, keepdims=True))
            logs = keras.ops.log(keras.ops.sum(keras.ops.exp(logs), axis=1))
        return -keras.ops.sum(logs, -1)

    return loss


def build(repaired):
    x = (load_digits().images[:320, ..., None] / 16).astype("float32")
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(16, 3, 2, "same", activation="relu"),
            keras.layers.Conv2D(16, 3, 1, "same", activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(PARTS, "sigmoid"),
            Mixture(),
        ]
    )
    model.compile(keras.optimizers.Adam(0.003), likelihood_loss(repaired))
    return model, x, x.reshape(-1, 64)


def train(model, x, y):
    model.fit(x, y, batch_size=32, epochs=26, verbose=0)


def score(model, x, y):
    parts = predictions(model, x)
    shares = np.exp(parts[..., 1] - parts[..., 1].max(1, keepdims=True))
    return explained((parts[..., 0] * shares).sum(1) / shares.sum(1), y)
