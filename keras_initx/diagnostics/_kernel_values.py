"""Kernels: which numbers of theirs are alike."""

import hashlib
import math
import zlib
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import keras
import numpy as np

from keras_initx._checks import first_of
from keras_initx._typing import Array
from keras_initx.backends._current import backend
from keras_initx.backends._moments import chunks
from keras_initx.diagnostics._diagnosis import Diagnosis, fact
from keras_initx.diagnostics._layers import LayerReport, WeightReport, weights
from keras_initx.diagnostics._layers import layers as layers_of
from keras_initx.diagnostics._remedy import Choice, activation_after, suited
from keras_initx.initializers._convolution import ICNR
from keras_initx.initializers._scale import default_axes
from keras_initx.structure._batch import array_of, floats

# A weight and the layer that it belongs to.
Pair: TypeAlias = tuple[LayerReport, WeightReport]
# Units with fewer weights may be equal by chance in 16-bit dtypes.
_COMPARABLE = 4
# The same holds for kernels with fewer weights.
_TELLING = 8


class KernelValues(NamedTuple):
    """The values of a trainable kernel.

    Attributes:
        constant: Whether all are the same.
        identical_units: The number of units with the same weights as another unit.
        digest: Of random numbers, a digest that two kernels share only if they are equal.
    """

    constant: bool
    identical_units: int
    digest: str | None


@fact
def kernel_values(of: Diagnosis) -> dict[str, KernelValues]:
    """The values of each trainable kernel, by its path."""
    found = {}
    for _, report in weight_pairs(layers_of(of)):
        weight = weights(of).get(report.path)
        if weight is None or weight.axes is None or not report.trainable:
            continue
        array = backend.host_view(weight.variable.value)
        identical_units = 0
        # Columns of a table of positions may be equal: cosines of small angles are all 1.
        is_table = isinstance(weight.layer, keras.layers.Embedding)
        if not is_table and not _repeats_units(weight.layer, weight.name):
            inputs, _ = weight.axes
            identical_units = _identical_units(array, _bias_of(weight.layer), inputs)
        found[report.path] = KernelValues(
            array.size > 1 and all((chunk == array.flat[0]).all() for chunk in chunks(array)),
            identical_units,
            _digest(array, report),
        )
    return found


def _bias_of(layer: keras.Layer) -> Array | None:
    for weight in layer.weights:
        if weight.name == "bias":
            return array_of(weight)
    return None


def _repeats_units(layer: keras.Layer, name: str) -> bool:
    """Return whether the kernel of this name repeats units on purpose, as that of upsampling."""
    initializer = getattr(layer, "kernel_initializer", None)
    return name == "kernel" and isinstance(initializer, ICNR)


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


def _digest(array: Array, report: WeightReport) -> str | None:
    """Return a digest of a random kernel.

    It is `None` for kernels with few distinct values, such as an identity.
    """
    checksum = 0
    distinct = np.zeros(0)
    for chunk in map(floats, chunks(array)):
        checksum = zlib.crc32(chunk.data, checksum)
        if len(distinct) <= 64:
            distinct = np.union1d(distinct, chunk[chunk != 0])
    nonzero = array.size - round(report.zeros * array.size)
    if nonzero < _TELLING or len(distinct) <= min(nonzero / 2, 64):
        return None
    # With mean and norm a checksum tells kernels apart, and takes a quarter of the time of a
    # cryptographic hash.
    return f"{checksum:08x} {report.mean!r} {report.norm!r}"


def suited_to(layer: LayerReport, weight: WeightReport) -> Choice:
    """Return an initializer for a kernel of `layer` that suits its activation."""
    axes = {}
    # `EinsumDense` passes its axes on by itself.
    if weight.axes not in (None, default_axes(len(weight.shape))) and layer.kind != "EinsumDense":
        inputs, outputs = weight.axes
        axes = {"input_axes": list(inputs), "output_axes": list(outputs)}
    (found,) = suited([layer], activation_after(layer), is_deep=False, axes=axes)
    return found


def weight_pairs(layers: Sequence[LayerReport]) -> list[Pair]:
    """Return all pairs of a layer and one of its weights."""
    return [(layer, weight) for layer in layers for weight in layer.weights]


def layers_in(pairs: Sequence[Pair]) -> list[LayerReport]:
    """Return the layer of each pair."""
    return [layer for layer, _ in pairs]


def weight_names(pairs: Sequence[Pair], between: str = ", ") -> str:
    """Return the paths of the first few weights."""
    return first_of([weight.path for _, weight in pairs], between)


def and_more_weights(pairs: Sequence[Pair]) -> str:
    """Return a phrase with the number of weights after the first."""
    if len(pairs) < 2:
        return ""
    return f", and {len(pairs) - 1} more weights"
