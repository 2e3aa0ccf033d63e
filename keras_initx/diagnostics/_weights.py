"""Measure the weights of a layer: their scale, identical units, and wrong fans."""

import dataclasses
import hashlib
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import keras
import numpy as np

from keras_initx._typing import Array
from keras_initx.diagnostics._kernels import expected_std, is_kernel, is_zero, kernel_axes, repeats_units
from keras_initx.diagnostics._types import Axes
from keras_initx.diagnostics._values import weight_array
from keras_initx.initializers._fans import fans

# Units with fewer weights may be equal by chance in 16-bit dtypes.
_COMPARABLE = 4
# The same holds for kernels with fewer weights.
_TELLING = 8


@dataclass(frozen=True)
class WeightReport:
    """The measurements of one weight of a layer.

    Attributes:
        name: Name of the weight, `"kernel"`.
        shape: Its shape.
        mean: Mean of its entries.
        std: Their standard deviation.
        zeros: Fraction of the entries that are exactly zero.
        norm: Norm of the weight.
        gradient: Norm of its gradient, or `None` without targets.
        axes: For a kernel, a tuple of input axes and a tuple of output axes.
        fan_in: For a kernel, the number of inputs of a unit, otherwise `None`.
        gain: For a kernel, `std * sqrt(fan_in)`: the factor by which it scales its inputs.
        expected_std: For a depthwise or transposed kernel, the standard deviation that its
            initializer would give with the correct fans, otherwise `None`.
        constant: For a trainable kernel, whether all entries are the same.
        zero: For a trainable kernel, or the trainable scale of a normalization, whether all entries are 0.
        identical_units: For a trainable kernel, the number of units with the same weights as
            another unit.
        digest: For a trainable kernel of random numbers, a digest that two kernels share only if
            they are equal.
    """

    name: str
    shape: tuple[int, ...]
    mean: float
    std: float
    zeros: float
    norm: float
    gradient: float | None = None
    axes: tuple[Axes, Axes] | None = None
    fan_in: int | None = None
    gain: float | None = None
    expected_std: float | None = None
    constant: bool = False
    zero: bool = False
    identical_units: int = 0
    digest: str | None = None


def weight_reports(
    layer: keras.layers.Layer, weights: Sequence[keras.Variable], gradients: Mapping[int, Array]
) -> list[WeightReport]:
    """Return a `WeightReport` for each of `weights`.

    Args:
        layer: The layer that they belong to.
        weights: Variables.
        gradients: Dict from the id of a variable to its gradient.
    """
    bias = {weight.name: weight_array(weight) for weight in weights}.get("bias")
    return [_weight_report(layer, weight, bias, gradients.get(id(weight))) for weight in weights if weight.shape]


def _weight_report(
    layer: keras.layers.Layer, weight: keras.Variable, bias: Array | None, gradient: Array | None
) -> WeightReport:
    array = weight_array(weight)
    report = WeightReport(
        name=weight.name,
        shape=array.shape,
        mean=float(array.mean(dtype="float64")) if array.size else 0.0,
        std=_std(array),
        zeros=float(np.mean(array == 0)) if array.size else 0.0,
        norm=_norm(array),
        gradient=None if gradient is None else _norm(gradient),
        zero=is_zero(layer, weight),
    )
    if not is_kernel(weight):
        return report
    axes = kernel_axes(layer, weight.name, array.ndim)
    fan_in, fan_out = fans(array.shape, *axes)
    report = dataclasses.replace(
        report,
        axes=axes,
        fan_in=fan_in,
        gain=report.std * math.sqrt(fan_in),
        expected_std=expected_std(layer, weight.name, fan_in, fan_out),
    )
    if not weight.trainable:
        return report
    return dataclasses.replace(
        report,
        constant=bool((array == array.flat[0]).all()),
        identical_units=0 if repeats_units(layer, weight.name) else _identical_units(array, bias, axes[0]),
        digest=_digest(array),
    )


def _std(array: Array) -> float:
    with np.errstate(invalid="ignore"):  # may have become infinite in training
        return float(array.std(dtype="float64")) if array.size else 0.0


def _norm(array: Array) -> float:
    return float(np.linalg.norm(array.astype("float64").ravel()))


def _identical_units(array: Array, bias: Array | None, input_axes: Axes) -> int:
    """Return the number of units with the same weights and bias as another unit."""
    input_axes = input_axes or (0,)  # an embedding uses one row at a time
    count = math.prod(array.shape[axis] for axis in input_axes)
    if count < _COMPARABLE:
        return 0
    units = np.moveaxis(array, input_axes, range(-len(input_axes), 0)).reshape(-1, count)
    if bias is not None and bias.size == len(units):
        units = np.concatenate([units, bias.reshape(-1, 1)], axis=1)
    same = Counter(hashlib.blake2b(unit.tobytes(), digest_size=16).digest() for unit in np.ascontiguousarray(units))
    return sum(count for count in same.values() if count > 1)


def _digest(array: Array) -> str | None:
    """Return a digest of a random kernel, or `None` for kernels with few distinct values, such as an identity."""
    nonzero = array[array != 0]
    if nonzero.size < _TELLING or len(np.unique(nonzero)) <= min(nonzero.size / 2, 64):
        return None
    return hashlib.blake2b(array.tobytes(), digest_size=16).hexdigest()
