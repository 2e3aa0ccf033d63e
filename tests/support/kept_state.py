"""What a model keeps: moving averages of a module of torch in it, and the values of its variables."""

import keras
import numpy as np
from keras import layers
from modes import to_numpy

X = np.random.default_rng(0).normal(size=(16, 6)).astype("float32")
Y = np.random.default_rng(1).normal(size=(16, 3)).astype("float32")


def wrapped():
    """Return a model around a module of torch that keeps moving averages, and the module."""
    import torch

    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.BatchNorm1d(4), torch.nn.Dropout(0.5))
    model = keras.Sequential([keras.Input((6,)), layers.TorchModuleWrapper(module), layers.Dense(3)])
    return model, module


def buffers(module):
    return {name: buffer.detach().cpu().numpy().copy() for name, buffer in module.named_buffers()}


def state(model):
    return [to_numpy(variable.value).copy() for variable in model.variables]
