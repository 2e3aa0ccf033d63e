"""Weight initializers for Keras 3 that give the same weights on every backend."""

# All that is not in `__all__` is private, so that the package offers nothing else.
import importlib as _importlib
import typing as _typing

from keras_initx import _initializer_names, _startup, _suggestions
from keras_initx._version import __version__ as __version__

# The command line parses its arguments first and imports this later.
if _typing.TYPE_CHECKING or not _startup.is_starting():
    _startup.use_installed_backend()  # before anything imports Keras
    # Keras must know all classes of a saved model before it loads one.
    from keras_initx import initializers as initializers
    from keras_initx import scaling as scaling

# All names are imported on first use, so that using a string id stays fast. Type checkers take what
# is imported as itself, or by a star, for public.
if _typing.TYPE_CHECKING:
    from keras_initx import demo as demo
    from keras_initx import recipes as recipes
    from keras_initx import sampling as sampling
    from keras_initx import testing as testing
    from keras_initx import types as types
    from keras_initx.initializers import *  # noqa: F403, type checkers resolve it
    from keras_initx.tools.audit import audit as audit
    from keras_initx.tools.audit import contract as contract
    from keras_initx.tools.compare_outputs import compare_outputs as compare_outputs
    from keras_initx.tools.compare_outputs import record_outputs as record_outputs
    from keras_initx.tools.diagnose import SignalMonitor as SignalMonitor
    from keras_initx.tools.diagnose import diagnose as diagnose
    from keras_initx.tools.initialize import initialize as initialize
    from keras_initx.tools.initialize import lsuv as lsuv
    from keras_initx.tools.initialize import weight_seed as weight_seed
    from keras_initx.tools.initialize import weights_digest as weights_digest
    from keras_initx.tools.load_pretrained import load_pretrained as load_pretrained
    from keras_initx.tools.loading import loading as loading
    from keras_initx.tools.port_report import port_report as port_report
    from keras_initx.tools.save_pretrained import save_pretrained as save_pretrained
    from keras_initx.tools.studies import compare_initializers as compare_initializers
    from keras_initx.tools.studies import random_restarts as random_restarts

# The public modules, and the names of the package with the module that each is imported from.
_MODULES = (
    "demo",
    "initializers",
    "recipes",
    "sampling",
    "scaling",
    "testing",
    "types",
)
_NAMES: dict[str, tuple[str, ...]] = {
    "initializers": (
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
        "SmallNormal",
        "Sparse",
        "Spectral",
        "TimeStepBias",
        "Triangular",
        "TruncatedNormal",
        "VarianceScaling",
        "catalog",
    ),
    "tools.audit": ("audit", "contract"),
    "tools.compare_outputs": ("compare_outputs", "record_outputs"),
    "tools.diagnose": ("SignalMonitor", "diagnose"),
    "tools.initialize": ("initialize", "lsuv", "weight_seed", "weights_digest"),
    "tools.load_pretrained": ("load_pretrained",),
    "tools.loading": ("loading",),
    "tools.port_report": ("port_report",),
    "tools.save_pretrained": ("save_pretrained",),
    "tools.studies": ("compare_initializers", "random_restarts"),
}
# Those of Keras that need no other here.
_OF_KERAS = ("Constant", "Identity", "Ones", "Zeros")
_MODULE_OF = {name: module for module, names in _NAMES.items() for name in names}

__all__ = sorted(["__version__", *_MODULES, *_MODULE_OF])
_initializer_names.public_names = __all__


def __dir__() -> list[str]:
    return __all__  # also what is imported on first use


def __getattr__(name: str) -> _typing.Any:
    if name in _MODULES:
        return _importlib.import_module(f"{__name__}.{name}")
    if name in _MODULE_OF:
        return getattr(_importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    if name in _OF_KERAS:
        raise AttributeError(
            f"module {__name__!r} has no attribute {name!r}; it is in Keras: "
            f"`keras.initializers.{name}`",
            name=name,
        )
    similar: list[str] = []
    if not name.startswith("_"):  # tools ask for many of those
        similar = _importlib.import_module(f"{__name__}._initializer_names").similar_class_names(
            name
        )
    raise _suggestions.missing_attribute(__name__, name, __all__, similar)
