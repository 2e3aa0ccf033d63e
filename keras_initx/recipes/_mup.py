"""The table of muP: factors on weights and learning rates for a model that is wider or deeper."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import keras

from keras_initx._checks import check_choice
from keras_initx._typing import Shape
from keras_initx.rendering import COLORS, Column, Points, WeightTable, plot_in_order, short_number
from keras_initx.structure import ModelWeight, check_model, find_weights

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["MupTable", "MupWeight", "mup"]

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
        tied: For an embedding, factor on the logits of an output layer that uses the same weights;
            1 for other weights. The model must apply it.
    """

    path: str
    shape: Shape
    base_shape: Shape
    role: Role
    std: float
    adam: float
    sgd: float
    tied: float = 1.0


@dataclass(frozen=True, repr=False)
class MupTable(WeightTable[MupWeight]):
    """The muP factors of each trainable weight when a model is made wider.

    In the form of all results. `plot` shows the factors in the colors of the roles.

    Attributes:
        weights: A `MupWeight` for each trainable weight, in the order of
            `model.trainable_variables`.
        depth: How many times as many residual blocks the model has as the base model. The model
            must divide the output of each branch by it.
    """

    weights: list[MupWeight]
    depth: float = 1.0

    def learning_rates(self, optimizer: Optimizer) -> list[float]:
        """Return the factors on the learning rate, in the order of `model.trainable_variables`.

        Weight decay must not change with the width. Keras multiplies it by the learning rate of the
        optimizer, without these factors, so it needs none. Where a library multiplies it by the
        rate of the weight, as AdamW does in torch, divide the decay of each weight by its factor.

        Args:
            optimizer: `"adam"` or `"sgd"`.

        Raises:
            ValueError: If `optimizer` is neither.
        """
        check_choice("optimizer", optimizer, get_args(Optimizer))
        if optimizer == "adam":
            return [weight.adam for weight in self.weights]
        return [weight.sgd for weight in self.weights]

    @property
    def _has_tied(self) -> bool:
        return any(weight.tied != 1 for weight in self.weights)

    def _columns(self) -> list[Column[MupWeight]]:
        columns: list[Column[MupWeight]] = [
            Column("weight", lambda weight: weight.path, is_text=True),
            Column("shape", lambda weight: weight.shape, is_text=True),
            Column("base", lambda weight: weight.base_shape, is_text=True),
            Column("role", lambda weight: weight.role, is_text=True),
            Column("std", lambda weight: short_number(weight.std)),
            Column("adam", lambda weight: short_number(weight.adam)),
            Column("sgd", lambda weight: short_number(weight.sgd)),
        ]
        if self._has_tied:
            columns.append(Column("tied", lambda weight: short_number(weight.tied)))
        return columns

    def _figure(self) -> "Figure":
        factors = {
            "std": "factor on the std",
            "adam": "on the rate of Adam",
            "sgd": "on the rate of SGD",
        }
        if self._has_tied:
            factors["tied"] = "on tied logits"
        colors = dict(zip(get_args(Role), COLORS, strict=False))
        panels = {}
        for name, label in factors.items():
            values: dict[str, dict[int, float]] = {}
            for place, weight in enumerate(self.weights):
                values.setdefault(weight.role, {})[place] = getattr(weight, name)
            panels[label] = {role: Points(values[role], colors[role]) for role in values}
        return plot_in_order([weight.path for weight in self.weights], panels, of="weight")

    def _below(self) -> list[str]:
        notes = ["Factors on the std in the base model, and on the learning rates of Adam and SGD."]
        if self._has_tied:
            notes.append(
                "tied: factor on the logits of an output layer that uses the weights of the "
                "embedding."
            )
        if self.depth != 1:
            notes.append(f"Divide the output of each branch by {short_number(self.depth)}.")
        return notes


def mup(model: keras.Model, base: keras.Model) -> MupTable:
    """Return the muP factors on weights and learning rates for a model that is wider than `base`.

    With these factors the best learning rate of a narrow model is also the best for wider ones. If
    a kernel has `n` times as many inputs and `m` times as many units as in the base model, the
    learning rate of Adam is divided by `n`, and that of SGD is multiplied by `m / n`. The standard
    deviation is divided by `sqrt(n)`, or by `n` if only the inputs grow. Embeddings, biases and
    scales count as having one input; the inputs of a depthwise or grouped convolution are those of
    one unit.

    The initial weights of `recipes.spectral` follow this table; initializers that scale with fan-in
    do so except in the last layer. What the weights cannot do is up to the model: attention must
    divide by the head size instead of its square root, or the head size must stay the same; logits
    from the weights of an embedding must be multiplied by its `tied`; and if the model has more
    residual blocks than `base`, each branch must be divided by `depth`. This is CompleteP, with
    which the learning rate also suits deeper models. Adam's epsilon should be divided by the ratio
    of the widths and by `depth`.

    Args:
        model: A built model.
        base: The same model with fewer units, also built. It may have fewer residual blocks, if the
            names of their layers differ in numbers only.

    Returns:
        A `MupTable`.

    Raises:
        TypeError: If `model` or `base` is not a Keras model.
        ValueError: If a model is not built, or if the two have different weights.

    Example:
        >>> from keras_initx import recipes
        >>> def network(width):
        ...     hidden = [keras.layers.Dense(width, name=name) for name in ("first", "second")]
        ...     last = keras.layers.Dense(3, name="last")
        ...     return keras.Sequential([keras.Input((10,)), *hidden, last])
        >>> print(recipes.mup(network(256), network(64)))
        weight         shape       base      role     std  adam   sgd
        -------------------------------------------------------------
        first/kernel   (10, 256)   (10, 64)  input      1     1     4
        first/bias     (256,)      (64,)     vector     1     1     4
        second/kernel  (256, 256)  (64, 64)  hidden   0.5  0.25     1
        second/bias    (256,)      (64,)     vector     1     1     4
        last/kernel    (256, 3)    (64, 3)   output  0.25  0.25  0.25
        last/bias      (3,)        (3,)      fixed      1     1     1
        Factors on the std in the base model, and on the learning rates of Adam and SGD.

    Reference:
        Yang, Hu and others, "Tensor programs V: tuning large neural networks via zero-shot
        hyperparameter transfer", arXiv:2203.03466, 2022, table 3, which tables 8 and 9 write in
        other forms, and the authors' package `mup`, `MuSharedReadout` and `MuAdamW`, for tied
        logits and weight decay. Dey and others, "Don't be lazy: CompleteP enables compute-efficient
        deep transformers", arXiv:2505.01618, 2025, table 1, for the depth.
    """
    weights = _trainable("model", model)
    base_weights = _trainable("base", base)
    counterparts, depths = _counterparts(weights, base_weights)
    if len(counterparts) < len(weights) or len(depths) > 1:
        raise ValueError(
            "`base` must have the same weight paths as `model`, or those of fewer blocks. "
            f"Received: base={base.name!r} with {len(base_weights)} trainable weights and "
            f"model={model.name!r} with {len(weights)}"
        )
    rows = {}
    for weight in weights:
        rows[id(weight.variable)] = _row(weight, counterparts[weight.path])
    in_order = [rows[id(variable)] for variable in model.trainable_variables]
    return MupTable(in_order, depth=max(depths, default=1.0))


def _trainable(name: str, model: keras.Model) -> list[ModelWeight]:
    weights = find_weights(check_model(name, model))
    return [weight for weight in weights if weight.variable.trainable]


def _counterparts(
    weights: Sequence[ModelWeight], base_weights: Sequence[ModelWeight]
) -> tuple[dict[str, ModelWeight], set[float]]:
    """Return the weight of the base model for each path that has one, and the ratios of the depths.

    It has the same path, or one with another number in one place, that of a block. The depth is the
    number of blocks.
    """
    found = {weight.path: weight for weight in base_weights}
    if not found.keys() <= {weight.path for weight in weights}:
        return {}, set()
    by_form: dict[str, list[ModelWeight]] = {}
    for weight in base_weights:
        for form in _forms(weight.path):
            by_form.setdefault(form, []).append(weight)
    counts: Counter[str] = Counter()
    for weight in weights:
        counts.update(_forms(weight.path))
    depths = set()
    for weight in weights:
        if weight.path in found:
            continue
        forms = [form for form in _forms(weight.path) if form in by_form]
        if not forms:
            continue
        in_blocks = by_form[forms[0]]
        first = in_blocks[0]
        last = in_blocks[-1]
        if len({block_weight.shape for block_weight in in_blocks}) > 1:
            raise ValueError(
                "`base` must have blocks of one shape if `model` has more of them. Received: "
                f"{first.path!r} of shape {first.shape} and {last.path!r} of shape {last.shape}"
            )
        found[weight.path] = first
        depths.add(counts[forms[0]] / len(in_blocks))
    return found, depths


def _forms(path: str) -> list[str]:
    """Return a path with each of its numbers left out in turn.

    The first layer of an automatic name has none.
    """
    forms = []
    for number in re.finditer(r"_?\d+|(?<!\d)(?=/)", path):
        forms.append(f"{path[: number.start()]}#{path[number.end() :]}")
    return forms


def _row(weight: ModelWeight, base_weight: ModelWeight) -> MupWeight:
    shape = weight.shape
    base_shape = base_weight.shape
    if len(shape) != len(base_shape):
        raise ValueError(
            f"`base` must have weights of the same rank as `model`. Received: {weight.path!r} of "
            f"shape {base_shape} and {shape}"
        )
    inputs, units = _inputs_and_units(weight)
    base_inputs, base_units = _inputs_and_units(base_weight)
    input_ratio = inputs / base_inputs
    unit_ratio = units / base_units
    role = _role(weight, input_ratio, unit_ratio)
    if role == "output":
        std = 1 / input_ratio
    else:
        std = 1 / math.sqrt(input_ratio)
    tied = 1.0
    if isinstance(weight.layer, keras.layers.Embedding) and weight.name == "embeddings":
        tied = 1 / unit_ratio
    return MupWeight(
        weight.path,
        shape,
        base_shape,
        role,
        std=std,
        adam=1 / input_ratio,
        sgd=unit_ratio / input_ratio,
        tied=tied,
    )


def _inputs_and_units(weight: ModelWeight) -> tuple[int, float]:
    """Return the inputs of a unit, 1 for a vector or an embedding, and the number of units."""
    if weight.name == "embeddings":
        return 1, weight.shape[-1]
    inputs = weight.fans[0] if weight.fans else 1
    return inputs, math.prod(weight.shape) / inputs


def _role(weight: ModelWeight, input_ratio: float, unit_ratio: float) -> Role:
    if input_ratio == 1 and unit_ratio == 1:
        return "fixed"
    if weight.fans is None:
        return "vector"
    if input_ratio == 1:
        return "input"
    if unit_ratio == 1:
        return "output"
    return "hidden"
