"""Measure the weights of a layer: their scale, identical units, wrong fans, and gate biases."""

import hashlib
import math
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import keras
import numpy as np

from keras_initx._gates import (
    gru_gates,
    is_gru,
    is_lstm,
    lstm_gates,
    overwrites_forget_bias,
    units_of,
)
from keras_initx._typing import Array
from keras_initx.backends import Moments, backend, chunks
from keras_initx.initializers import ICNR, fans, stddev_for
from keras_initx.structure import (
    TRANSPOSED,
    KernelAxes,
    array_of,
    floats,
    is_depthwise,
    is_kernel,
    kernel_axes,
    kernel_groups,
    multiplies,
)

__all__ = ["WeightReport"]

# Units with fewer weights may be equal by chance in 16-bit dtypes.
_COMPARABLE = 4
# The same holds for kernels with fewer weights.
_TELLING = 8
# The most units of a recurrent kernel that is factorized.
_FACTORIZED = 1024


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
        gain: For a kernel, `std * sqrt(fan_in)`, the factor by which it scales its inputs; for an
            embedding, `std`; for a single weight its absolute value.
        expected_std: For a depthwise or transposed kernel, the standard deviation that its
            initializer would give with the correct fans, otherwise `None`.
        constant: For a trainable kernel, whether all entries are the same.
        zero: For a trainable kernel, or the trainable scale of a normalization, whether all entries
            are 0.
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
    axes: KernelAxes | None = None
    fan_in: int | None = None
    gain: float | None = None
    expected_std: float | None = None
    constant: bool = False
    zero: bool = False
    identical_units: int = 0
    digest: str | None = None


def weight_reports(
    layer: keras.layers.Layer, weights: Sequence[keras.Variable], gradients: Mapping[int, float]
) -> list[WeightReport]:
    """Return a `WeightReport` for each of `weights`.

    Args:
        layer: The layer that they belong to.
        weights: Variables.
        gradients: Dict from the id of a variable to the norm of its gradient.
    """
    bias = None
    for weight in weights:
        if weight.name == "bias":  # of several the last
            bias = array_of(weight)
    reports = []
    for weight in weights:
        # The shape of TensorFlow is true without axes too.
        if len(weight.shape) > 0 or weight.trainable:
            gradient = gradients.get(id(weight))
            reports.append(_weight_report(layer, weight, bias, gradient))
    return reports


def _weight_report(
    layer: keras.layers.Layer, weight: keras.Variable, bias: Array | None, gradient: float | None
) -> WeightReport:
    array = backend.host_view(weight.value)
    moments = Moments(array)
    report = WeightReport(
        name=weight.name,
        shape=array.shape,
        mean=moments.mean,
        std=moments.std,
        zeros=moments.zeros / max(moments.size, 1),
        norm=moments.norm,
        gradient=gradient,
        zero=multiplies(layer, weight) and moments.zeros == moments.size,
    )
    if not is_kernel(weight):
        return report
    axes = kernel_axes(layer, weight)
    fan_in, fan_out = fans(array.shape, *axes, kernel_groups(layer, weight))
    gain = moments.std
    if moments.size == 1:
        gain = moments.norm
    # An embedding looks up one row.
    if not isinstance(layer, keras.layers.Embedding):
        gain *= math.sqrt(fan_in)
    report = replace(
        report,
        axes=axes,
        fan_in=fan_in,
        gain=gain,
        expected_std=_expected_std(layer, weight.name, fan_in, fan_out, moments.std),
    )
    if not weight.trainable:
        return report
    identical_units = 0
    if not _repeats_units(layer, weight.name):
        identical_units = _identical_units(array, bias, axes[0])
    return replace(
        report,
        constant=array.size > 1 and all((chunk == array.flat[0]).all() for chunk in chunks(array)),
        identical_units=identical_units,
        digest=_digest(array, moments),
    )


def _repeats_units(layer: keras.layers.Layer, name: str) -> bool:
    """Return whether the kernel of this name repeats units on purpose, as that of upsampling."""
    initializer = getattr(layer, "kernel_initializer", None)
    return name == "kernel" and isinstance(initializer, ICNR)


def _expected_std(
    layer: keras.layers.Layer, name: str, fan_in: int, fan_out: int, std: float
) -> float | None:
    """Return the standard deviation that the initializer of a kernel intends.

    It is `None` for kernels that are neither depthwise nor transposed. With strides a unit sums
    fewer inputs than `fan_in`, so weights may be larger by the root of their product. From that
    range it is the value next to `std`, that of the kernel.
    """
    if is_depthwise(layer, name):
        initializer = layer.depthwise_initializer
    elif isinstance(layer, TRANSPOSED):
        initializer = layer.kernel_initializer
    else:
        return None
    if not isinstance(initializer, keras.initializers.VarianceScaling):
        return None
    # Some subclasses, such as `Orthogonal`, have no scale.
    if not hasattr(initializer, "scale"):
        return None
    expected = float(stddev_for(initializer.scale, initializer.mode, fan_in, fan_out))
    most = expected
    if isinstance(layer, TRANSPOSED):
        most = expected * math.sqrt(math.prod(layer.strides))
    return min(max(std, expected), most)


def _identical_units(array: Array, bias: Array | None, input_axes: tuple[int, ...]) -> int:
    """Return the number of units with the same weights and bias as another unit."""
    input_axes = input_axes or (0,)  # where nothing is summed
    count = math.prod(array.shape[axis] for axis in input_axes)
    if count < _COMPARABLE:
        return 0
    units = np.moveaxis(array, input_axes, range(-len(input_axes), 0)).reshape(-1, count)
    # Units with the same bits have the same sum of products with random numbers, modulo 2**64.
    factors = np.random.default_rng(0).integers(1 << 64, size=count, dtype="uint64")
    sums = np.einsum("ui,i->u", units.view(f"u{array.itemsize}"), factors)
    _, places, counts = np.unique(sums, return_inverse=True, return_counts=True)
    alike = counts[places] > 1
    units = units[alike]
    if bias is not None and bias.size == len(alike):
        units = np.concatenate([units, bias.reshape(-1, 1)[alike]], axis=1)
    units_by_digest: Counter[bytes] = Counter()
    for unit in np.ascontiguousarray(units):
        units_by_digest[hashlib.blake2b(unit.tobytes(), digest_size=16).digest()] += 1
    return sum(count for count in units_by_digest.values() if count > 1)


def _digest(array: Array, moments: Moments) -> str | None:
    """Return a digest of a random kernel.

    It is `None` for kernels with few distinct values, such as an identity.
    """
    checksum = 0
    distinct = np.zeros(0)
    for chunk in map(floats, chunks(array)):
        checksum = zlib.crc32(chunk.data, checksum)
        if len(distinct) <= 64:
            distinct = np.union1d(distinct, chunk[chunk != 0])
    nonzero = moments.size - moments.zeros
    if nonzero < _TELLING or len(distinct) <= min(nonzero / 2, 64):
        return None
    # With the moments a checksum tells kernels apart, and takes a quarter of the time of a
    # cryptographic hash.
    return f"{checksum:08x} {moments.mean!r} {moments.norm!r}"


def gate_bias(layer: keras.layers.Layer) -> tuple[Literal["forget", "update"], Array] | None:
    """Return the effective forget-gate bias of an LSTM, or update-gate bias of a GRU.

    Returns:
        A pair: `"forget"` or `"update"`, and an array with the bias of each unit. `None` for other
        layers.
    """
    found: list[tuple[Literal["forget", "update"], Array]] = []
    for cell in _cells_of(layer):
        bias = _bias_of(cell)
        of_gate = np.zeros(units_of(cell) or 0, "float32")
        if is_lstm(cell):
            if bias is not None:
                of_gate = lstm_gates(bias)[1]
            found.append(("forget", of_gate))
        elif is_gru(cell):
            if bias is not None:
                of_gate = gru_gates(bias)[0]
            found.append(("update", of_gate))
    return min(found, key=lambda pair: kept_share(pair[1]), default=None)


def recurrent_gains(layer: keras.layers.Layer) -> tuple[float, float] | None:
    """Return the geometric mean and the largest of the singular values of a recurrent kernel.

    Returns:
        A pair of numbers, or `None` for layers with gates, which keep the state by themselves, for
        several cells, and for kernels whose factorization would take long.
    """
    cells = _cells_of(layer)
    if len(cells) != 1 or not isinstance(cells[0], keras.layers.SimpleRNNCell):
        return None
    kernel = array_of(cells[0].recurrent_kernel)
    if len(kernel) > _FACTORIZED or not np.isfinite(kernel).all():
        return None
    values = np.linalg.svd(kernel, compute_uv=False)
    with np.errstate(divide="ignore"):
        return float(np.exp(np.log(values).mean())), float(values[0])


def kept_share(bias: Array) -> float:
    """Return the share of the state that gates with these biases keep, as a mean over units."""
    with np.errstate(over="ignore"):
        return float(np.mean(1 / (1 + np.exp(-bias))))


def _cells_of(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """Return the cells of a recurrent layer, those of a stack one by one."""
    cell = getattr(layer, "cell", None)
    return list(getattr(cell, "cells", [cell]))


def forget_bias_overwritten(layer: keras.layers.Layer) -> bool:
    """Return whether an LSTM overwrites the forget-gate bias of its initializer with ones.

    The initializer then fills only the other three gates. If these are all 0, it agrees with the
    default of the layer; if they are all 1, the forget gates have the value that it would have
    given them.
    """
    return any(map(_is_overwritten, _cells_of(layer)))


def _is_overwritten(cell: keras.layers.Layer | None) -> bool:
    bias = _bias_of(cell)
    if bias is None or not overwrites_forget_bias(cell):
        return False
    gates = lstm_gates(bias)
    forget = gates[1]
    others = gates[[0, 2, 3]]
    return bool((forget == 1).all() and not (others == 0).all() and not (others == 1).all())


def _bias_of(cell: keras.layers.Layer | None) -> Array | None:
    bias = getattr(cell, "bias", None)
    if bias is None:
        return None
    return array_of(bias)
