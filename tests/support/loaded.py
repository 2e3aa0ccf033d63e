"""Models that are loaded."""

import keras
import numpy as np
from stacks import built

layers = keras.layers
RANDOM = np.random.default_rng(0)


def normal(*shape):
    return RANDOM.normal(size=shape).astype("float32")


def network():
    return built(
        (4,), layers.Dense(4, name="hidden"), layers.BatchNormalization(name="norm"), layers.Dense(2, name="out")
    )


# What a module of torch has for this network, under other names.
STATE = {
    "body.fc.weight": normal(4, 4),
    "body.fc.bias": normal(4),
    "body.bn.weight": normal(4),
    "body.bn.bias": normal(4),
    "body.bn.running_mean": normal(4),
    "body.bn.running_var": normal(4) ** 2,
    "body.bn.num_batches_tracked": np.array(3),
    "head.weight": normal(2, 4),
    "head.bias": normal(2),
}


class Counting(layers.Layer):
    """Has a weight of the dtype `counts`."""

    def __init__(self, counts, **kwargs):
        super().__init__(**kwargs)
        self.counts = counts

    def build(self, shape):
        self.count = self.add_weight(shape=(3,), initializer="zeros", dtype=self.counts, trainable=False, name="count")

    def call(self, inputs):
        return inputs
