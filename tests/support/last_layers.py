"""Networks whose last layer meets its loss, and the verdicts on them."""

import keras
import numpy as np
from keras import layers

import keras_initx

DRAWS = np.random.default_rng(0)
X = DRAWS.normal(size=(64, 8)).astype("float32")
LABELS = np.argmax(X[:, :4], axis=-1)
SEVERAL = (X[:, :4] > 0).astype("float32")
SIDE = SEVERAL[:, :1]
LOSSES = keras.losses


def network(units, activation=None, **options):
    keras.utils.set_random_seed(0)
    hidden = layers.Dense(16, "relu", kernel_initializer="he_normal")
    return keras.Sequential([keras.Input((8,)), hidden, layers.Dense(units, activation, name="out", **options)])


def verdicts(model, y, loss=None, x=X):
    return keras_initx.diagnose(model, x, y, loss=loss).verdicts


def problems(*arguments, **options):
    return [verdict.problem for verdict in verdicts(*arguments, **options) if verdict.level != "note"]


def logarithms(limit):
    """Return a crossentropy of two classes of one's own, of what `limit` makes of the outputs."""

    def loss(y, outputs):
        p = limit(outputs)
        return -keras.ops.mean(y * keras.ops.log(p) + (1 - y) * keras.ops.log(1 - p))

    return loss


class Probabilities(keras.Model):
    """Apply the last activation in code of its own, where it is not seen."""

    def __init__(self, activation):
        super().__init__()
        self.out = layers.Dense(4, name="out")
        self.last = activation

    def call(self, inputs):
        return self.last(self.out(inputs))
