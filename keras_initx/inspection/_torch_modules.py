"""Iterate over the torch modules inside a `TorchModuleWrapper`, which are no layers of Keras."""

import sys
from collections.abc import Iterator
from typing import Any

import keras

from keras_initx._keras import list_layers


def iterate_torch_modules(model: keras.Model) -> Iterator[tuple[keras.Layer, Any]]:
    """Yield the torch modules in each wrapper within a model, and the modules inside them."""
    for layer in list_layers(model):
        if isinstance(layer, keras.layers.TorchModuleWrapper):
            for module in layer.module.modules():
                yield layer, module


def iterate_modules_with_kernel(model: keras.Model) -> Iterator[tuple[keras.Layer, Any]]:
    """Yield the torch modules in a model that multiply their inputs by a kernel."""
    for layer, module in iterate_torch_modules(model):
        parameters = list(module.parameters(recurse=False))
        # A parametrization keeps the kernel.
        if hasattr(module, "parametrizations"):
            parameters += module.parametrizations.parameters()
        ranks = [parameter.ndim for parameter in parameters]
        if max(ranks, default=0) > 1 and not hasattr(module, "num_embeddings"):
            yield layer, module


def is_dropout(module: Any) -> bool:
    nn = sys.modules["torch"].nn
    kinds = nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout
    return isinstance(module, (*kinds, nn.FeatureAlphaDropout))


def normalizes_batch(module: Any) -> bool:
    nn = sys.modules["torch"].nn
    return isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm))
