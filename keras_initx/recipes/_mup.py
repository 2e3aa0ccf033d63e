"""Scale initial weights and learning rates with the width of a model: the table of muP."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal, get_args

import keras

from keras_initx._checks import check_choice
from keras_initx._typing import Shape
from keras_initx.diagnostics._report import number
from keras_initx.models._weights import ModelWeight, check_model, find_weights
from keras_initx.rendering._export import as_csv, as_json
from keras_initx.rendering._table import Column, Table

Role = Literal["input", "hidden", "output", "vector", "fixed"]
Optimizer = Literal["adam", "sgd"]


@dataclass(frozen=True)
class MupWeight:
    """The muP factors of one weight when a model is made wider.

    Attributes:
        path: Its path, see `ModelWeight`.
        shape: Its shape.
        base_shape: Its shape in the base model.
        role: For a kernel, `"input"` if only its number of units grows, `"output"` if only its
            number of inputs grows, `"hidden"` if both do. `"vector"` for any other weight that
            grows. `"fixed"` if the shape does not change.
        std: Factor on its standard deviation in the base model.
        adam: Factor on the learning rate of Adam and of other optimizers that normalize the size of
            gradients.
        sgd: Factor on the learning rate of SGD, with or without momentum.
    """

    path: str
    shape: Shape
    base_shape: Shape
    role: Role
    std: float
    adam: float
    sgd: float


@dataclass(frozen=True, repr=False)
class MupTable:
    """The muP factors of each trainable weight when a model is made wider. `print` shows them as a table.

    Attributes:
        weights: A `MupWeight` for each trainable weight, in the order of `model.trainable_variables`.
    """

    weights: list[MupWeight]

    def learning_rates(self, optimizer: Optimizer) -> list[float]:
        """Return the factors on the learning rate, in the order of `model.trainable_variables`.

        Args:
            optimizer: `"adam"` or `"sgd"`.

        Raises:
            ValueError: If `optimizer` is neither.
        """
        check_choice("optimizer", optimizer, get_args(Optimizer))
        return [weight.adam if optimizer == "adam" else weight.sgd for weight in self.weights]

    def to_json(self) -> str:
        """Return the table as JSON."""
        return as_json(asdict(self), indent=1)

    def to_csv(self) -> str:
        """Return the table as CSV, with a row for each weight."""
        return as_csv([asdict(weight) for weight in self.weights])

    def __str__(self) -> str:
        return f"{Table.of(_COLUMNS, self.weights).as_text(rule=True)}{_CAPTION}"

    def __repr__(self) -> str:
        return f"<MupTable of {len(self.weights)} weights>"

    def _repr_html_(self) -> str:
        return f"{Table.of(_COLUMNS, self.weights).as_html()}<p>{_CAPTION}</p>"


def mup(model: keras.Model, base: keras.Model) -> MupTable:
    """Return the muP factors on initial weights and learning rates for a model that is wider than `base`.

    With these factors the best learning rate of a narrow model is also the best for wider ones. If
    a kernel has `n` times as many inputs and `m` times as many units as in the base model, the
    learning rate of Adam is divided by `n`, and that of SGD is multiplied by `m / n`. The standard
    deviation is divided by `sqrt(n)`, or by `n` if only the inputs grow. Embeddings, biases and
    scales count as having one input.

    The initial weights of `recipes.spectral` follow this table; initializers that scale with fan-in
    do so except in the last layer. Attention must divide by the head size instead of its square
    root; this is up to the model.

    Args:
        model: A built model.
        base: The same model with fewer units, also built.

    Returns:
        A `MupTable`.

    Raises:
        TypeError: If `model` or `base` is not a Keras model.
        ValueError: If a model is not built, or if the two have different weights.

    Example:
        >>> from keras_initx import recipes
        >>> def network(width):
        ...     hidden = [keras.layers.Dense(width, name=name) for name in ("first", "second")]
        ...     return keras.Sequential([keras.Input((10,)), *hidden, keras.layers.Dense(3, name="last")])
        >>> print(recipes.mup(network(256), network(64)))
        weight         shape       base      role     std  adam   sgd
        -------------------------------------------------------------
        first/kernel   (10, 256)   (10, 64)  input      1     1     4
        first/bias     (256,)      (64,)     vector     1     1     4
        second/kernel  (256, 256)  (64, 64)  hidden   0.5  0.25     1
        second/bias    (256,)      (64,)     vector     1     1     4
        last/kernel    (256, 3)    (64, 3)   output  0.25  0.25  0.25
        last/bias      (3,)        (3,)      fixed      1     1     1
        Factors on the standard deviation in the base model, and on the learning rates of Adam and SGD.

    Reference:
        Yang, Hu and others, "Tensor programs V: tuning large neural networks via zero-shot hyperparameter transfer",
        arXiv:2203.03466, 2022, table 3, which tables 8 and 9 write in other forms.
    """
    weights, others = _trainable("model", model), _trainable("base", base)
    if [weight.path for weight in weights] != [weight.path for weight in others]:
        raise ValueError(
            f"`base` must have the same weight paths as `model`. Received: base={base.name!r} with "
            f"{len(others)} trainable weights and model={model.name!r} with {len(weights)}"
        )
    rows = {id(weight.variable): _row(weight, other) for weight, other in zip(weights, others, strict=True)}
    return MupTable([rows[id(variable)] for variable in model.trainable_variables])


def _trainable(name: str, model: keras.Model) -> list[ModelWeight]:
    return [weight for weight in find_weights(check_model(name, model)) if weight.variable.trainable]


def _row(weight: ModelWeight, other: ModelWeight) -> MupWeight:
    shape, base = weight.shape, other.shape
    if len(shape) != len(base):
        raise ValueError(
            f"`base` must have weights of the same rank as `model`. Received: {weight.path!r} of shape "
            f"{base} and {shape}"
        )
    inputs, units = _growth(weight, other)
    role = _role(weight, inputs, units)
    std = 1 / inputs if role == "output" else 1 / math.sqrt(inputs)
    return MupWeight(weight.path, shape, base, role, std, 1 / inputs, units / inputs)


def _growth(weight: ModelWeight, other: ModelWeight) -> tuple[float, float]:
    """Return the ratios of inputs and of units between two weights. A vector has one input."""
    if weight.fans is None or other.fans is None:
        return 1.0, math.prod(weight.shape) / math.prod(other.shape)
    (inputs, units), (base_inputs, base_units) = weight.fans, other.fans
    return inputs / base_inputs, units / base_units


def _role(weight: ModelWeight, inputs: float, units: float) -> Role:
    if inputs == units == 1:
        return "fixed"
    if weight.fans is None:
        return "vector"
    return "input" if inputs == 1 else "output" if units == 1 else "hidden"


_CAPTION = "Factors on the standard deviation in the base model, and on the learning rates of Adam and SGD."
_COLUMNS: Sequence[Column[MupWeight]] = (
    Column("weight", lambda weight: weight.path, is_text=True),
    Column("shape", lambda weight: weight.shape, is_text=True),
    Column("base", lambda weight: weight.base_shape, is_text=True),
    Column("role", lambda weight: weight.role, is_text=True),
    Column("std", lambda weight: number(weight.std)),
    Column("adam", lambda weight: number(weight.adam)),
    Column("sgd", lambda weight: number(weight.sgd)),
)
