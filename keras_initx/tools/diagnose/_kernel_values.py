"""Equal values in kernels: constant kernels, identical units, and kernels equal to another."""

import hashlib
import math
import zlib
from collections import Counter
from typing import NamedTuple

import keras
import numpy as np

from keras_initx._typing import Array
from keras_initx.backends._moments import iterate_chunks
from keras_initx.initializers._convolution import ICNR
from keras_initx.inspection._batch import to_array, to_floats
from keras_initx.tools.diagnose._diagnosis import Diagnosis, fact
from keras_initx.tools.diagnose._layer_report import WeightReport
from keras_initx.tools.diagnose._measured_layers import (
    MeasuredWeight,
    list_weights,
    measured_layers,
)

# Units with fewer weights may be equal by chance in 16-bit dtypes.
_COMPARABLE = 4
# So may kernels with fewer weights other than 0.
_LEAST_WEIGHTS = 8


class KernelValues(NamedTuple):
    """The values of a trainable kernel.

    Attributes:
        constant: Whether all are the same.
        identical_units: The number of units with the same weights as another unit.
        digest: For a kernel of random numbers, a digest that only equal kernels share.
    """

    constant: bool
    identical_units: int
    digest: str | None


@fact
def kernel_values(diagnosis: Diagnosis) -> dict[MeasuredWeight, KernelValues]:
    """The values of each trainable kernel."""
    values_by_weight = {}
    for weight in list_weights(measured_layers(diagnosis)):
        own = weight.own
        if own.axes is None or not weight.is_trained:
            continue
        array = weight.values
        identical_units = 0
        # Columns of a table of positions may be equal: cosines of small angles are all 1.
        is_table = isinstance(own.layer, keras.layers.Embedding)
        if not is_table and not _repeats_units(own.layer, own.name):
            inputs, _ = own.axes
            identical_units = _count_identical_units(array, _read_bias(own.layer), inputs)
        values_by_weight[weight] = KernelValues(
            array.size > 1
            and all((chunk == array.flat[0]).all() for chunk in iterate_chunks(array)),
            identical_units,
            _compute_digest(array, weight.report),
        )
    return values_by_weight


def _read_bias(layer: keras.Layer) -> Array | None:
    for weight in layer.weights:
        if weight.name == "bias":
            return to_array(weight)
    return None


def _repeats_units(layer: keras.Layer, name: str) -> bool:
    """Return whether a kernel repeats units on purpose, as `ICNR` does for upsampling."""
    initializer = getattr(layer, "kernel_initializer", None)
    return name == "kernel" and isinstance(initializer, ICNR)


def _count_identical_units(array: Array, bias: Array | None, input_axes: tuple[int, ...]) -> int:
    """Return the number of units with the same weights and bias as another unit."""
    input_axes = input_axes or (0,)  # a kernel that sums nothing
    count = math.prod(array.shape[axis] for axis in input_axes)
    if count < _COMPARABLE:
        return 0
    units = np.moveaxis(array, input_axes, range(-len(input_axes), 0)).reshape(-1, count)
    # Units with the same bits have the same sum of products with random numbers, modulo 2**64.
    factors = np.random.default_rng(0).integers(1 << 64, size=count, dtype="uint64")
    sums = np.einsum("ui,i->u", units.view(f"u{array.itemsize}"), factors)
    _, indices, counts = np.unique(sums, return_inverse=True, return_counts=True)
    is_repeated = counts[indices] > 1
    units = units[is_repeated]
    if bias is not None and bias.size == len(is_repeated):
        units = np.concatenate([units, bias.reshape(-1, 1)[is_repeated]], axis=1)
    units_by_digest: Counter[bytes] = Counter()
    for unit in np.ascontiguousarray(units):
        units_by_digest[hashlib.blake2b(unit.tobytes(), digest_size=16).digest()] += 1
    return sum(count for count in units_by_digest.values() if count > 1)


def _compute_digest(array: Array, report: WeightReport) -> str | None:
    """Return a digest of a random kernel, `None` if it has few distinct values, as an identity."""
    checksum = 0
    distinct = np.zeros(0)
    for chunk in map(to_floats, iterate_chunks(array)):
        checksum = zlib.crc32(chunk.data, checksum)
        if len(distinct) <= 64:
            distinct = np.union1d(distinct, chunk[chunk != 0])
    nonzero = array.size - round(report.zeros * array.size)
    if nonzero < _LEAST_WEIGHTS or len(distinct) <= min(nonzero / 2, 64):
        return None
    # With mean and norm a checksum distinguishes kernels, and takes a quarter of the time of a
    # cryptographic hash.
    return f"{checksum:08x} {report.mean!r} {report.norm!r}"
