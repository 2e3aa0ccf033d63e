"""Losses of one's own whose values show a fault: shapes, a sign, a margin, exchanged labels."""

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

from keras_initx._typing import Array, Tensor
from keras_initx.diagnostics._losses import Loss, mean_of_loss
from keras_initx.diagnostics._measurements import Measurements, OwnLoss
from keras_initx.diagnostics._outputs import Mismatch
from keras_initx.diagnostics._remedy import Remedy
from keras_initx.diagnostics._signal import spread
from keras_initx.diagnostics._verdict import Finding, rule
from keras_initx.structure import array_of, tensors_in

# The most examples that are looked at, and the number of those whose losses are computed one by one
# if their outputs have few values: a loss may be a network of its own.
_MOST, _FEW, _FEW_VALUES = 256, 16, 4096
# The least number of examples from which something is said.
_LEAST = 16
# Relative size of changes of the outputs, and of the difference of two values that is rounding.
_STEP, _ROUNDING = 1e-2, 1e-5
# Relative difference of two values that means something.
_CLEARLY = 0.05
# The least share of pairs of one label and of the other that the inputs put in the wrong order.
_IN_ORDER = 0.65

_Values = Callable[[Array, Array], float]


def own_loss(loss: Loss, targets: Tensor, outputs: Tensor, x: Any) -> OwnLoss | None:
    """Return what the values of a loss show, `None` where it takes no other outputs or targets.

    Args:
        loss: A function of targets and outputs, or a `keras.losses.Loss`.
        targets: Its targets.
        outputs: The output of the model that it gets.
        x: The inputs of the model, as tensors.
    """
    aims, made = array_of(targets)[:_MOST], array_of(outputs)[:_MOST]
    if made.dtype.kind != "f" or len(made) < _LEAST or not np.isfinite(made).all():
        return None
    aims, made = aims.astype("float32"), made.astype("float32")
    value = functools.partial(_value, loss)
    try:
        if not math.isfinite(value(aims, made)):
            return _undefined(value, aims, made)
        lowest, is_exchanged = _below_the_truth(value, aims, made)
        found = OwnLoss(
            flat=_flat_share(loss, aims, made),
            lowest=lowest,
            is_exchanged=is_exchanged,
            collapses=_collapses(value, aims, made),
            pairs=_pairs_in_wrong_order(value, aims, made, x),
            prefers_others=_prefers_others(value, aims, made, x),
            spread=_spread_of_targets(value, aims, made),
        )
    except Exception:  # whatever it is, it is made for other numbers
        return None
    return found


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


def _undefined(value: _Values, targets: Array, outputs: Array) -> OwnLoss:
    """Return for which other outputs a loss is finite, or for which targets it never is."""
    sigmoids = 0.5 + np.tanh(outputs / 2) / 2
    are_shares = targets.ndim > 1 and targets.shape[-1] > 1
    are_shares = are_shares and bool((abs(targets.sum(axis=-1) - 1) < 1e-2).all())
    if targets.min() >= 0 and targets.max() <= 1 and math.isfinite(value(targets, sigmoids)):
        return OwnLoss(defined_by="softmax" if are_shares else "sigmoid")
    rows = targets.reshape(len(targets), -1)
    is_same = (rows == rows[:, :1]).all(axis=1) & (rows.shape[1] > 1)
    is_finite = [
        math.isfinite(value(targets[i : i + 1], sigmoids[i : i + 1])) for i in range(len(targets))
    ]
    if not (is_same != is_finite).all():
        return OwnLoss()
    return OwnLoss(undefined_rows=float(is_same.mean()))


def _flat_share(loss: Loss, targets: Array, outputs: Array) -> float:
    """Return the share of the examples whose loss stays the same whatever their outputs are.

    Only counted where these are worse than the others: what is good enough for a loss with a margin
    has no gradient either.
    """
    if outputs[0].size > _FEW_VALUES:
        return 0.0
    random = np.random.default_rng(0)
    size = spread(outputs) or 1.0
    places = np.linspace(0, len(outputs) - 1, _FEW).astype("int64")
    losses = []
    for step in (0, _STEP, _STEP, _STEP):
        other = outputs + (step * size * random.normal(size=outputs.shape)).astype("float32")
        of_each = [_value(loss, targets[i : i + 1], other[i : i + 1]) for i in places]
        losses.append(np.array(of_each))
    here = losses[0]
    together = _value(loss, targets[places], outputs[places])
    # The loss of some, such as that of Dice, is no mean over examples.
    if not math.isclose(here.mean(), together, rel_tol=1e-3):
        return 0.0
    is_flat = np.all([other == here for other in losses], axis=0)
    if not is_flat.any() or is_flat.all() or here[is_flat].min() < here[~is_flat].max():
        return 0.0
    return float(is_flat.mean())


def _below_the_truth(value: _Values, targets: Array, outputs: Array) -> tuple[float, bool]:
    """Return the lowest value of a loss that is 0 for outputs equal to the targets, 0.0 if none.

    And whether it is never below 0 with its arguments exchanged.
    """
    if targets.shape != outputs.shape:
        return 0.0, False
    others = [outputs, np.roll(outputs, 1, 0), np.roll(targets, 1, 0), (outputs + targets) / 2]
    values = [value(targets, other) for other in others]
    size = max(map(abs, values))
    if abs(value(targets, targets)) > _ROUNDING * size or not min(values) < -_STEP * size:
        return 0.0, False
    exchanged = [value(other, targets) for other in others]
    return min(values), min(exchanged) >= 0


def _prefers_others(value: _Values, targets: Array, outputs: Array, x: Any) -> bool:
    """Return whether a loss is lower for the targets of other examples than for the own ones."""
    # The outputs for pairs are distances, where the label of a pair that is near may be 1.
    if targets.shape != outputs.shape or _pairs_of(x, len(outputs)) is not None:
        return False
    # Which way a score goes, as that of a critic, is a matter of convention.
    if math.isclose(value(targets, 2 * outputs), 2 * value(targets, outputs), rel_tol=1e-3):
        return False
    own = value(targets, targets)
    others = [value(targets, np.roll(targets, shift, 0)) for shift in (1, len(targets) // 2)]
    size = max(map(abs, (own, *others)))
    return all(other < own - _CLEARLY * size for other in others)


def _collapses(value: _Values, targets: Array, outputs: Array) -> bool:
    """Return whether a loss that reads no targets is 0 for equal outputs, and above elsewhere."""
    if outputs.ndim < 2 or outputs.shape[-1] < 2:
        return False
    here = value(targets, outputs)
    others = [value(np.full_like(targets, number), outputs) for number in (0, 1)]
    if not here > 0 or any(other != here for other in others):
        return False
    constants = [np.full_like(outputs, number) for number in (0.3, 1.7)]
    return all(abs(value(targets, constant)) <= _ROUNDING * here for constant in constants)


def _pairs_in_wrong_order(
    value: _Values, targets: Array, outputs: Array, x: Any
) -> tuple[float, float] | None:
    """Return how much the inputs of pairs differ that a loss draws together, and of the others.

    It is `None` unless the outputs are distances of pairs, and the first differ more.
    """
    pairs = _pairs_of(x, len(outputs))
    labels = targets.reshape(-1)
    if pairs is None or outputs.size != len(outputs) or labels.shape != (len(outputs),):
        return None
    is_one = labels == 1
    if not ((labels == 0) | is_one).all() or not _FEW / 4 <= is_one.sum() <= labels.size - _FEW / 4:
        return None
    first, second = (part.reshape(len(part), -1) for part in pairs)
    differences = np.sqrt(((first - second) ** 2).mean(axis=1))
    distances = outputs.reshape(-1)
    # Similarities fall where distances rise.
    if distances.min() < 0 or not np.corrcoef(_ranks(differences), _ranks(distances))[0, 1] > 0.3:
        return None
    slopes = []
    for rows in (is_one, ~is_one):
        nearer, farther = (outputs[rows] * np.float32(1 + step) for step in (-_STEP, _STEP))
        slopes.append(value(targets[rows], farther) - value(targets[rows], nearer))
    # Either draws pairs of label 1 together, and those of label 0 apart, or the other way.
    if not slopes[0] * slopes[1] < 0:
        return None
    together = is_one if slopes[0] > 0 else ~is_one
    ranks = _ranks(differences)
    above = ranks[together].sum() - together.sum() * (together.sum() - 1) / 2
    if above / (together.sum() * (~together).sum()) < _IN_ORDER:
        return None
    return float(differences[together].mean()), float(differences[~together].mean())


def _pairs_of(x: Any, count: int) -> tuple[Array, Array] | None:
    """Return the inputs of pairs: two arrays of one shape, or an array with two along axis 1."""
    arrays = [array_of(tensor)[:count] for tensor in tensors_in(x)]
    if len(arrays) == 1 and arrays[0].ndim > 2 and arrays[0].shape[1] == 2:
        arrays = [arrays[0][:, 0], arrays[0][:, 1]]
    if len(arrays) != 2 or arrays[0].shape != arrays[1].shape or len(arrays[0]) != count:
        return None
    first, second = (array.astype("float64") for array in arrays)
    return first, second


def _ranks(values: Array) -> Array:
    return np.argsort(np.argsort(values))


def _other_label(y: Any) -> Any:  # a named function, so that a report can be pickled
    return 1 - np.asarray(y)


@rule(
    "wrong loss",
    levels={"warning": ""},
    finds="a loss of one's own that is 0 where the outputs equal the targets and negative "
    "elsewhere; one that reads no targets and is 0 where all outputs are equal; one that draws "
    "those pairs together whose inputs differ more than those of the other label; one that is "
    "lower for the targets of other examples than for the own ones; or one that is constant for "
    "the examples with the largest errors",
    reason="training minimizes what the formula says: it goes on below 0 for ever, makes all "
    "outputs equal, learns the opposite, or leaves out what is most wrong",
    remedy="the order of the arguments, the sign, a margin, labels `1 - y`, `keras.losses.Huber`",
)
def wrong_loss(measured: Measurements) -> Iterator[Finding]:
    for layer, own in measured.own_losses:
        if own.lowest < 0:
            evidence = (
                f"the loss of {layer.name} is 0 where the outputs equal the targets, but "
                f"{own.lowest:.3g} for others: it falls without end"
            )
            text = "the other sign of the loss"
            if own.is_exchanged:
                text = "the targets as the first argument of the loss: def loss(y_true, y_pred)"
            yield Finding([layer], evidence, Remedy(text))
        elif own.collapses:
            evidence = (
                f"the loss of {layer.name} reads no targets, and is 0 where all outputs are equal: "
                "a network that gives the same for all inputs is its optimum"
            )
            text = "a margin: keras.ops.relu(near - far + 0.2), not keras.ops.relu(near - far)"
            yield Finding([layer], evidence, Remedy(text))
        elif own.pairs is not None:
            together, apart = own.pairs
            evidence = (
                f"the loss of {layer.name} draws pairs together whose inputs differ by "
                f"{together:.3g}, and those apart whose inputs differ by {apart:.3g}"
            )
            remedy = Remedy("the other label for each pair: y = 1 - y", targets=_other_label)
            yield Finding([layer], evidence, remedy)
        elif own.prefers_others:
            evidence = (
                f"the loss of {layer.name} is lower where the outputs equal the targets of other "
                "examples than where they equal their own"
            )
            text = "the other sign in the loss: 1 - x for a coefficient x, 1 + x for a loss x"
            yield Finding([layer], evidence, Remedy(text))
        elif own.flat:
            evidence = (
                f"for {own.flat:.0%} of the examples, those with the largest loss, the loss of "
                f"{layer.name} is the same for all outputs near theirs: they give no gradient"
            )
            remedy = Remedy(
                "a limit of the gradient, not of the error: keras.losses.Huber(), or "
                "keras.ops.where(abs(error) < 1, error**2 / 2, abs(error) - 0.5) for "
                "keras.ops.clip(error, -1, 1)**2"
            )
            yield Finding([layer], evidence, remedy)
