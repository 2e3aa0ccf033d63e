"""Names for the types that recur in signatures."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Literal, Self, SupportsIndex, TypeAlias

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

if TYPE_CHECKING:
    # Keras has no types. To a checker its classes are unknown, and so would be every class derived from them.
    class KerasInitializer:
        """What this package inherits from `keras.initializers.Initializer`."""

        @classmethod
        def from_config(cls, config: dict[str, Any]) -> Self:
            """Return the initializer with these arguments."""
            ...

        def clone(self) -> Self:
            """Return an initializer with the same arguments."""
            ...

    class KerasVarianceScaling(KerasInitializer):
        """`keras.initializers.VarianceScaling`, of which nothing but the type is inherited."""

    class KerasCallback:
        """What this package inherits from `keras.callbacks.Callback`."""

        model: keras.Model

    class KerasConstraint:
        """What this package inherits from `keras.constraints.Constraint`."""

        @classmethod
        def from_config(cls, config: dict[str, Any]) -> Self:
            """Return the constraint with these arguments."""
            ...
else:
    KerasCallback = keras.callbacks.Callback
    KerasConstraint = keras.constraints.Constraint
    KerasInitializer = keras.initializers.Initializer
    KerasVarianceScaling = keras.initializers.VarianceScaling

# An initializer as an object, of this package or of Keras, as a string id or as a config.
InitializerLike: TypeAlias = KerasInitializer | keras.initializers.Initializer | str | dict[str, Any]
