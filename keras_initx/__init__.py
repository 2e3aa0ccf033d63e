"""Weight initializers for Keras 3 that give the same weights on every backend."""

import importlib
from typing import TYPE_CHECKING

from keras_initx._command import is_starting
from keras_initx._version import __version__

# The command line reads its arguments first, and loads this when it knows what is asked of it.
if TYPE_CHECKING or not is_starting():
    from keras_initx import _default_backend  # noqa: F401, before anything imports Keras
    from keras_initx.initializers import (
        ICNR,
        Bilinear,
        Blocks,
        ChronoBias,
        DeltaOrthogonal,
        Dirac,
        FanInNormal,
        GlorotNormal,
        GlorotUniform,
        GRUUpdateBias,
        HeNormal,
        HeUniform,
        LecunNormal,
        LecunUniform,
        LSTMForgetBias,
        Orthogonal,
        Pretrained,
        PriorBias,
        RandomNormal,
        RandomUniform,
        ReLUBias,
        Scaled,
        SmallNormal,
        Sparse,
        TruncatedNormal,
        VarianceScaling,
        catalog,
    )

if TYPE_CHECKING:
    from keras_initx.diagnostics import SignalMonitor, diagnose
    from keras_initx.studies import compare_initializers, random_restarts

__all__ = [
    "ICNR",
    "Bilinear",
    "Blocks",
    "ChronoBias",
    "DeltaOrthogonal",
    "Dirac",
    "FanInNormal",
    "GRUUpdateBias",
    "GlorotNormal",
    "GlorotUniform",
    "HeNormal",
    "HeUniform",
    "LSTMForgetBias",
    "LecunNormal",
    "LecunUniform",
    "Orthogonal",
    "Pretrained",
    "PriorBias",
    "RandomNormal",
    "RandomUniform",
    "ReLUBias",
    "Scaled",
    "SignalMonitor",
    "SmallNormal",
    "Sparse",
    "TruncatedNormal",
    "VarianceScaling",
    "__version__",
    "catalog",
    "compare_initializers",
    "diagnose",
    "random_restarts",
]

# What measures and trains models is loaded when it is asked for, so that a layer that only needs an id does not wait.
_LATER = {
    "SignalMonitor": "diagnostics",
    "compare_initializers": "studies",
    "diagnose": "diagnostics",
    "random_restarts": "studies",
}


def __getattr__(name):
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_LATER.get(name, 'initializers')}"), name)
