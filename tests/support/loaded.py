"""Models that are loaded."""

import keras
import numpy as np
from modes import to_numpy

from keras_initx.structure._weights import find_weights

layers = keras.layers
RANDOM = np.random.default_rng(0)


def normal(*shape):
    return RANDOM.normal(size=shape).astype("float32")


def built(shape, *stack):
    return keras.Sequential([keras.Input(shape), *stack])


def network():
    return built(
        (4,), layers.Dense(4, name="hidden"), layers.BatchNormalization(name="norm"), layers.Dense(2, name="out")
    )


def arrays(model):
    return {weight.path: to_numpy(weight.variable.value).copy() for weight in find_weights(model)}


class Counting(layers.Layer):
    """Has a weight of the dtype `counts`."""

    def __init__(self, counts, **kwargs):
        super().__init__(**kwargs)
        self.counts = counts

    def build(self, shape):
        self.count = self.add_weight(shape=(3,), initializer="zeros", dtype=self.counts, trainable=False, name="count")

    def call(self, inputs):
        return inputs
