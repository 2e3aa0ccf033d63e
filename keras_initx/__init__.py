"""Weight initializers for Keras 3 that give the same weights on every backend."""

# ruff: noqa: F403, F405, the names are listed once, in `__all__`

# All that is not in `__all__` is private, so that the package offers nothing else.
import importlib as _importlib
import typing as _typing

from keras_initx import _initializer_names, _startup, _suggestions
from keras_initx._version import __version__

# The command line parses its arguments first and imports this later.
if _typing.TYPE_CHECKING or not _startup.is_starting():
    _startup.use_installed_backend()  # before anything imports Keras
    # Keras must know all classes of a saved model before it loads one.
    from keras_initx import initializers, scaling

# All names are imported on first use, so that using a string id stays fast.
if _typing.TYPE_CHECKING:
    from keras_initx import (
        audits,
        demo,
        diagnostics,
        models,
        outputs,
        pretrained,
        recipes,
        sampling,
        studies,
        testing,
    )
    from keras_initx.audits import audit, contract
    from keras_initx.diagnostics import SignalMonitor, diagnose
    from keras_initx.initializers import *
    from keras_initx.models import initialize, lsuv, weight_seed, weights_digest
    from keras_initx.outputs import compare_outputs, record_outputs
    from keras_initx.pretrained import load_pretrained, loading
    from keras_initx.studies import compare_initializers, compare_learning_rates, random_restarts

# The rooms that have a page in the reference.
_ROOMS = (
    "initializers",
    "scaling",
    "diagnostics",
    "models",
    "pretrained",
    "outputs",
    "audits",
    "studies",
    "recipes",
    "sampling",
    "testing",
    "demo",
)

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
    "Triangular",
    "TruncatedNormal",
    "VarianceScaling",
    "__version__",
    "audit",
    "audits",
    "catalog",
    "compare_initializers",
    "compare_learning_rates",
    "compare_outputs",
    "contract",
    "demo",
    "diagnose",
    "diagnostics",
    "initialize",
    "initializers",
    "load_pretrained",
    "loading",
    "lsuv",
    "models",
    "outputs",
    "pretrained",
    "random_restarts",
    "recipes",
    "record_outputs",
    "sampling",
    "scaling",
    "studies",
    "testing",
    "weight_seed",
    "weights_digest",
]
_initializer_names.public_names = __all__


def __dir__() -> list[str]:
    return __all__  # also what is imported on first use


def __getattr__(name: str) -> _typing.Any:
    if name in _ROOMS:
        return _importlib.import_module(f"{__name__}.{name}")
    if name in __all__:
        for room in _ROOMS:
            module = _importlib.import_module(f"{__name__}.{room}")
            if hasattr(module, name):
                return getattr(module, name)
    similar: list[str] = []
    if not name.startswith("_"):  # tools ask for many of those
        similar = _importlib.import_module(f"{__name__}._initializer_names").classes_like(name)
    raise _suggestions.missing_attribute(__name__, name, __all__, similar)
