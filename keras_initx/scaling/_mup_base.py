"""The base model that `mup` compares with: a model, its saved plan, or its width alone."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import keras

from keras_initx._checks import check_count, check_type
from keras_initx._typing import Shape
from keras_initx.models import read_plan
from keras_initx.structure import ModelWeight, check_model, find_weights


@dataclass(frozen=True)
class BaseWeight:
    """A weight of the base model.

    Attributes:
        path: Its path, see `ModelWeight`.
        shape: Its shape.
        inputs: The number of inputs of a unit, 1 for a vector or an embedding.
        units: The number of units.
    """

    path: str
    shape: Shape
    inputs: float
    units: float


def trainable(name: str, model: keras.Model) -> list[ModelWeight]:
    """Return the trainable weights of a built model."""
    weights = find_weights(check_model(name, model))
    return [weight for weight in weights if weight.variable.trainable]


def base_of_model(name: str, model: keras.Model) -> list[BaseWeight]:
    """Return the trainable weights of a model as those of a base."""
    return [as_base(weight) for weight in trainable(name, model)]


def as_base(weight: ModelWeight) -> BaseWeight:
    """Return a weight with what `mup` compares of it."""
    shape = weight.shape
    if weight.name == "embeddings":
        return BaseWeight(weight.path, shape, 1, shape[-1])
    inputs = weight.fans[0] if weight.fans else 1
    return BaseWeight(weight.path, shape, inputs, math.prod(shape) / inputs)


def base_of_plan(model: keras.Model, path: str | Path) -> list[BaseWeight]:
    """Return the weights of a base from the plan of its initialization.

    Those that are not trainable in `model` are left out.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is another file.
    """
    fixed = {weight.path for weight in find_weights(model) if not weight.variable.trainable}
    base = []
    for weight in read_plan("base", path).weights:
        if weight.path not in fixed:
            is_embedding = weight.path.rpartition("/")[2] == "embeddings"
            inputs = 1 if is_embedding else weight.fan_in or 1
            size = weight.shape[-1] if is_embedding else math.prod(weight.shape)
            base.append(BaseWeight(weight.path, weight.shape, inputs, size / inputs))
    return base


def base_of_width(
    model: keras.Model, weights: Sequence[ModelWeight], base_width: int
) -> list[BaseWeight]:
    """Return the weights of a model with another width.

    The width is the number of units of the first layer with a kernel. All axes whose length is a
    multiple of it are as many times as long as that of the base. Where the length of one leaves a
    doubt, there is no base.

    Raises:
        TypeError: If `base_width` is not an integer.
        ValueError: If it is not clear which axes depend on the width.
    """
    check_count("base_width", base_width)
    kernels = [weight for weight in weights if weight.fans is not None]
    if not kernels or not getattr(model, "inputs", None):
        raise ValueError(
            "`base_width` must be given for a sequential or functional model with kernels, whose "
            "inputs and outputs are known; give a `base` for others. "
            f"Received: model={model.name!r}"
        )
    # The kernel of an LSTM has four units for each of the layer.
    width = getattr(kernels[0].layer, "units", None) or int(as_base(kernels[0]).units)
    if width == base_width:
        return [as_base(weight) for weight in weights]
    lengths = _outer_lengths(model)
    base = []
    for weight in weights:
        shape = list(weight.shape)
        for axes in _axes_to_compare(weight, width):
            length = math.prod(weight.shape[axis] for axis in axes)
            if _is_growing(weight, length, width, base_width, lengths):
                # Of the axes of heads and of what a head has, the number of heads grows.
                first = weight.shape[axes[0]]
                if first * base_width % width:
                    reason = f"{first} times {base_width} / {width} is no integer"
                    raise _doubt(weight, width, base_width, reason)
                shape[axes[0]] = first * base_width // width
        base.append(_with_shape(weight, tuple(shape)))
    return base


def _outer_lengths(model: keras.Model) -> set[int]:
    """Return the lengths that the data of a model have, which do not depend on the width."""
    lengths = set()
    for tensor in model.outputs:
        lengths.update(tensor.shape[1:])
    for tensor in model.inputs:
        if "int" not in tensor.dtype:  # an embedding reads integers, not a kernel
            lengths.update(tensor.shape[1:])
            if None not in tensor.shape[1:]:
                lengths.add(math.prod(tensor.shape[1:]))  # after a `Flatten`
    return lengths - {None}


def _axes_to_compare(weight: ModelWeight, width: int) -> list[Sequence[int]]:
    """Return the axes that may grow: those of heads and of what a head has are together."""
    rank = len(weight.shape)
    first = 0
    if weight.name == "embeddings":
        first = rank - 1
    elif isinstance(weight.layer, keras.layers.EinsumDense):
        found: list[Sequence[int]] = []
        for axes in weight.axes or [tuple(range(rank))]:
            is_adjacent = axes[-1] - axes[0] < len(axes)
            if is_adjacent and not any(weight.shape[axis] % width == 0 for axis in axes):
                found.append(axes)
            else:
                found.extend((axis,) for axis in axes)
        return found
    elif weight.fans is not None:
        first = max(rank - 2, 0)  # the window is before it
    return [(axis,) for axis in range(first, rank)]


def _is_growing(
    weight: ModelWeight, length: int, width: int, base_width: int, lengths: set[int]
) -> bool:
    """Return whether an axis depends on the width.

    Raises:
        ValueError: If that is not clear.
    """
    is_outer = length in lengths
    if length % width == 0:
        if is_outer:
            reason = f"{length} is also a length of the inputs or the outputs"
            raise _doubt(weight, width, base_width, reason)
        return True
    if length > 1 and not is_outer:
        reason = f"{length} is neither a multiple of the width nor a length of the data"
        raise _doubt(weight, width, base_width, reason)
    return False


def _doubt(weight: ModelWeight, width: int, base_width: int, reason: str) -> ValueError:
    return ValueError(
        "`base_width` must leave no doubt which axes grow with the width; give a `base` instead. "
        f"Received: base_width={base_width!r} for a model whose first layer has {width} units, "
        f"and {weight.path!r} of shape {weight.shape}, of which {reason}"
    )


def _with_shape(weight: ModelWeight, shape: Shape) -> BaseWeight:
    """Return a weight of the base that has this shape instead."""
    own = as_base(weight)
    if weight.name == "embeddings":
        return BaseWeight(weight.path, shape, 1, shape[-1])
    inputs = own.inputs
    if weight.axes is not None:
        # Groups change the number of units, not that of inputs.
        for axis in weight.axes[0]:
            inputs = inputs * shape[axis] / weight.shape[axis]
    return BaseWeight(weight.path, shape, inputs, math.prod(shape) / inputs)


def checked_base(
    model: keras.Model,
    weights: Sequence[ModelWeight],
    base: keras.Model | str | Path | None,
    base_width: int | None,
) -> tuple[str, list[BaseWeight]]:
    """Return the name of the base for messages, and its weights.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If not exactly one of `base` and `base_width` is given, or as above.
    """
    if (base is None) == (base_width is None):
        raise ValueError(
            "`base` or `base_width` must be given, and not both. "
            f"Received: base={base!r}, base_width={base_width!r}"
        )
    if base_width is not None:
        return f"base_width={base_width}", base_of_width(model, weights, base_width)
    if isinstance(base, str | Path):
        return f"base={str(base)!r}", base_of_plan(model, base)
    check_type("base", base, keras.Model, "a Keras model or the file of a plan")
    assert isinstance(base, keras.Model)
    return f"base={base.name!r}", base_of_model("base", base)
