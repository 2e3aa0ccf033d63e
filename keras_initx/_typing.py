"""Names for the types that recur in signatures."""

from collections.abc import Callable, Iterable
from typing import Any, Literal, SupportsIndex, TypeAlias

import keras
import numpy.typing as npt

# What is asked for, and what has been checked.
ShapeLike: TypeAlias = Iterable[SupportsIndex]
Shape: TypeAlias = tuple[int, ...]

# The name of a dtype.
DType: TypeAlias = str

# A tensor of the backend, or an array of NumPy's where the host computes: they have no type in common.
Tensor: TypeAlias = Any
Array: TypeAlias = npt.NDArray[Any]
# A function that is applied to draws, value by value.
Elementwise: TypeAlias = Callable[[Tensor], Tensor]

Seed: TypeAlias = int | keras.random.SeedGenerator | None
Axes: TypeAlias = list[int] | tuple[int, ...] | None
Activation: TypeAlias = Literal[
    "linear", "sigmoid", "tanh", "relu", "leaky_relu", "selu", "elu", "gelu", "silu", "swish"
]
Gain: TypeAlias = float | Activation
# An initializer as an object, a string id or a config.
InitializerLike: TypeAlias = keras.initializers.Initializer | str | dict[str, Any]
