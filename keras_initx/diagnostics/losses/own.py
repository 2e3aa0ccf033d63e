"""Losses of one's own that compute a multiple of one of Keras, which their values show."""

import functools
import math
from collections.abc import Callable
from dataclasses import replace

import keras
import numpy as np

from keras_initx._typing import Array, Tensor
from keras_initx.backends._current import backend
from keras_initx.diagnostics.losses.known import Loss, LossKind, LossLike, known_loss
from keras_initx.structure._batch import array_of

# What people write anew, each with what makes numbers of any size its outputs.
_WRITTEN_ANEW: tuple[tuple[Loss, Callable[[Tensor], Tensor]], ...] = (
    (Loss("binary", "binary_crossentropy"), keras.ops.sigmoid),
    (Loss("binary", "binary_crossentropy", from_logits=True), keras.ops.copy),
    (Loss("categorical", "categorical_crossentropy"), keras.ops.softmax),
    (Loss("categorical", "categorical_crossentropy", from_logits=True), keras.ops.copy),
    (Loss("sparse", "sparse_categorical_crossentropy"), keras.ops.softmax),
    (Loss("sparse", "sparse_categorical_crossentropy", from_logits=True), keras.ops.copy),
    (Loss("distance", "mean_squared_error"), keras.ops.copy),
    (Loss("distance", "mean_absolute_error"), keras.ops.copy),
    (Loss("distance", "huber"), keras.ops.copy),
)
# The numbers of random examples by which losses are compared, and their standard deviations. A sum
# over the examples is another multiple for another number of them, and over many values the means
# of any two losses have about one ratio, as long as these are of one size. Two have one number: JAX
# compiles each operation anew for another one.
_COMPARED = (4, 2.0), (4, 0.5), (6, 4.0)


def recognized_loss(loss: LossLike, targets: Tensor, outputs: Tensor) -> Loss | None:
    """Return which loss of Keras a loss as in `compile` is, or is a multiple of, `None` if none."""
    known = known_loss(loss, targets, outputs)
    if known is not None or len(outputs.shape) < 2:
        return known
    form: LossKind = "sparse"
    if len(targets.shape) == len(outputs.shape) and targets.shape[-1] > 1:
        form = "categorical"
    for other, as_outputs in _WRITTEN_ANEW:
        is_of_classes = other.kind in ("categorical", "sparse")
        if is_of_classes and (other.kind != form or outputs.shape[-1] == 1):
            continue
        # A loss may take its targets for places in what it has been given.
        with backend.guarded():
            factor = _factor(loss, other, as_outputs, targets, outputs)
        if factor is not None:
            return replace(other, factor=factor, is_own=True)
    return None


def _factor(
    loss: LossLike,
    other: Loss,
    as_outputs: Callable[[Tensor], Tensor],
    targets: Tensor,
    outputs: Tensor,
) -> float | None:
    """Return which multiple of another a loss is, `None` if it is none.

    Both get the same random numbers.

    Args:
        loss: The loss.
        other: The other one.
        as_outputs: Function that makes numbers of any size its outputs.
        targets: Targets of the shape of those that are made, but for the number of examples.
        outputs: Outputs of such a shape.
    """
    reference: LossLike = getattr(keras.losses, other.name)
    if other.is_crossentropy:
        reference = functools.partial(reference, from_logits=other.from_logits)
    random = np.random.default_rng(0)
    found: list[float] = []
    for count, size in _COMPARED:
        shape = (count, *outputs.shape[1:])
        made = keras.ops.convert_to_tensor(random.normal(0, size, shape), "float32")
        aims = _made_targets(other.kind, shape, targets, random)
        found.append(_ratio(loss, reference, aims, as_outputs(made)))
        # NaN is none.
        if not (found[0] > 0 and math.isclose(found[-1], found[0], rel_tol=1e-3)):
            return None
    return found[0]


def _made_targets(
    kind: LossKind, shape: tuple[int, ...], targets: Tensor, random: np.random.Generator
) -> Tensor:
    """Return random targets for a loss of this kind and outputs of this shape."""
    made: Array
    if kind == "distance":
        made = random.normal(0, 2, shape)
    elif kind == "binary":
        made = random.integers(0, 2, shape)
    else:
        made = random.integers(0, shape[-1], shape[:-1])
        if kind == "categorical":
            made = np.eye(shape[-1])[made]
        elif len(targets.shape) == len(shape):
            made = made[..., None]
    return keras.ops.convert_to_tensor(made, "float32")


def _ratio(loss: LossLike, other: LossLike, targets: Tensor, outputs: Tensor) -> float:
    """Return the ratio of the means of two losses, NaN where `loss` cannot be computed."""
    try:
        own = float(array_of(keras.ops.mean(loss(targets, outputs))))
        known = float(array_of(keras.ops.mean(other(targets, outputs))))
    except Exception:  # it is made for other numbers, or other shapes
        return math.nan
    return own / known if known and math.isfinite(own) else math.nan
