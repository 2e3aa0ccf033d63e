"""Equal parts of kernels: whether they get equal gradients, and whether units give equal outputs.

A *part* is a slice of a kernel along some axes, such as the weights of a unit. A *label* is a
number that equal parts share: parts a, b, a have the labels 0, 1, 0. Equal parts stay equal only if
their gradients are equal, too. The gradients are measured with the present values and with other
values. A sum of parts gives equal gradients whatever the values are, and this is harmless.
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
# Axes of a kernel along which it is split into parts.
_Axes: TypeAlias = tuple[int, ...]

# Parts of fewer numbers may be equal by chance in 16-bit dtypes.
_COMPARABLE = 4
# Relative difference of gradients that may be rounding, in 32 and in 16 bits.
_ROUNDING, _SHORT_ROUNDING = 1e-4, 1 / 16
# Relative difference of outputs that may be rounding: they sum fewer numbers.
_OUTPUT_ROUNDING = 1e-5
# Rows that differ by up to this many times the rounding are near each other by chance.
_APART = 8
# Norm of a gradient relative to the largest one, below which it is rounding.
_NOISE = 1e-6
# The most rows of an output that are compared.
_ROWS = 64
# The number of values of a part that are compared before all are.
_FIRST = 16


class EqualParts(NamedTuple):
    """The parts of a kernel along some axes that are equal.

    Attributes:
        axes: The axes.
        total: The number of parts.
        staying: The number of parts that get the gradient of an equal part, `None` if gradients
            are not known.
    """

    axes: tuple[int, ...]
    total: int
    staying: int | None


@fact
def equal_parts(diagnosis: Diagnosis) -> dict[MeasuredWeight, EqualParts]:
    """The equal parts of each kernel that has some, along the axes where most stay equal."""
    labels_by_weight = {}
    for weight in kernel_values(diagnosis):
        labels = _label_equal_parts(weight)
        if labels:
            labels_by_weight[weight] = labels
    parts = {}
    for weight, labels in labels_by_weight.items():
        counts: dict[_Axes, int] = {}
        if _has_gradient(weight, diagnosis):
            counts = _count_staying(labels, weight, diagnosis)
        axes = max(labels, key=lambda axes: counts.get(axes, 0))
        parts[weight] = EqualParts(axes, len(labels[axes]), counts.get(axes))
    return parts


def _has_gradient(weight: MeasuredWeight, diagnosis: Diagnosis) -> bool:
    # Whether it is known, and more than rounding.
    largest = max(gradient_norms(diagnosis).values(), default=0.0)
    return math.isfinite(largest) and (weight.report.gradient or 0.0) > _NOISE * largest


def _label_equal_parts(weight: MeasuredWeight) -> dict[_Axes, Array]:
    """Return the labels of the parts, by the axes along which some parts are equal.

    These are the axes of the units together, and each axis alone.
    """
    array = weight.values
    labels_by_axes: dict[_Axes, Array] = {}
    _, units = weight.own.axes or ((), ())
    for axes in dict.fromkeys([tuple(units), *((axis,) for axis in range(array.ndim))]):
        count = math.prod(array.shape[axis] for axis in axes)
        size = array.size // max(count, 1)
        if count < 2 or (size < _COMPARABLE and not _is_constant(array)):
            continue
        # The first values distinguish nearly all parts, without a copy of the whole kernel.
        if _label_rows(_take_first_values(array, axes)) is None:
            continue
        labels = _label_rows(_split_into_rows(array, axes))
        if labels is not None:
            labels_by_axes[axes] = labels
    return labels_by_axes


def _is_constant(array: Array) -> bool:
    return bool((array == array.flat[0]).all())


def _split_into_rows(array: Array, axes: Sequence[int]) -> Array:
    # Each row has the values of one part along `axes`.
    count = math.prod(array.shape[axis] for axis in axes)
    return np.moveaxis(array, axes, range(len(axes))).reshape(count, -1)


def _take_first_values(array: Array, axes: Sequence[int]) -> Array:
    moved = np.moveaxis(array, axes, range(len(axes)))
    others = moved.ndim - len(axes)
    indices: list[int | slice] = [0] * (others - 1) + [slice(_FIRST)] * (others > 0)
    first = moved[(..., *indices)]
    return first.reshape(math.prod(moved.shape[: len(axes)]), -1)


def _label_rows(rows: Array) -> Array | None:
    """Return a number for each row, the same for equal rows, or `None` if none are equal."""
    bits = np.ascontiguousarray(rows).view(f"u{rows.itemsize}")
    _, labels, counts = np.unique(bits, axis=0, return_inverse=True, return_counts=True)
    return None if counts.max() < 2 else np.asarray(labels).reshape(-1)


# ---------------------------------------------------------------- gradients


def _count_staying(
    labels_by_axes: dict[_Axes, Array], weight: MeasuredWeight, diagnosis: Diagnosis
) -> dict[_Axes, int]:
    """Return how many equal parts get the gradient of another one because they are equal."""
    variable = weight.own.variable
    dtypes = (weight.own.dtype, weight.own.layer.compute_dtype)
    rounding = _SHORT_ROUNDING if any("16" in dtype for dtype in dtypes) else _ROUNDING
    with diagnosis.changed():
        (gradient,) = diagnosis.gradient_values([variable])
        counts = _count_equal_gradients(labels_by_axes, gradient, rounding)
        if not any(counts.values()):
            return counts
        with change_weight(variable, draw_small):
            (gradient,) = diagnosis.gradient_values([variable])
    changed_counts = _count_equal_gradients(labels_by_axes, gradient, rounding)
    staying = {}
    for axes, count in counts.items():
        # Equal gradients with other values, too: the loss sums the parts.
        are_summed = 2 * changed_counts.get(axes, 0) >= count
        staying[axes] = 0 if are_summed else count
    return staying


def _count_equal_gradients(
    labels_by_axes: dict[_Axes, Array], gradient: Array | None, rounding: float
) -> dict[_Axes, int]:
    """Return the number of parts that share their label and their gradient with another one."""
    if gradient is None or not np.isfinite(gradient.astype("float64")).all():
        return {}
    counts = {}
    for axes, labels in labels_by_axes.items():
        gradients_of_parts = _split_into_rows(gradient, axes).astype("float64")
        counts[axes] = 0
        for label in np.flatnonzero(np.bincount(labels) > 1):
            rows = gradients_of_parts[labels == label]
            # A part without a gradient, such as a word in no example, may differ in other batches.
            rows = rows[rows.any(axis=1)]
            counts[axes] += int(mark_equal_rows(rows, rounding).sum())
    return counts


def mark_equal_rows(rows: Array, rounding: float) -> _Mask:
    """Return for each row whether another row is equal up to rounding, relative to the largest."""
    is_equal = np.zeros(len(rows), bool)
    if len(rows) < 2:
        return is_equal
    # Equal rows are neighbors in the order of their products with random numbers.
    factors = np.random.default_rng(0).normal(size=rows.shape[1])
    order = np.argsort(rows @ factors, kind="stable")
    differences = abs(np.diff(rows[order], axis=0)).max(axis=1)
    limit = rounding * abs(rows).max()
    is_same = differences <= limit
    # If as many differ by a little more, rows are near each other by chance.
    if is_same.sum() <= ((differences > limit) & (differences <= _APART * limit)).sum():
        return is_equal
    is_equal[order[1:][is_same]] = True
    is_equal[order[:-1][is_same]] = True
    return is_equal


# ---------------------------------------------------------------- outputs


@fact
def equal_outputs(diagnosis: Diagnosis) -> dict[keras.Layer, int]:
    """Dict from a layer to the number of units with the output of another unit of it.

    The output is measured before an activation. The dict only has layers with equal parts of a
    kernel.
    """
    layers = {weight.layer.layer for weight in equal_parts(diagnosis)}
    if not layers:
        return {}
    counter = _UnitCounter(layers)
    Watch(diagnosis.inventory).observe(diagnosis.x, counter, training=False)
    return counter.counts


class _UnitCounter(Watcher):
    """Counts the units of some layers that have the output of another unit.

    Attributes:
        counts: Dict from each of the layers to the number of units.
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
            self.counts[layer] = int(mark_equal_rows(rows.T, _OUTPUT_ROUNDING).sum())
