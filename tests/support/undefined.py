"""Networks in which NaN arises: in a layer of one's own, alone and in a model inside, or in a `call`."""

import keras
import numpy as np
from keras import layers, ops

DRAWS = np.random.default_rng(0)
X = DRAWS.normal(size=(32, 10)).astype("float32")
X[:4] = 0  # padding
LABELS = DRAWS.integers(0, 3, 32)
CROSSENTROPY = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


class Own(layers.Layer):
    """Applies a function of one's own."""

    def __init__(self, function, **options):
        super().__init__(name="own", **options)
        self.function = function

    def call(self, *tensors):
        return self.function(*tensors)


def unit(x):
    """Return rows of length 1. The root of 0 has no derivative, also where it is not taken."""
    squares = ops.sum(ops.square(x), axis=-1, keepdims=True)
    return ops.where(squares > 0, x / ops.sqrt(squares), 0.0)


def guarded(x):
    """Return rows of length 1, with a derivative everywhere."""
    return x / ops.sqrt(ops.maximum(ops.sum(ops.square(x), axis=-1, keepdims=True), 1e-7))


def standardized(x):
    """Divide by the deviation of each row, which is 0 for padding."""
    centered = x - ops.mean(x, axis=-1, keepdims=True)
    return centered / ops.sqrt(ops.mean(ops.square(centered), axis=-1, keepdims=True))


def with_deviation(x):
    """Add the deviation of each row as a feature."""
    variance = ops.mean(ops.square(x - ops.mean(x, axis=-1, keepdims=True)), axis=-1, keepdims=True)
    return ops.concatenate([x, ops.sqrt(variance)], axis=-1)


def distance(one, other):
    return ops.sqrt(ops.sum(ops.square(one - other), axis=-1, keepdims=True))


def stacked(function, is_nested=False, dtype=None):
    """Return a network with a layer that applies `function`, perhaps in a model inside."""
    stack = [layers.Dense(8, use_bias=False, name="first", dtype=dtype), Own(function, dtype=dtype)]
    if is_nested:
        stack = [keras.Sequential([keras.Input((10,)), *stack], name="inner")]
    model = keras.Sequential([keras.Input((10,)), *stack, layers.Dense(3, name="last", dtype=dtype)])
    return model, X, LABELS, CROSSENTROPY


class Written(keras.Model):
    """Applies a function between two layers in its own `call`."""

    def __init__(self, function):
        super().__init__(name="written")
        self.first, self.last = layers.Dense(8, use_bias=False, name="first"), layers.Dense(3, name="last")
        self.function = function

    def call(self, x):
        return self.last(self.function(self.first(x)))


def written(function):
    return Written(function), X, LABELS, CROSSENTROPY


def pairs(function):
    """Return a network of the distances of pairs, of which some are equal."""
    one, other = keras.Input((10,)), keras.Input((10,))
    embedding = layers.Dense(8, name="embedding")
    outputs = layers.Dense(1, name="last")(function(embedding(one), embedding(other)))
    moved = X + (np.arange(32) > 8)[:, None].astype("float32")
    return keras.Model([one, other], outputs), [X, moved], X[:, :1], "mse"
