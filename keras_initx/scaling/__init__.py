"""Scaling: weights and learning rates that follow the width of a model, and checks of both."""

# ruff: noqa: F403, F405, the names are listed once, in `__all__`

import importlib
from typing import TYPE_CHECKING

# Keras must know the class of a saved model before it loads it.
from keras_initx.scaling._rate_factors import *

# What measures models is imported on first use, as in the package.
if TYPE_CHECKING:
    from keras_initx.scaling._coordinate_check import *
    from keras_initx.scaling._mup import *
    from keras_initx.scaling._width_exponents import *

__all__ = [
    "CoordinateCheck",
    "MupTable",
    "MupWeight",
    "RateFactors",
    "WidthExponents",
    "coordinate_check",
    "mup",
]


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> object:
    if name in __all__:
        for file in ("_mup", "_width_exponents", "_coordinate_check"):
            module = importlib.import_module(f"{__name__}.{file}")
            if name in module.__all__:
                return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
