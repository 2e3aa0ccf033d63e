"""What tests of several rooms say of models: a stack of layers, its weights as arrays, the layers of a report."""

import keras
import numpy as np
import scipy
from keras import layers
from modes import to_numpy

from keras_initx.inspection._inventory import Inventory

RANDOM = np.random.default_rng(0)


def built(shape, *stack):
    return keras.Sequential([keras.Input(shape), *stack])


def sequential():
    """Return a model with a model inside, whose layers have automatic names but for the last."""
    return built((4,), layers.Dense(4), built((4,), layers.Dense(4), layers.Dense(4)), layers.Dense(3, name="logits"))


def with_torch_module():
    """Return a model around a module of torch."""
    import torch

    module = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3))
    return built((4,), layers.TorchModuleWrapper(module, name="net"))


def arrays(model):
    return {weight.path: to_numpy(weight.variable.value).copy() for weight in Inventory(model).weights}


def assert_equal(one, other):
    assert one.keys() == other.keys()
    for path, value in one.items():
        np.testing.assert_array_equal(value, other[path], err_msg=path)


def by_name(report):
    return {layer.name: layer for layer in report.rows}


def assert_distribution(values, distribution, stddev):
    standard = values.astype("float64").reshape(-1) / stddev * distribution.std()
    # The seeds are fixed; with a random one this would fail once in 10,000.
    assert scipy.stats.kstest(standard, distribution.cdf).pvalue > 1e-4


def changed(model):
    """Give the weights of a model values that tell them apart."""
    for weight in model.weights:
        kind = keras.backend.standardize_dtype(weight.dtype)
        if "int" in kind:
            weight.assign(RANDOM.integers(0, 100, weight.shape).astype(kind))
        else:
            weight.assign(RANDOM.uniform(size=weight.shape))
    return model
