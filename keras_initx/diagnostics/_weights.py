"""What the weights of a layer are: their size, whether units are the same, whether the number of inputs was right."""

import hashlib
import math
from collections import Counter
from dataclasses import dataclass

import keras
import numpy as np

from keras_initx.diagnostics._layers import NORMALIZATIONS
from keras_initx.initializers import ICNR
from keras_initx.initializers._fans import fans
from keras_initx.initializers._gates import is_gru, is_lstm, overwrites_forget_bias

_TRANSPOSED = (keras.layers.Conv1DTranspose, keras.layers.Conv2DTranspose, keras.layers.Conv3DTranspose)
_DEPTHWISE = (
    keras.layers.DepthwiseConv1D,
    keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv1D,
    keras.layers.SeparableConv2D,
)
# Weights of which a layer may have more than one dimension without their being a kernel.
_NOT_KERNELS = ("alpha", "beta", "bias", "gamma", "scale")
_KERNELS = ("embeddings", "kernel")
# Units with fewer weights may be the same by chance, in 16 bits.
_COMPARABLE = 4
# And so may kernels with fewer weights.
_TELLING = 8


@dataclass(frozen=True)
class WeightReport:
    """What one weight of a layer is.

    Attributes:
        name: Name of the weight, `"kernel"`.
        shape: Its shape.
        mean: Mean of its entries.
        std: Their standard deviation.
        zeros: Share of the entries that are exactly zero.
        norm: Norm of the weight.
        gradient: Norm of its gradient, `None` without targets.
        axes: For a kernel, the axes that a unit sums over and those that an input spreads along, two tuples.
        fan_in: For a kernel, the number of inputs that a unit sums up, otherwise `None`.
        gain: For a kernel, `std * sqrt(fan_in)`: by how much it changes the size of its inputs.
        expected_std: For a depthwise or transposed kernel, the standard deviation that its initializer would give
            if it counted inputs and outputs rightly, otherwise `None`.
        constant: For a trainable kernel, whether all entries are the same.
        zero: For a trainable kernel, or the trainable scale of a normalization, whether all entries are 0.
        identical_units: For a trainable kernel, the number of units whose weights are those of another unit.
        digest: For a trainable kernel of random numbers, what two of them have in common only if they are the same.
    """

    name: str
    shape: tuple
    mean: float
    std: float
    zeros: float
    norm: float
    gradient: float | None = None
    axes: tuple | None = None
    fan_in: int | None = None
    gain: float | None = None
    expected_std: float | None = None
    constant: bool = False
    zero: bool = False
    identical_units: int = 0
    digest: str | None = None


def weight_reports(layer, weights, slopes):
    """Return a `WeightReport` for each of `weights`.

    Args:
        layer: The layer that they belong to.
        weights: Variables.
        slopes: Dict from the identity of a variable to its gradient.
    """
    values = {weight.name: _array(weight) for weight in weights}
    return [_weight_report(layer, weight, values, slopes.get(id(weight))) for weight in weights if weight.shape]


def _array(weight):
    return np.asarray(keras.ops.convert_to_numpy(weight)).astype("float32", copy=False)


def _weight_report(layer, weight, values, slope):
    array = _array(weight)
    facts = {
        "name": weight.name,
        "shape": array.shape,
        "mean": float(array.mean(dtype="float64")) if array.size else 0.0,
        "std": _std(array),
        "zeros": float(np.mean(array == 0)) if array.size else 0.0,
        "norm": _norm(array),
        "gradient": None if slope is None else _norm(slope),
        "zero": is_zero(layer, weight),
    }
    if is_kernel(weight):
        axes = kernel_axes(layer, weight.name, array.ndim)
        fan_in = fans(array.shape, *axes)[0]
        facts |= {"axes": axes, "fan_in": fan_in, "gain": facts["std"] * math.sqrt(fan_in)}
        facts["expected_std"] = _expected_std(layer, weight.name, array.shape, axes)
        if weight.trainable:
            facts["constant"] = bool((array == array.flat[0]).all())
            facts["digest"] = _digest(array)
            if not _is_copied_on_purpose(layer, weight.name):
                facts["identical_units"] = _identical_units(array, values.get("bias"), axes[0])
    return WeightReport(**facts)


def _std(array):
    with np.errstate(invalid="ignore"):  # training may have made it infinite
        return float(array.std(dtype="float64")) if array.size else 0.0


def _norm(array):
    return float(np.linalg.norm(array.astype("float64").ravel()))


def is_kernel(weight: keras.Variable) -> bool:
    """Tell whether `weight` is a matrix or more that inputs are multiplied by."""
    # Quantized kernels are integers in a unit of their own.
    if math.prod(weight.shape) < 2 or "float" not in keras.backend.standardize_dtype(weight.dtype):
        return False
    if weight.name.endswith(_KERNELS):
        return True
    # A layer of the user's own may call its kernel as it likes. What has a single row is a token or a shift.
    return math.prod(weight.shape[:-1]) > 1 and not weight.name.endswith(_NOT_KERNELS)


def is_zero(layer: keras.layers.Layer, weight: keras.Variable) -> bool:
    """Tell whether `weight` is a trainable kernel, or the scale of a normalization, that is 0."""
    is_scale = isinstance(layer, NORMALIZATIONS) and weight.name in ("gamma", "scale")
    return bool(weight.trainable and (is_scale or is_kernel(weight)) and not _array(weight).any())


def kernel_axes(layer, name, rank):
    """Return the axes of a kernel that a unit sums over and those that an input spreads along, two tuples.

    Args:
        layer: The layer.
        name: Name of its kernel.
        rank: Number of dimensions of the kernel.
    """
    window = tuple(range(rank - 2))
    if isinstance(layer, _DEPTHWISE) and name != "pointwise_kernel":
        return window, (*window, rank - 1)
    if isinstance(layer, _TRANSPOSED):
        return (*window, rank - 1), (*window, rank - 2)
    if isinstance(layer, keras.layers.Embedding):
        return (), (1,)
    if isinstance(layer, keras.layers.EinsumDense):
        inputs, kernel = layer.equation.split("->")[0].replace("...", "").split(",")
        summed = tuple(axis for axis, letter in enumerate(kernel) if letter in inputs)
        return summed, tuple(axis for axis in range(rank) if axis not in summed)
    return (*window, rank - 2), (*window, rank - 1)


def _expected_std(layer, name, shape, axes):
    """Return what the initializer of a depthwise or transposed kernel would give if it knew the axes, else `None`."""
    if isinstance(layer, _DEPTHWISE) and name != "pointwise_kernel":
        initializer = layer.depthwise_initializer
    elif isinstance(layer, _TRANSPOSED):
        initializer = layer.kernel_initializer
    else:
        return None
    if not isinstance(initializer, keras.initializers.VarianceScaling):
        return None
    fan_in, fan_out = fans(shape, *axes)
    n = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}.get(
        initializer.mode, math.sqrt(fan_in * fan_out)
    )
    return math.sqrt(initializer.scale / max(n, 1))


def _is_copied_on_purpose(layer, name):
    """Tell whether the units of a block are the same because the kernel enlarges an image."""
    return name == "kernel" and isinstance(getattr(layer, "kernel_initializer", None), ICNR)


def _identical_units(array, bias, input_axes):
    """Return how many units have the same weights, and the same bias, as another."""
    input_axes = input_axes or (0,)  # an embedding's units see one row at a time
    count = math.prod(array.shape[axis] for axis in input_axes)
    if count < _COMPARABLE:
        return 0
    units = np.moveaxis(array, input_axes, range(-len(input_axes), 0)).reshape(-1, count)
    if bias is not None and bias.size == len(units):
        units = np.concatenate([units, bias.reshape(-1, 1)], axis=1)
    same = Counter(hashlib.blake2b(unit.tobytes(), digest_size=16).digest() for unit in np.ascontiguousarray(units))
    return sum(count for count in same.values() if count > 1)


def _digest(array):
    """Return what stands for the values of a kernel, `None` if they are few: two identities are not drawn alike."""
    nonzero = array[array != 0]
    if nonzero.size < _TELLING or len(np.unique(nonzero)) <= min(nonzero.size / 2, 64):
        return None
    return hashlib.blake2b(array.tobytes(), digest_size=16).hexdigest()


def gate_bias(layer):
    """Return the biases in force of the gates that keep the state of an LSTM or a GRU, `None` for another layer.

    Returns:
        A pair: `"forget"` or `"update"`, and an array with the bias of each unit.
    """
    cell = getattr(layer, "cell", None)
    if cell is None or not (is_lstm(cell) or is_gru(cell)):
        return None
    name = "forget" if is_lstm(cell) else "update"
    units = cell.units if hasattr(cell, "units") else cell.filters  # a ConvLSTM has filters
    if getattr(cell, "bias", None) is None:
        return name, np.zeros(units, "float32")
    bias = _array(cell.bias)
    if name == "forget":
        return name, bias[units : 2 * units]
    return name, bias.reshape(-1, 3 * units).sum(axis=0)[:units]


def forget_bias_overwritten(layer):
    """Tell whether an LSTM writes ones over the forget biases that its initializer gives.

    Its initializer then fills the other three gates. If these are all 0, it gives what the layer means by
    default, and if they are all 1, the forget gates are what it would have made them.
    """
    cell = getattr(layer, "cell", None)
    if cell is None or not overwrites_forget_bias(cell) or getattr(cell, "bias", None) is None:
        return False
    gates = _array(cell.bias).reshape(4, -1)
    others = gates[[0, 2, 3]]
    return bool((gates[1] == 1).all() and not (others == 0).all() and not (others == 1).all())
