"""Networks after public reports, in which a verdict was not so, each with a twin that it is right for."""

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import layers, ops

X = np.random.default_rng(0).normal(size=(64, 8)).astype("float32")
Y = np.random.default_rng(1).normal(size=(64, 1)).astype("float32")


class Report(NamedTuple):
    """A network, the verdicts that name its fault (`None` for a sound one), and the steps of its diagnosis."""

    build: Callable[[], tuple[keras.Model, Any, Any, Any]]
    fault: set[str] | None = None
    steps: int = 0


class Apply(layers.Layer):
    """Apply a function of one's own."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def call(self, x):
        return self.function(x)


def applying(function):
    def build():
        model = keras.Sequential([keras.Input((8,)), layers.Dense(8), Apply(function), layers.Dense(1)])
        model.compile("adam", "mse")
        return model, X, Y, None

    return build


def noise(z):
    """Add numbers of NumPy, which differ at each call."""
    return z + ops.convert_to_tensor(np.random.default_rng().normal(size=(8,)).astype("float32"))


class Normalizer(layers.Layer):
    """Keep a running mean and variance, which the first batch throws far away."""

    def build(self, shape):
        self.mean = self.add_weight(shape=(8,), initializer="zeros", trainable=False, name="mean")
        self.variance = self.add_weight(shape=(8,), initializer="ones", trainable=False, name="variance")

    def call(self, x, training=False):
        if training:
            self.variance.assign(self.variance - ops.square(ops.mean(x, 0) - self.mean))
            self.mean.assign(ops.mean(x, 0))
        return (x - self.mean) / ops.sqrt(self.variance)


def normalized(offset, scale):
    def build():
        model = keras.Sequential([keras.Input((8,)), Normalizer(), layers.Dense(4, "relu"), layers.Dense(1)])
        model.compile("adam", "mse")
        return model, offset + scale * X, Y, None

    return build


class ActNorm(layers.Layer):
    """Take shift and scale from the first batch, as in normalizing flows."""

    ready = False

    def build(self, shape):
        self.shift = self.add_weight(shape=shape[-1:], initializer="zeros", name="shift")
        self.scale = self.add_weight(shape=shape[-1:], initializer="ones", name="scale")

    def call(self, x):
        if not self.ready and not isinstance(x, keras.KerasTensor):
            self.shift.assign(-ops.mean(x, 0))
            self.scale.assign(1 / (ops.std(x, 0) + 1e-6))
            self.ready = True
        return (x + self.shift) * self.scale


def flow():
    return keras.Sequential([keras.Input((8,)), layers.Dense(8), ActNorm()]), 3 + X, None, None


class Squared(keras.losses.Loss):
    """The squared error without Keras' change of shapes."""

    def call(self, y_true, y_pred):
        return ops.square(y_true - y_pred)


class OwnLoss(keras.Model):
    """A model that computes its loss itself."""

    def __init__(self):
        super().__init__()
        self.hidden, self.head = layers.Dense(32, "relu"), layers.Dense(1)

    def call(self, x):
        return self.head(self.hidden(x))

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return ops.mean(ops.square(y - y_pred))


def squared(y):
    def build():
        model = keras.Sequential([keras.Input((8,)), layers.Dense(32, "relu"), layers.Dense(1)])
        model.compile("adam", Squared())
        return model, X, y, None

    return build


def own_loss(y):
    def build():
        model = OwnLoss()
        model.build((None, 8))
        model.compile("adam")
        return model, X, y, None

    return build


class Counting(layers.Layer):
    """Divide by 0 from a call on."""

    def __init__(self, last):
        super().__init__()
        self.last = last

    def build(self, shape):
        self.calls = self.add_weight(shape=(), initializer="zeros", trainable=False, name="calls")

    def call(self, x, training=False):
        y = x / ops.where(self.calls >= self.last, 0.0, 1.0)
        if training:
            self.calls.assign(self.calls + 1.0)
        return y


def counting(last):
    def build():
        model = keras.Sequential([keras.Input((8,)), layers.Dense(8), Counting(last)])
        model.compile("adam", "mse")
        return model, X, X, None

    return build


REPORTS = {
    "power of 80": Report(applying(lambda z: (z / 3) ** 80)),
    "steep exponential": Report(applying(lambda z: ops.exp(20 * (z - 3)))),
    "noise of NumPy": Report(applying(noise)),
    "sine of 30": Report(applying(lambda z: ops.sin(30 * z))),
    "running normalizer, far inputs": Report(normalized(1800, 30), {"not finite"}),
    "running normalizer, near inputs": Report(normalized(3, 1), {"not finite"}),
    "normalizing flow that starts from its data": Report(flow),
    "own loss, targets of another rank": Report(squared(Y[:, 0]), {"unsuitable labels"}),
    "own loss, targets of its rank": Report(squared(X[:, :1])),
    "own compute_loss, targets of another rank": Report(own_loss(Y[:, 0]), {"unsuitable labels"}),
    "own compute_loss, targets of its rank": Report(own_loss(X[:, :1])),
    "division by 0 at the third call": Report(counting(2), {"diverging steps"}, 10),
    "division by 0 at no call": Report(counting(1000), None, 10),
}
