"""The table of muP: factors on weights and learning rates for a model that is wider.

A kernel has `n` times as many inputs and `m` times as many units as in the base model. Features
should change in a step as much as those of the base model. So the spectral norm of the change of a
kernel must be `sqrt(m / n)` times that in the base model (Yang, Simon and Bernstein, 2023). What an
optimizer changes at a learning rate of 1 differs, and with it the factor on the learning rate:

| optimizer | change at a rate of 1 | its spectral norm grows with | factor |
|---|---|---|---|
| SGD, also with momentum | the gradient | `sqrt(n / m)` | `m / n` |
| Adam and its kin, Lion, RMSprop | entries of size 1 | `sqrt(n m)` | `1 / n` |
| Muon, `r` times the larger axis | orthogonal, times its root | `sqrt(r)` | `sqrt(m / (n r))` |

Vectors and embeddings count as having one input. Muon leaves them to Adam.
"""

import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import keras

from keras_initx._checks import quote_names
from keras_initx._keras import is_left_to_adam, preserve_names
from keras_initx._received import show
from keras_initx._typing import Shape
from keras_initx.inspection._head_sizes import find_head_sizes
from keras_initx.inspection._inventory import checked_inventory
from keras_initx.inspection._optimizers import KINDS, keras_class_name
from keras_initx.inspection._weights import ModelWeight
from keras_initx.report._figures import COLORS
from keras_initx.report._order import Points, plot_in_order
from keras_initx.report._results import WeightTable
from keras_initx.report._table import Column
from keras_initx.report._text import format_count, format_number
from keras_initx.scaling._rate_factors import FactorList, RateFactors

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Role = Literal["input", "hidden", "output", "vector", "fixed"]

# The attribute of a `MupWeight` with the factor of an optimizer, by the name of its class.
_RATES = {name: kind for name, kind in KINDS.items() if kind in ("sgd", "adam", "muon")}
# Why there is none for others.
_WITHOUT_RATE = {
    "Adadelta": "whose first steps depend on its epsilon, not on the gradient",
    "Adafactor": "whose steps follow the size of a weight, and whose rate has a bound of its own",
    "Adagrad": "whose accumulator starts with a number that the size of gradients is compared with",
    "Ftrl": "whose accumulator starts with a number that the size of gradients is compared with",
    "Lamb": "whose steps follow the norm of a weight, except if it is 0, such as for a new bias",
    "LossScaleOptimizer": "which has another optimizer: ask for that one",
}


@dataclass(frozen=True)
class MupWeight:
    """The muP factors of one weight when a model is made wider.

    Attributes:
        path: Its path, see `ModelWeight`.
        shape: Its shape.
        base_shape: Its shape in the base model.
        inputs: The number of inputs of a unit, divided by the number in the base model. 1 for a
            vector or an embedding.
        units: The number of units, divided by the number in the base model.
        role: For a kernel, `"input"` if only its number of units grows, `"output"` if only its
            number of inputs grows, `"hidden"` if both do. `"vector"` for any other weight that
            grows. `"fixed"` if the shape does not change.
        std: Factor on its standard deviation in the base model.
        adam: Factor on the learning rate of Adam, AdamW, Nadam, Adamax, Lion and RMSprop, which
            normalize the size of gradients.
        sgd: Factor on the learning rate of SGD, with or without momentum.
        muon: Factor on the learning rate of Muon with its default arguments.
        tied: For an embedding, factor on the logits of an output layer that uses the same weights;
            1 for other weights. Your model must apply it. NaN if it is not known whether there is
            such a layer, for example in a subclass of `keras.Model`; the factor would be `1 /
            units`.
        variable_path: Its path in Keras, `variable.path`. It may begin with the name of the model.
            Muon matches its exclusions with this path.
        is_guess: Whether its inputs and units are guessed from its shape, for example in a layer of
            your own. Then the factors are guesses too.
    """

    path: str
    shape: Shape
    base_shape: Shape
    inputs: float
    units: float
    role: Role
    std: float
    adam: float
    sgd: float
    muon: float
    tied: float = 1.0
    variable_path: str = ""
    is_guess: bool = False


@dataclass(frozen=True, eq=False, repr=False)
class MupTable(WeightTable[MupWeight]):
    """The muP factors of each trainable weight when a model is made wider.

    Print it to see the factors. To train with them, pass `table.optimizer(...)` to `compile`, or
    use `table.learning_rates(...)` in a loop of your own. `plot` shows the factors in the colors of
    the roles.

    Attributes:
        rows: A `MupWeight` for each trainable weight, in the order of `model.trainable_variables`.
        head_size: The size of the attention heads, divided by the size in the base model; NaN if it
            is not known. If it is not 1, your model must divide its scores by the head size instead
            of its square root. Or make the model wider with more heads of the same size.
    """

    rows: list[MupWeight]
    head_size: float = 1.0

    def learning_rates(self, optimizer: str | keras.optimizers.Optimizer) -> FactorList:
        """Return the factors on the learning rate, in the order of `model.trainable_variables`.

        The list has the paths of the weights too, so that `RateFactors` can check that it gets the
        same weights.

        Weight decay must not change with the width. Keras multiplies it by the learning rate of the
        optimizer, without these factors, so you need not change it. AdamW in torch multiplies it by
        the rate of the weight: there you divide the decay of each weight by its factor.

        Args:
            optimizer: An optimizer of Keras, or the name of one with its default arguments:
                `"sgd"`, `"adam"`, `"adamw"`, `"nadam"`, `"adamax"`, `"lion"`, `"rmsprop"` or
                `"muon"`.

        Raises:
            ValueError: If it is another optimizer, because no rule is known for it.
        """
        rate = _RATES[_class_name(optimizer)]
        paths = [weight.variable_path for weight in self.rows]
        if rate == "muon" and isinstance(optimizer, keras.optimizers.Muon):
            return FactorList([_muon_rate(weight, optimizer) for weight in self.rows], paths)
        return FactorList([getattr(weight, rate) for weight in self.rows], paths)

    def optimizer(self, optimizer: keras.optimizers.Optimizer) -> RateFactors:
        """Return an optimizer that trains each weight with its factor on the learning rate.

        Args:
            optimizer: An optimizer of Keras with the learning rate of the base model, one that
                `learning_rates` takes and that has not been used.

        Raises:
            TypeError: If it is not an optimizer.
            ValueError: If there is no rule for it, or as in `RateFactors`.
        """
        return RateFactors(optimizer, self.learning_rates(optimizer))

    @property
    def _has_tied(self) -> bool:
        return any(weight.tied != 1 for weight in self.rows)

    @property
    def summary(self) -> str:
        """The contents of the table, in one sentence."""
        return "Factors on the std in the base model, and on learning rates by optimizer."

    def _headline(self) -> str:
        return f" of {format_count(len(self.rows), 'weight')}"

    def _title(self) -> str:
        return f"Factors of muP{self._headline()}"

    def _own_content(self) -> dict[str, Any]:
        return {"head_size": self.head_size}

    def _weight_columns(self) -> list[Column[MupWeight]]:
        columns: list[Column[MupWeight]] = [
            Column("weight", lambda weight: weight.path, is_text=True),
            Column("shape", lambda weight: weight.shape, is_text=True),
            Column("base", lambda weight: weight.base_shape, is_text=True),
            Column("role", lambda weight: weight.role, is_text=True),
            Column("std", lambda weight: format_number(weight.std)),
            Column("adam", lambda weight: format_number(weight.adam)),
            Column("sgd", lambda weight: format_number(weight.sgd)),
            Column("muon", lambda weight: format_number(weight.muon)),
        ]
        if self._has_tied:
            columns.append(Column("tied", lambda weight: format_number(weight.tied)))
        return columns

    def _figure(self) -> "Figure":
        factors = {
            "std": "factor on the std",
            "adam": "on the rate of Adam",
            "sgd": "on the rate of SGD",
            "muon": "of Muon",
        }
        if self._has_tied:
            factors["tied"] = "on tied logits"
        colors = dict(zip(get_args(Role), COLORS, strict=False))
        panels = {}
        for name, label in factors.items():
            values: dict[str, dict[int, float]] = {}
            for place, weight in enumerate(self.rows):
                values.setdefault(weight.role, {})[place] = getattr(weight, name)
            panels[label] = {role: Points(values[role], colors[role]) for role in values}
        paths = [weight.path for weight in self.rows]
        return plot_in_order(paths, panels, of="weight", are_ratios=True)

    def _below(self) -> list[str]:
        notes = [self.summary]
        if self._has_tied:
            notes.append(
                "tied: factor on the logits of an output layer that uses the weights of the "
                "embedding."
            )
        for weight in self.rows:
            if math.isnan(weight.tied):
                notes.append(
                    f"It is not known whether logits use {weight.path}. If they do, multiply them "
                    f"by {format_number(1 / weight.units)}."
                )
        guesses = [weight.path for weight in self.rows if weight.is_guess]
        if guesses:
            notes.append(
                f"Guessed from the shape: {quote_names(guesses)}. The last axis counts as the "
                "units, the axis before it as the inputs."
            )
        if math.isnan(self.head_size):
            notes.append(
                "The size of the attention heads is not known. If they are `n` times as large, "
                "also divide their scores by `sqrt(n)`."
            )
        elif self.head_size != 1:
            notes.append(
                f"Heads are {format_number(self.head_size)} times as large: divide the scores of "
                f"attention by {format_number(math.sqrt(self.head_size))} more, unless your model "
                "divides them by the size of the heads already."
            )
        return notes


def mup(model: keras.Model, base: keras.Model) -> MupTable:
    """Return the muP factors on weights and learning rates for a model that is wider than `base`.

    Use it to tune the learning rate on a narrow model and train a wide one with it. With these
    factors, the best learning rate of a narrow model is also the best for wider ones.

    If a kernel has `n` times as many inputs and `m` times as many units as in the base model, the
    learning rate of Adam is divided by `n`. The rate of SGD is multiplied by `m / n`.
    `learning_rates` has the factors of other optimizers. The standard deviation is divided by
    `sqrt(n)`, or by `n` if only the inputs grow. Embeddings, biases and scales count as having one
    input. For a depthwise or grouped convolution, the inputs of one unit count.

    The initial weights of `recipes.spectral` follow this table. Initializers that scale with fan-in
    follow it except in the last layer. You must change these things in the model:

    - Attention must divide by the head size instead of its square root, or the head size must stay
      the same. Keras' attention layers divide by the root, so keep the head size with them.
    - If an embedding also makes the logits, multiply the logits by its `tied`.
    - Divide Adam's epsilon by the ratio of the widths.

    Args:
        model: A built model.
        base: The same model with fewer units, also built.

    Returns:
        A `MupTable`.

    Raises:
        TypeError: If an argument is not a model.
        ValueError: If a model is not built, or if the two have different weights.

    Example:
        >>> from keras_initx import scaling
        >>> def network(width):
        ...     hidden = [keras.layers.Dense(width, name=name) for name in ("first", "second")]
        ...     last = keras.layers.Dense(3, name="last")
        ...     return keras.Sequential([keras.Input((10,)), *hidden, last])
        >>> print(scaling.mup(network(256), network(64)))
        weight         shape       base      role     std  adam   sgd  muon
        -------------------------------------------------------------------
        first/kernel   (10, 256)   (10, 64)  input      1     1     4     1
        first/bias     (256,)      (64,)     vector     1     1     4     1
        second/kernel  (256, 256)  (64, 64)  hidden   0.5  0.25     1   0.5
        second/bias    (256,)      (64,)     vector     1     1     4     1
        last/kernel    (256, 3)    (64, 3)   output  0.25  0.25  0.25  0.25
        last/bias      (3,)        (3,)      fixed      1     1     1     1
        Factors on the std in the base model, and on learning rates by optimizer.

    Reference:
        Yang, Hu and others, "Tensor programs V: tuning large neural networks via zero-shot
        hyperparameter transfer", arXiv:2203.03466, 2022, table 3, which tables 8 and 9 write in
        other forms, and the authors' package `mup`, `MuSharedReadout` and `MuAdamW`, for tied
        logits and weight decay.
    """
    weights = _list_trainable("model", model)
    counterparts = {weight.path: weight for weight in _list_trainable("base", base)}
    paths = [weight.path for weight in weights]
    if counterparts.keys() != set(paths):
        differ = sorted(counterparts.keys() ^ set(paths))
        raise ValueError(
            "`base` must have the same weight paths as `model`, so the same number of blocks. "
            f"Received: base={show(base.name)} and model={show(model.name)}; one of them has no "
            f"{show(differ[0])}"
        )
    with preserve_names():
        muon = keras.optimizers.Muon()
    rows = {}
    for weight in weights:
        is_tied = _is_tied(weight, model, weights, counterparts)
        row = _row(weight, counterparts[weight.path], is_tied=is_tied)
        rows[id(weight.variable)] = replace(row, muon=_muon_rate(row, muon))
    in_order = [rows[id(variable)] for variable in model.trainable_variables]
    return MupTable(in_order, _head_size(model, base))


def _list_trainable(name: str, model: keras.Model) -> list[ModelWeight]:
    """Return the trainable weights of a built model."""
    weights = checked_inventory(name, model).weights
    return [weight for weight in weights if weight.variable.trainable]


def _class_name(optimizer: str | keras.optimizers.Optimizer) -> str:
    """Return the class of Keras from which an optimizer derives, a key of `_RATES`."""
    found = ""
    if isinstance(optimizer, str):
        for name in (*_RATES, *_WITHOUT_RATE):
            if optimizer == name.lower():
                found = name
    else:
        found = keras_class_name(optimizer) or ""
    reason = _WITHOUT_RATE.get(found, "")
    if found == "Muon" and "rms_rate" not in inspect.signature(keras.optimizers.Muon).parameters:
        reason = "whose steps follow another rule before Keras 3.13"
    if found in _RATES and not reason:
        return found
    names = tuple(name.lower() for name in _RATES)
    required = f"`optimizer` must be one of {names}, or an optimizer of such a class"
    received = f"{required}. Received: optimizer={show(optimizer)}"
    if reason:
        received = f"{received}, {reason}"
    raise ValueError(received)


def _muon_rate(weight: MupWeight, optimizer: keras.optimizers.Optimizer) -> float:
    """Return the factor on the learning rate of a Muon."""
    if is_left_to_adam(optimizer, weight.variable_path, weight.shape):
        return weight.adam
    # An orthogonal step is multiplied by the root of the larger axis, if at all.
    larger = max(weight.shape) / max(weight.base_shape)
    if weight.role == "vector":  # such as a bias with an axis of heads, whose entries count
        rate = math.sqrt(larger)
    else:
        rate = math.sqrt(weight.units / weight.inputs)
    # Before Keras 3.13 there is no such argument, and `_class_name` refuses the optimizer.
    if getattr(optimizer, "rms_rate", 0.2) is None:
        return rate
    return rate / math.sqrt(larger)


def _row(weight: ModelWeight, base_weight: ModelWeight, *, is_tied: bool | None) -> MupWeight:
    shape = weight.shape
    base_shape = base_weight.shape
    if len(shape) != len(base_shape):
        raise ValueError(
            "`base` must have weights of the same rank as `model`. "
            f"Received: {show(weight.path)} of "
            f"shape {base_shape} and {shape}"
        )
    inputs, units = _sizes_of(weight)
    base_inputs, base_units = _sizes_of(base_weight)
    input_ratio = inputs / base_inputs
    unit_ratio = units / base_units
    role = _role(weight, input_ratio, unit_ratio)
    if role == "output":
        std = 1 / input_ratio
    else:
        std = 1 / math.sqrt(input_ratio)
    adam = 1 / input_ratio
    tied = 1.0
    if is_tied is None:
        tied = math.nan
    elif is_tied:
        tied = 1 / unit_ratio
    return MupWeight(
        weight.path,
        shape,
        base_shape,
        input_ratio,
        unit_ratio,
        role,
        std=std,
        adam=adam,
        sgd=unit_ratio / input_ratio,
        muon=adam,
        tied=tied,
        variable_path=weight.variable.path,
        is_guess=weight.has_guessed_axes and (input_ratio != 1 or unit_ratio != 1),
    )


def _sizes_of(weight: ModelWeight) -> tuple[float, float]:
    """Return the number of inputs of a unit, 1 for a vector or an embedding, and of units."""
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


def _is_tied(
    weight: ModelWeight,
    model: keras.Model,
    weights: Sequence[ModelWeight],
    counterparts: Mapping[str, ModelWeight],
) -> bool | None:
    """Return whether an embedding is also the kernel of the logits.

    `None` if it is not known.
    """
    layer = weight.layer
    if not isinstance(layer, keras.layers.Embedding) or weight.name != "embeddings":
        return False
    # A `ReversibleEmbedding` of Keras or KerasHub says so.
    if hasattr(layer, "tie_weights"):
        return bool(layer.tie_weights)
    # Any other layer may use the weights of an embedding, where there is a logit for each word, and
    # no kernel gives them.
    words = weight.shape[0]
    base_words = counterparts[weight.path].shape[0]
    for other in weights:
        if isinstance(other.layer, keras.layers.Embedding) or other.fans is None:
            continue
        _, units = _sizes_of(other)
        _, base_units = _sizes_of(counterparts[other.path])
        if (units, base_units) == (words, base_words):
            return False
    outputs = getattr(model, "outputs", None)
    if not outputs:
        return None
    return any(output.shape[-1] == words for output in outputs)


def _head_size(model: keras.Model, base: keras.Model) -> float:
    """Return the ratio of the head sizes to the base model, 1 if there is no attention.

    It is NaN if it is not known, or if heads have different ratios.
    """
    ratios = set()
    sizes, base_sizes = find_head_sizes(model), find_head_sizes(base)
    if len(sizes) != len(base_sizes):
        return math.nan
    for size, base_size in zip(sizes, base_sizes, strict=True):
        ratios.add(size / base_size if size and base_size else math.nan)
    if not ratios:
        return 1.0
    return ratios.pop() if len(ratios) == 1 else math.nan
