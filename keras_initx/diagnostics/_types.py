"""Recurring types, with `Any` for those that frameworks do not share."""

from collections.abc import Callable
from typing import Any, Literal, TypeAlias

Level: TypeAlias = Literal["error", "warning", "note"]
Axes: TypeAlias = tuple[int, ...]
Limits: TypeAlias = tuple[float, float]
Progress: TypeAlias = Callable[[str], object]

# An array, or a list or dict of arrays, also nested.
Arrays: TypeAlias = Any
# A name, a loss of Keras, a function of targets and outputs, or a list or dict of them.
Loss: TypeAlias = Any
