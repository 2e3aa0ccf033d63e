"""Losses of one's own: what their values show of shapes and targets, and where they have none."""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np

from keras_initx._typing import Array, Tensor
from keras_initx.diagnostics._losses import KnownLoss, Loss, mean_of_loss
from keras_initx.diagnostics._outputs import Mismatch
from keras_initx.structure import array_of

# The most examples that are looked at, and the number of those whose targets are exchanged.
_MOST, _FEW = 256, 16
# The least number of examples from which something is said.
_LEAST = 16
# Relative size of changes of the targets.
_STEP = 1e-2

_Values = Callable[[Array, Array], float]


@dataclass(frozen=True)
class OwnLoss:
    """What the values of a loss of one's own show.

    Attributes:
        defined_by: `"softmax"` or `"sigmoid"` where the loss is not finite for these outputs, which
            are no probabilities, but is once they have gone through this activation, otherwise
            `None`.
        from_logits: Name of the class of Keras that takes outputs without activation in its place,
            where they have none, otherwise `None`.
        spread: The largest standard deviation of a column of targets in which it rises or falls
            like a distance, otherwise 0.
        undefined_rows: Share of the examples for which it is not finite whatever the outputs are,
            if these are the ones whose targets are all the same, otherwise 0.
    """

    spread: float = 0.0
    defined_by: str | None = None
    from_logits: str | None = None
    undefined_rows: float = 0.0


def own_loss(
    loss: Loss,
    known: KnownLoss | None,
    activation: str | None,
    targets: Tensor,
    outputs: Tensor,
) -> OwnLoss | None:
    """Return what the values of a loss show, `None` where it takes no other outputs or targets.

    Args:
        loss: A function of targets and outputs, or a `keras.losses.Loss`.
        known: What is known of it, of which this is left out.
        activation: The activation of the outputs, see `last_activation`.
        targets: Its targets.
        outputs: The output of the model that it gets.
    """
    aims, made = array_of(targets)[:_MOST], array_of(outputs)[:_MOST]
    if not made.size or not np.isfinite(made).all():
        return None
    aims, made = aims.astype("float32"), made.astype("float32")
    value = functools.partial(_value, loss)
    try:
        if not math.isfinite(value(aims, made)):
            return _undefined(value, known, activation, aims, made)
        if known is not None or len(made) < _LEAST:
            return None
        return OwnLoss(spread=_spread_of_targets(value, aims, made))
    except Exception:  # whatever it is, it is made for other numbers
        return None


def compared_with_all(loss: Loss, targets: Tensor, outputs: Tensor) -> Mismatch | None:
    """Return the mismatch where a loss compares each output with the targets of all examples.

    A row of n numbers less a column of n makes n * n differences. Keras makes the shapes equal for
    its own losses and for functions, not for classes of users.
    """
    ranks = len(targets.shape), len(outputs.shape)
    longer = max(targets, outputs, key=lambda tensor: len(tensor.shape))
    if abs(ranks[0] - ranks[1]) != 1 or longer.shape[-1] != 1 or len(longer) < 2:
        return None
    aims, made = targets[:_FEW], outputs[:_FEW]
    of_equal_rank = aims[..., None] if longer is outputs else aims[..., 0]
    try:
        value = mean_of_loss(loss, aims, made)
        proper = mean_of_loss(loss, of_equal_rank, made)
        exchanged = mean_of_loss(loss, keras.ops.roll(aims, 1, axis=0), made)
    except Exception:  # whatever it is, it takes no targets of this shape
        return None
    # A loss of pairs of examples also differs by the rank, but not every order is one to it.
    if math.isclose(value, proper, rel_tol=1e-3) or not math.isclose(
        value, exchanged, rel_tol=1e-3
    ):
        return None
    return Mismatch(tuple(targets.shape), tuple(outputs.shape), remaining=1.0)


def _value(loss: Loss, targets: Array, outputs: Array) -> float:
    given = keras.ops.convert_to_tensor(targets), keras.ops.convert_to_tensor(outputs)
    return float(array_of(keras.ops.mean(loss(*given))))


def _spread_of_targets(value: _Values, targets: Array, outputs: Array) -> float:
    """Return the largest standard deviation of a column that a loss reads as numbers, or 0."""
    columns = targets.reshape(len(targets), -1)
    deviations = columns.std(axis=0)
    place = int(deviations.argmax())
    other = columns.copy()
    other[:, place] *= 1 + _STEP
    here, there = value(targets, outputs), value(other.reshape(targets.shape), outputs)
    # An absolute error rises by as much as its targets, a squared one by twice as much.
    if not here > 0 or abs(there / here - 1) < _STEP / 2:
        return 0.0
    return float(deviations[place])


def _undefined(
    value: _Values,
    known: KnownLoss | None,
    activation: str | None,
    targets: Array,
    outputs: Array,
) -> OwnLoss | None:
    """Return for which other outputs a loss is finite, or for which targets it never is."""
    sigmoids = 0.5 + np.tanh(outputs / 2) / 2
    takes_probabilities = targets.min() >= 0 and targets.max() <= 1
    are_of_classes = targets.ndim > 1 and targets.shape[-1] > 1
    are_of_classes = are_of_classes and bool((abs(targets.sum(axis=-1) - 1) < 1e-2).all())
    if known is not None:
        takes_probabilities = known.kind != "distance" and not known.from_logits
        are_of_classes = known.kind != "binary"
    takes_others = takes_probabilities and not _are_probabilities(outputs, activation)
    if takes_others and math.isfinite(value(targets, sigmoids)):
        return OwnLoss(
            defined_by="softmax" if are_of_classes else "sigmoid",
            from_logits=known.class_name if known is not None and activation == "linear" else None,
        )
    if known is not None or len(outputs) < _LEAST:
        return None
    rows = targets.reshape(len(targets), -1)
    is_same = (rows == rows[:, :1]).all(axis=1) & (rows.shape[1] > 1)
    is_finite = [
        math.isfinite(value(targets[i : i + 1], sigmoids[i : i + 1])) for i in range(len(targets))
    ]
    if not (is_same != is_finite).all():
        return OwnLoss()
    return OwnLoss(undefined_rows=float(is_same.mean()))


def _are_probabilities(outputs: Array, activation: str | None) -> bool:
    """Return whether outputs may be probabilities, though some may be rounded to 0 or 1."""
    if activation in ("linear", "relu"):
        return False
    return bool(outputs.min() >= 0 and outputs.max() <= 1)
