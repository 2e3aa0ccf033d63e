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
        global_clipnorm: float | None
        loss_scale_factor: float | None
        name: str
        iterations: keras.Variable
        _state: list[keras.Variable]

        def __init__(
            self,
            learning_rate: Any,
            *,
            global_clipnorm: float | None = ...,
            loss_scale_factor: float | None = ...,
            name: str | None = ...,
        ) -> None: ...

        def build(self, variables: Sequence[keras.Variable]) -> None:
            """Make the variables of the optimizer."""

        def exclude_from_weight_decay(
            self,
            var_list: Sequence[keras.Variable] | None = ...,
            var_names: Sequence[str] | None = ...,
        ) -> None:
            """Exclude weights from weight decay."""

        def add_variable_from_reference(
            self, reference_variable: keras.Variable, name: str
        ) -> keras.Variable:
            """Add a variable of the shape of another."""

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
