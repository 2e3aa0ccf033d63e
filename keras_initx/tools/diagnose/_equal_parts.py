"""Equal parts of kernels: whether they get equal gradients, and whether units give equal outputs.

Parts with equal values are one part for ever only if their gradients are equal too. That is
measured, with the values as they are and with others: a sum of parts gives equal gradients whatever
the values are, and nothing is lost by it.
"""

import math
from collections.abc import Collection, Sequence
from typing import NamedTuple, TypeAlias

import keras
import numpy as np
import numpy.typing as npt

from keras_initx._typing import Array, Tensor
from keras_initx.inspection._batch import to_array
from keras_initx.inspection._hooks import unit_axis
from keras_initx.inspection._watch import Call, Watch, Watcher
from keras_initx.tools.diagnose._diagnosis import Diagnosis, fact
from keras_initx.tools.diagnose._kernel_values import kernel_values
from keras_initx.tools.diagnose._measured_layers import MeasuredWeight
from keras_initx.tools.diagnose._unreached_layers import change_weight, draw_small
from keras_initx.tools.diagnose.losses.probes import gradient_norms

_Mask: TypeAlias = npt.NDArray[np.bool_]

# Of fewer numbers parts may be equal by chance in 16-bit dtypes.
_COMPARABLE = 4
# Relative difference of gradients that may be rounding, and the same in 16 bits.
_ROUNDING, _SHORT_ROUNDING = 1e-4, 1 / 16
# The same of outputs, which sum fewer numbers.
_OUTPUT_ROUNDING = 1e-5
# Of so many times as much rows differ that are not the same but for rounding.
_APART = 8
# Norm of a gradient relative to the largest one, below which it is rounding.
_NOISE = 1e-6
# The most rows of an output that are compared.
_ROWS = 64
# The values of a part that are looked at before all of them are.
_FIRST = 16


class EqualParts(NamedTuple):
    """The parts of a kernel along some axes that are equal.

    Attributes:
        axes: The axes.
        total: The number of parts.
        staying: The number of those that get the gradient of another one that is equal, `None`
            where gradients are not known.
    """

    axes: tuple[int, ...]
    total: int
    staying: int | None


@fact
def equal_parts(of: Diagnosis) -> dict[MeasuredWeight, EqualParts]:
    """The equal parts of each kernel that has such, along the axes where most stay equal."""
    labels = {}
    for weight in kernel_values(of):
        found = _labels_of(weight)
        if found:
            labels[weight] = found
    known = [weight for weight in labels if _has_gradient(weight, of)]
    staying = {weight: _staying(labels[weight], weight, of) for weight in known}
    parts = {}
    for weight, of_axes in labels.items():
        counts = staying.get(weight, {})
        axes = max(of_axes, key=lambda one: counts.get(one, 0))
        parts[weight] = EqualParts(axes, len(of_axes[axes]), counts.get(axes))
    return parts


def _has_gradient(weight: MeasuredWeight, of: Diagnosis) -> bool:
    """Return whether the gradient of a weight is known, and more than rounding."""
    largest = max(gradient_norms(of).values(), default=0.0)
    return math.isfinite(largest) and (weight.report.gradient or 0.0) > _NOISE * largest


def _labels_of(weight: MeasuredWeight) -> dict[tuple[int, ...], Array]:
    """Return, for axes along which parts are equal, a number for each part that equal ones share.

    These are the axes of the units together, and each axis alone.
    """
    array = weight.values
    found: dict[tuple[int, ...], Array] = {}
    _, units = weight.own.axes or ((), ())
    for axes in dict.fromkeys([tuple(units), *((axis,) for axis in range(array.ndim))]):
        count = math.prod(array.shape[axis] for axis in axes)
        size = array.size // max(count, 1)
        if count < 2 or (size < _COMPARABLE and not kernel_is_constant(array)):
            continue
        # Nearly all are told apart without a copy of the whole.
        if _labels(_first_values(array, axes)) is None:
            continue
        labels = _labels(_parts(array, axes))
        if labels is not None:
            found[axes] = labels
    return found


def kernel_is_constant(array: Array) -> bool:
    """Return whether all values are the same."""
    return bool((array == array.flat[0]).all())


def _parts(array: Array, axes: Sequence[int]) -> Array:
    """Return an array whose first axis is that of the parts along some axes."""
    count = math.prod(array.shape[axis] for axis in axes)
    return np.moveaxis(array, axes, range(len(axes))).reshape(count, -1)


def _first_values(array: Array, axes: Sequence[int]) -> Array:
    """Return some values of each part along some axes."""
    moved = np.moveaxis(array, axes, range(len(axes)))
    others = moved.ndim - len(axes)
    places: list[int | slice] = [0] * (others - 1) + [slice(_FIRST)] * (others > 0)
    some = moved[(..., *places)]
    return some.reshape(math.prod(moved.shape[: len(axes)]), -1)


def _labels(parts: Array) -> Array | None:
    """Return a number for each part, the same for equal ones, or `None` if none are equal."""
    bits = np.ascontiguousarray(parts).view(f"u{parts.itemsize}")
    _, labels, counts = np.unique(bits, axis=0, return_inverse=True, return_counts=True)
    return None if counts.max() < 2 else np.asarray(labels).reshape(-1)


# ---------------------------------------------------------------- gradients


def _staying(
    labels: dict[tuple[int, ...], Array], weight: MeasuredWeight, of: Diagnosis
) -> dict[tuple[int, ...], int]:
    """Return how many equal parts get the gradient of another one because they are equal."""
    variable = weight.own.variable
    dtypes = (weight.own.dtype, weight.own.layer.compute_dtype)
    rounding = _SHORT_ROUNDING if any("16" in dtype for dtype in dtypes) else _ROUNDING
    with of.changed():
        (gradient,) = of.gradient_values([variable])
        counts = _counts(labels, gradient, rounding)
        if not any(counts.values()):
            return counts
        with change_weight(variable, draw_small):
            (with_others,) = of.gradient_values([variable])
    by_others = _counts(labels, with_others, rounding)
    return {
        axes: 0 if 2 * by_others.get(axes, 0) >= count else count for axes, count in counts.items()
    }


def _counts(
    labels: dict[tuple[int, ...], Array], gradient: Array | None, rounding: float
) -> dict[tuple[int, ...], int]:
    """Return the number of parts that share their label and their gradient with another one."""
    if gradient is None or not np.isfinite(gradient.astype("float64")).all():
        return {}
    counts = {}
    for axes, of_parts in labels.items():
        parts = _parts(gradient, axes).astype("float64")
        counts[axes] = 0
        for label in np.flatnonzero(np.bincount(of_parts) > 1):
            rows = parts[of_parts == label]
            # Of a part without a gradient, as of a word that is in no example, nothing is known.
            rows = rows[rows.any(axis=1)]
            counts[axes] += int(alike_rows(rows, rounding).sum())
    return counts


def alike_rows(rows: Array, rounding: float) -> _Mask:
    """Return for each row whether another one is the same but for rounding, relative to all."""
    alike = np.zeros(len(rows), bool)
    if len(rows) < 2:
        return alike
    # Rows that are alike are neighbors in the order of their products with random numbers.
    factors = np.random.default_rng(0).normal(size=rows.shape[1])
    order = np.argsort(rows @ factors, kind="stable")
    differences = abs(np.diff(rows[order], axis=0)).max(axis=1)
    limit = rounding * abs(rows).max()
    same = differences <= limit
    # Where as many differ by a little more, those that do not are near each other by chance.
    if same.sum() <= ((differences > limit) & (differences <= _APART * limit)).sum():
        return alike
    alike[order[1:][same]] = True
    alike[order[:-1][same]] = True
    return alike


# ---------------------------------------------------------------- outputs


@fact
def equal_outputs(of: Diagnosis) -> dict[keras.Layer, int]:
    """The number of units that give what another one does, before the activation of a layer.

    They are counted in the layers with a kernel that has equal parts.
    """
    layers = {weight.layer.layer for weight in equal_parts(of)}
    if not layers:
        return {}
    counter = _UnitCounter(layers)
    Watch(of.inventory).observe(of.x, counter, training=False)
    return counter.counts


class _UnitCounter(Watcher):
    """Counts the units of some layers that give what another one does.

    Attributes:
        counts: Dict from each of the layers to the number.
    """

    def __init__(self, layers: Collection[keras.Layer]) -> None:
        self.counts: dict[keras.Layer, int] = {}
        self._layers = layers
        self._activated: set[keras.Layer] = set()

    def activated(
        self, layer: keras.Layer, activation: object, values: Tensor, outputs: Tensor
    ) -> None:
        # An LSTM applies its activation to parts of its state.
        if layer in self._layers and not isinstance(layer, keras.layers.RNN):
            self._activated.add(layer)
            self._count(layer, to_array(values))

    def after(self, call: Call) -> None:
        layer = call.operation
        if layer in self._layers and call.output is not None and layer not in self._activated:
            self._count(layer, call.values)

    def _count(self, layer: keras.Layer, values: Array) -> None:
        self.counts[layer] = 0
        if values.ndim < 2:
            return
        units = np.moveaxis(values, unit_axis(layer, values.ndim), -1)
        rows = units.reshape(-1, units.shape[-1])
        rows = rows[:: max(len(rows) // _ROWS, 1)].astype("float64")
        if len(rows) >= _COMPARABLE and np.isfinite(rows).all():
            self.counts[layer] = int(alike_rows(rows.T, _OUTPUT_ROUNDING).sum())
