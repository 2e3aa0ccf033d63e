"""The modules of torch that a model has inside a `TorchModuleWrapper`: no layers of Keras."""

import sys
from collections.abc import Iterator
from typing import Any

import keras

from keras_initx._keras import list_layers


def modules_inside(model: keras.Model) -> Iterator[tuple[keras.Layer, Any]]:
    """Yield the modules of torch in each wrapper within a model, also those inside others."""
    for layer in list_layers(model):
        if isinstance(layer, keras.layers.TorchModuleWrapper):
            for part in layer.module.modules():
                yield layer, part


def modules_with_kernel(model: keras.Model) -> Iterator[tuple[keras.Layer, Any]]:
    """Yield those modules that multiply their inputs by a kernel."""
    for layer, part in modules_inside(model):
        own = list(part.parameters(recurse=False))
        # A parametrization keeps the kernel.
        if hasattr(part, "parametrizations"):
            own += part.parametrizations.parameters()
        ranks = [parameter.ndim for parameter in own]
        if max(ranks, default=0) > 1 and not hasattr(part, "num_embeddings"):
            yield layer, part


def is_dropout(part: Any) -> bool:
    """Return whether a module of torch is a dropout."""
    nn = sys.modules["torch"].nn
    kinds = nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout
    return isinstance(part, (*kinds, nn.FeatureAlphaDropout))


def normalizes_batch(part: Any) -> bool:
    """Return whether a module of torch normalizes by the statistics of a batch."""
    nn = sys.modules["torch"].nn
    return isinstance(part, (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm))
