"""Type aliases for signatures."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal, Self, SupportsIndex, TypeAlias

import keras
import numpy.typing as npt

# A shape as an argument, and after checking.
ShapeLike: TypeAlias = Iterable[SupportsIndex]
Shape: TypeAlias = tuple[int, ...]

# The name of a dtype.
DType: TypeAlias = str

# A backend tensor, or a NumPy array in host computations. They have no common type.
Tensor: TypeAlias = Any
Array: TypeAlias = npt.NDArray[Any]

Seed: TypeAlias = int | keras.random.SeedGenerator | None
AxesLike: TypeAlias = list[int] | tuple[int, ...] | None
Activation: TypeAlias = Literal[
    "linear",
    "sigmoid",
    "tanh",
    "relu",
    "leaky_relu",
    "selu",
    "elu",
    "gelu",
    "silu",
    "swish",
    "celu",
    "hard_silu",
    "mish",
    "relu6",
    "softplus",
    "softsign",
]
Gain: TypeAlias = float | Activation

if TYPE_CHECKING:
    # Keras is untyped. For a type checker its classes, and all classes derived from them, would be
    # unknown.
    class KerasInitializer:
        """The interface inherited from `keras.initializers.Initializer`."""

        @classmethod
        def from_config(cls, config: dict[str, Any]) -> Self:
            """Return the initializer with these arguments."""

        def clone(self) -> Self:
            """Return an initializer with the same arguments."""

    class KerasVarianceScaling(KerasInitializer):
        """`keras.initializers.VarianceScaling`, from which only the type is inherited."""

    class KerasCallback:
        """The interface inherited from `keras.callbacks.Callback`."""

        model: keras.Model

    class KerasConstraint:
        """The interface inherited from `keras.constraints.Constraint`."""

        @classmethod
        def from_config(cls, config: dict[str, Any]) -> Self:
            """Return the constraint with these arguments."""

    class KerasLoss:
        """The interface inherited from `keras.losses.Loss`."""

        def __init__(self, name: str, reduction: str | None = ...) -> None: ...

    class KerasOptimizer:
        """The interface inherited from `keras.optimizers.Optimizer`."""

        built: bool
        name: str

        def __init__(self, learning_rate: float) -> None: ...

        @property
        def variables(self) -> list[keras.Variable]:
            """All variables of the optimizer."""

        def build(self, variables: Sequence[keras.Variable]) -> None:
            """Make the variables of the optimizer."""

        def apply(
            self,
            grads: Sequence[Tensor],
            trainable_variables: Sequence[keras.Variable] | None = None,
        ) -> None:
            """Take a step with gradients."""

        def update_step(
            self, gradient: Tensor, variable: keras.Variable, learning_rate: Tensor
        ) -> None:
            """Update one weight."""

        def add_variable_from_reference(
            self, reference_variable: keras.Variable, name: str
        ) -> keras.Variable:
            """Make a variable with the shape of another."""

        def assign_add(self, variable: keras.Variable, value: Tensor) -> None:
            """Add to a variable."""

        def assign_sub(self, variable: keras.Variable, value: Tensor) -> None:
            """Subtract from a variable."""

        def _parallel_update_step(
            self,
            grads: Sequence[Tensor],
            variables: Sequence[keras.Variable],
            learning_rate: Tensor,
        ) -> None: ...

        def _get_variable_index(self, variable: keras.Variable) -> int: ...

        def _track_variable(self, variable: keras.Variable) -> None: ...

        def get_config(self) -> dict[str, Any]:
            """Return the arguments of the optimizer."""

    class KerasDataset:
        """`keras.utils.PyDataset`, from which only the type is inherited."""
else:
    KerasCallback = keras.callbacks.Callback
    KerasConstraint = keras.constraints.Constraint
    KerasDataset = keras.utils.PyDataset
    KerasInitializer = keras.initializers.Initializer
    KerasLoss = keras.losses.Loss
    KerasOptimizer = keras.optimizers.Optimizer
    KerasVarianceScaling = keras.initializers.VarianceScaling

# An initializer of this package or of Keras, as an object, a string id or a config.
InitializerLike: TypeAlias = (
    KerasInitializer | keras.initializers.Initializer | str | dict[str, Any]
)
