"""Weight initializers for Keras 3 that give the same weights on every backend."""

# ruff: noqa: F403, F405, the names are listed once, in `__all__`

import importlib
from typing import TYPE_CHECKING, Any

from keras_initx import _initializer_names
from keras_initx._startup import is_starting, use_installed_backend
from keras_initx._suggestions import missing_attribute
from keras_initx._version import __version__

# The command line parses its arguments first and imports this later.
if TYPE_CHECKING or not is_starting():
    use_installed_backend()  # before anything imports Keras
    from keras_initx import scaling
    from keras_initx.initializers import *

# Tools that measure and train models are imported on first use, so that using a string id stays
# fast.
if TYPE_CHECKING:
    from keras_initx import recipes
    from keras_initx.audits import audit, contract
    from keras_initx.diagnostics import SignalMonitor, diagnose
    from keras_initx.models import initialize, lsuv, seeds
    from keras_initx.pretrained import load_pretrained, loading
    from keras_initx.studies import compare_initializers, compare_rates, random_restarts

__all__ = [
    "ICNR",
    "Bilinear",
    "ChronoBias",
    "Concatenated",
    "DecayRate",
    "DeltaOrthogonal",
    "Dirac",
    "FanInNormal",
    "GRUUpdateBias",
    "GlorotNormal",
    "GlorotUniform",
    "HeNormal",
    "HeUniform",
    "KeepSparse",
    "LSTMForgetBias",
    "LecunNormal",
    "LecunUniform",
    "Orthogonal",
    "OrthogonalQR",
    "Pretrained",
    "PriorBias",
    "RandomNormal",
    "RandomUniform",
    "ReLUBias",
    "Scaled",
    "SignalMonitor",
    "SmallNormal",
    "Sparse",
    "Spectral",
    "TimeStepBias",
    "TruncatedNormal",
    "VarianceScaling",
    "__version__",
    "audit",
    "catalog",
    "compare_initializers",
    "compare_rates",
    "contract",
    "diagnose",
    "initialize",
    "load_pretrained",
    "loading",
    "lsuv",
    "random_restarts",
    "recipes",
    "scaling",
    "seeds",
]
_initializer_names.public_names = __all__


def __dir__() -> list[str]:
    return __all__  # also what is imported on first use


def __getattr__(name: str) -> Any:
    if name in ("recipes", "scaling"):
        return importlib.import_module(f"{__name__}.{name}")
    if name in __all__:
        for room in ("initializers", "diagnostics", "models", "pretrained", "audits", "studies"):
            module = importlib.import_module(f"{__name__}.{room}")
            if hasattr(module, name):
                return getattr(module, name)
    similar: list[str] = []
    if not name.startswith("_"):  # tools ask for many of those
        similar = importlib.import_module(f"{__name__}._initializer_names").classes_like(name)
    raise missing_attribute(__name__, name, __all__, similar)
