"""Networks that LSUV scales, and what it says of their layers."""

import keras
import numpy as np
from keras import layers

X = np.random.default_rng(0).normal(size=(64, 6)).astype("float32")
STEPS = np.random.default_rng(2).normal(size=(32, 5, 4)).astype("float32")


def values_of(model):
    return [np.array(keras.ops.convert_to_numpy(variable), "float32") for variable in model.variables]


def same(first, second):
    return all(np.array_equal(*pair) for pair in zip(first, second, strict=True))


def dense(*hidden, **options):
    return keras.Sequential([keras.Input((6,)), *hidden, layers.Dense(3, **options)])


def status(result):
    return [row.status for row in result.rows]
