"""Scaling: weights and learning rates that follow the width of a model, and checks of both."""

# Read `_mup.py` first.

import importlib
from typing import TYPE_CHECKING

# Keras must know the class of a saved model before it loads it.
from keras_initx.scaling._rate_factors import RateFactors as RateFactors

# What measures models is imported on first use, as in the package.
if TYPE_CHECKING:
    from keras_initx.scaling._coordinate_check import CoordinateCheck as CoordinateCheck
    from keras_initx.scaling._coordinate_check import coordinate_check as coordinate_check
    from keras_initx.scaling._mup import MupTable as MupTable
    from keras_initx.scaling._mup import mup as mup

_FILES = {
    "CoordinateCheck": "_coordinate_check",
    "MupTable": "_mup",
    "coordinate_check": "_coordinate_check",
    "mup": "_mup",
}


def __dir__() -> list[str]:
    return sorted(["RateFactors", *_FILES])


def __getattr__(name: str) -> object:
    if name in _FILES:
        return getattr(importlib.import_module(f"{__name__}.{_FILES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
