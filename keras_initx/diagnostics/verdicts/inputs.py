"""Inputs: what comes from outside the model, and what kernels multiply."""

import math
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from keras_initx._typing import Array, Tensor
from keras_initx.backends import Moments
from keras_initx.diagnostics._measurements import (
    InputReport,
    LayerReport,
    Measurements,
    root_mean_square,
)
from keras_initx.diagnostics._remedy import Remedy
from keras_initx.diagnostics._signal import Signal, spread
from keras_initx.diagnostics._verdict import (
    LEAST_VALUES,
    Finding,
    by_level,
    layer_count,
    normalization_of,
    rule,
)
from keras_initx.structure import CONVOLUTIONS, Call, Probe, Watch, array_of, parts_of, tensors_in

# The number of examples whose inputs of a kernel are compared.
COMPARED = 64
# From how many rows on an embedding is one of words, or of people, not of two or three segments.
_MANY_ROWS = 16
# Up to how many channels an image from outside the model has: red, green, blue and a mask.
_MOST_CHANNELS = 4

# Root mean square of the inputs of the first kernels, or of a single one in vectors, above which
# inputs are not scaled.
UNSCALED_INPUTS = 10
# Root mean square of the inputs of the first kernels below which inputs are not scaled, if none is
# above ten times as much.
SMALL_INPUTS = 0.02
# Standard deviation between examples of the inputs of the first kernels, relative to their root
# mean square, below which what they share hides what tells them apart.
OFFSET_INPUTS = 0.03


class InputProbe(Probe):
    """Measures what the kernels of a model multiply.

    Args:
        watch: The watch of the pass.

    Attributes:
        records: Dict from a layer to its `InputReport`.
    """

    def __init__(self, watch: Watch) -> None:
        self.records: dict[keras.Layer, InputReport] = {}
        self._graph = watch.graph
        self._with_kernel = watch.with_kernel
        self._names = watch.layers
        self._has_begun = False

    def before(self, call: Call) -> None:
        layer = call.operation
        # The weights of a layer around others need not be what multiplies its inputs: the others
        # may scale these before, or it may be a table of its own.
        if layer not in self._with_kernel or self._with_kernel.intersection(parts_of(layer)):
            # A kernel of integers is none of these, but what follows comes from inside the model.
            self._has_begun |= getattr(layer, "quantization_mode", None) is not None
            return
        is_first = not self._has_begun
        self._has_begun = True
        tensor = call.kernel_input
        # The inputs of an embedding are row indices.
        if isinstance(layer, keras.layers.Embedding):
            indices = call.inputs[0]
            if type(layer).call is keras.layers.Embedding.call:
                _check_rows(layer, self._names[layer], array_of(indices))
            if layer.input_dim >= _MANY_ROWS and (is_first or self._graph.is_input(indices)):
                record = self.records.setdefault(layer, InputReport())
                record.only_index = _only_number(array_of(indices))
            return
        if tensor is None:
            return
        record = self.records.setdefault(layer, InputReport())
        is_outside = is_first or self._graph.is_input(tensor)
        if is_outside:
            record.image = _exchanged_image(layer, tuple(tensor.shape))
            from_outside = [tensor]
        else:
            from_outside = self._graph.joined(tensor)
        for part in from_outside:
            _add_first_inputs(record, layer, array_of(part))
        record.difference = _difference(tensor)


def _check_rows(layer: keras.layers.Embedding, name: str, indices: Array) -> None:
    """Raise `ValueError` unless an embedding has a row for each of its indices.

    JAX gives NaN for others, TensorFlow zeros or an error, and torch on a GPU ends the process.
    """
    if not indices.size:
        return
    low, high = indices.min(), indices.max()
    if low < 0 or high >= layer.input_dim:
        raise ValueError(
            f"`model` must have a row for each index: {name} has input_dim={layer.input_dim}, so "
            f"that indices are from 0 to {layer.input_dim - 1}. Received: indices from {low:g} to "
            f"{high:g}"
        )


def _only_number(values: Array) -> int | None:
    """Return the number that all values are, `None` if they differ, or are few."""
    if values.size < COMPARED or values.min() != values.max():
        return None
    return int(values.flat[0])


def _exchanged_image(layer: keras.Layer, shape: tuple[int, ...]) -> tuple[int, int, int] | None:
    """Return the shape of images whose channels a convolution takes for one of their sides."""
    if not isinstance(layer, keras.layers.Conv2D) or len(shape) != 4:
        return None
    _, first, second, third = shape
    few, *sides = first, second, third
    if layer.data_format == "channels_first":
        few, *sides = third, first, second
    if not few <= _MOST_CHANNELS < sides[0] == sides[1]:
        return None
    return first, second, third


def _add_first_inputs(record: InputReport, layer: keras.Layer, values: Array) -> None:
    """Add inputs from outside the model to the record of `layer`."""
    if record.first is None:
        record.first = Signal()
    record.first.add(values)
    # The channels of images are alike.
    if isinstance(layer, CONVOLUTIONS) or values.ndim < 2:
        return
    columns = values.reshape(-1, values.shape[-1])
    squares = np.einsum("ij,ij->j", columns, columns, dtype="float64") / len(columns)
    index = int(squares.argmax())
    size = math.sqrt(squares[index])
    _, most = record.largest or (0, 0.0)
    if size > most:
        record.largest = (index, size)


def _difference(tensor: Tensor) -> float | None:
    """Return the standard deviation between examples relative to the root mean square.

    It is that of some examples, and `None` for zeros, and without two examples.
    """
    step = max(len(tensor) // COMPARED, 1)
    values = array_of(tensor[::step])
    size = size_of(values)
    if len(values) < 2 or not size:
        return None
    return spread(values) / size


def are_repeated(x: Any) -> bool:
    """Return whether all examples have the same inputs."""
    tensors = tensors_in(x)
    for tensor in tensors:
        # Strings are not compared.
        if keras.backend.standardize_dtype(tensor.dtype) == "string":
            return False
        values = array_of(tensor[:COMPARED])
        if len(values) < 2 or (values != values[:1]).any():
            return False
    return bool(tensors)


def are_pixels(x: Any) -> bool:
    """Return whether there are images of whole numbers from 0 to 255 among inputs."""
    for tensor in tensors_in(x):
        if len(tensor.shape) != 4:
            continue
        values = array_of(tensor[:COMPARED])
        in_range = values.min(initial=0) >= 0 and 1 < values.max(initial=0) <= 255
        if in_range and (values == np.round(values)).all():
            return True
    return False


def size_of(values: Array) -> float:
    """Return the root mean square of `values`."""
    return float(Moments(values).norm / max(values.size, 1) ** 0.5)


@rule(
    "constant inputs",
    levels={
        "error": "",
        "warning": "if it is one of several inputs, of zeros before a kernel, or indices of an "
        "embedding of 16 rows or more",
    },
    finds="inputs that are all the same number, or the same for all examples, though the targets "
    "differ",
    reason="the model cannot tell examples apart: it can learn the mean of the targets, no more. "
    "Pixels are all 0 after a division of integers. A kernel that gets zeros alone has no gradient",
    remedy="other inputs",
)
def constant_inputs(measured: Measurements) -> Iterator[Finding]:
    if not are_constant(measured):
        hit = [layer for layer in measured.layers if gets_zeros(layer, measured)]
        if hit:
            evidence = (
                f"all inputs of {hit[0].name} from outside the model are 0{layer_count(hit)}: its "
                "kernel gets no gradient, and what follows the same for all examples"
            )
            text = (
                f"numbers that differ between examples as inputs of {hit[0].name}: for a decoder "
                "the targets of the step before"
            )
            yield Finding(hit, evidence, Remedy(text))
        yield from _of_one_index(measured)
        return
    inputs = measured.inputs or Signal()
    evidence = "all examples have the same inputs"
    if inputs.size and not inputs.std:
        evidence = f"all {inputs.size} values of the inputs are {inputs.mean:.3g}"
    evidence += ", but the targets differ"
    yield Finding([], evidence, Remedy("inputs that differ between examples"), "error")


def _of_one_index(measured: Measurements) -> Iterator[Finding]:
    """Yield the finding on embeddings of which all examples take the same row."""
    hit = []
    for layer in measured.layers:
        if layer.inputs is not None and layer.inputs.only_index is not None:
            hit.append((layer, layer.inputs.only_index))
    if not hit or not _have_different_targets(measured):
        return
    layers = [layer for layer, _ in hit]
    first, index = hit[0]
    evidence = (
        f"all indices that {first.name} gets are {index}{layer_count(layers)}: what follows is the "
        "same for all examples"
    )
    yield Finding(
        layers, evidence, Remedy(f"the indices of each example as inputs of {first.name}")
    )


@rule(
    "exchanged axes",
    levels={"warning": ""},
    finds="a two-dimensional convolution that takes a side of square images from outside the model "
    "for their channels, and up to four channels for a side",
    reason="images of shape (1, 28, 28) are for `channels_first`: with `channels_last` they are a "
    "line of 28 pixels with 28 channels, of which most of a kernel meets only the padding",
    remedy="`keras.ops.moveaxis(x, 1, -1)`, or another `Reshape`",
)
def exchanged_axes(measured: Measurements) -> Iterator[Finding]:
    hit = []
    for layer in measured.layers:
        if layer.inputs is not None and layer.inputs.image is not None:
            hit.append((layer, layer.inputs.image))
    if not hit:
        return
    layers = [layer for layer, _ in hit]
    first, shape = hit[0]
    evidence = (
        f"{first.name} gets images of shape {shape}{layer_count(layers)}, and takes a side of them "
        "for their channels"
    )
    channels, height, width = shape
    text = f"images of shape ({height}, {width}, {channels}), such as keras.ops.moveaxis(x, 1, -1)"
    if channels > _MOST_CHANNELS:
        text = f'data_format="channels_last" in {first.name}, or images with the channels first'
    yield Finding(layers, evidence, Remedy(text))


def gets_zeros(layer: LayerReport, measured: Measurements) -> bool:
    """Return whether a layer gets zeros alone from outside the model, where targets differ."""
    inputs = _first_inputs(layer)
    # A normalization over a single value, which makes zeros, has its own verdict.
    if measured.single_values or inputs.nonfinite or inputs.size < LEAST_VALUES:
        return False
    return inputs.min == inputs.max == 0 and _have_different_targets(measured)


def _have_different_targets(measured: Measurements) -> bool:
    if any(facts.targets.std > 0 for _, facts in measured.outputs):
        return True
    return measured.targets is not None and measured.targets.std > 0


def are_constant(measured: Measurements) -> bool:
    """Return whether all inputs are the same number, or of all examples, though targets differ."""
    if measured.has_repeated_inputs:
        return _have_different_targets(measured)
    inputs = measured.inputs
    if inputs is None or inputs.std > 0 or inputs.size < LEAST_VALUES:
        return False
    # A model may get integers beside them.
    firsts = [layer.first_inputs for layer in measured.layers if layer.first_inputs is not None]
    if not firsts or any(signal.std > 0 or signal.nonfinite for signal in firsts):
        return False
    return _have_different_targets(measured)


@rule(
    "unscaled inputs",
    levels={"warning": "", "note": "if a normalization follows directly"},
    finds="a kernel whose inputs come from outside the model and have a root mean square above "
    f"{UNSCALED_INPUTS:g}, or a single one of which has in vectors; or whose inputs have one below "
    f"{SMALL_INPUTS:g}, as changes of prices have; or whose inputs differ between examples by less "
    f"than {OFFSET_INPUTS:g} of it, as pixels that are scaled to [-1, 1] twice",
    reason="standardized inputs have 1, images in [0, 1] have 0.6, and raw 8-bit images 150; "
    "inputs ten times too large saturate most activations, and small ones hardly move the outputs. "
    "What all examples share moves all outputs alike, and the loss with them",
    remedy="`Normalization`, `Rescaling`",
)
def unscaled_inputs(measured: Measurements) -> Iterator[Finding]:
    unscaled = []
    for layer in measured.layers:
        has_enough_values = _first_inputs(layer).size >= LEAST_VALUES
        is_unscaled = (
            _has_unscaled_inputs(layer) or _has_small_inputs(layer) or _has_offset_inputs(layer)
        )
        if has_enough_values and is_unscaled:
            unscaled.append(layer)
    remedy = Remedy("standardize the inputs: keras.layers.Normalization() adapted to the data")
    if measured.has_pixels:
        rescaled = Remedy(
            "scale the pixels to [-1, 1]: keras.layers.Rescaling(1 / 127.5, offset=-1)"
        )
        remedy = rescaled.otherwise(remedy)
    for level, hit in by_level(unscaled, "warning", lambda layer: not layer.is_rescaled):
        first = hit[0]
        inputs = _first_inputs(first)
        evidence = (
            f"{first.name} gets inputs from {inputs.min:.3g} to {inputs.max:.3g}, with mean "
            f"{inputs.mean:.3g} and standard deviation {inputs.std:.3g}{layer_count(hit)}"
        )
        index, size = _largest_input(first)
        if root_mean_square(inputs) <= UNSCALED_INPUTS < size:
            evidence += f", and at index {index} a root mean square of {size:.3g}"
        if level == "note":
            evidence += normalization_of(first)
        else:
            evidence += ": initializers assume inputs of standard deviation 1"
        yield Finding(hit, evidence, remedy, level)


def _first_inputs(layer: LayerReport) -> Signal:
    """Return the inputs of `layer` from outside the model, an empty signal if it has none."""
    return layer.first_inputs or Signal()


def _largest_input(layer: LayerReport) -> tuple[int, float]:
    """Return the index and the size of the largest of the inputs from outside the model."""
    if layer.inputs is None or layer.inputs.largest is None:
        return 0, 0.0
    return layer.inputs.largest


def _has_unscaled_inputs(layer: LayerReport) -> bool:
    """Return whether `layer` gets inputs from outside that are too large, or a single one."""
    limit = UNSCALED_INPUTS
    _, largest = _largest_input(layer)
    return bool(root_mean_square(_first_inputs(layer)) > limit or largest > limit)


def _has_small_inputs(layer: LayerReport) -> bool:
    """Return whether all inputs of `layer` from outside are small, unlike zeros and few ones."""
    inputs = _first_inputs(layer)
    limit = SMALL_INPUTS
    return bool(0 < root_mean_square(inputs) < limit and inputs.max < 10 * limit > -inputs.min)


def _has_offset_inputs(layer: LayerReport) -> bool:
    """Return whether the inputs of `layer` from outside differ little from those they share."""
    if layer.inputs is None or layer.inputs.first is None or layer.inputs.difference is None:
        return False
    return 0 < layer.inputs.difference < OFFSET_INPUTS


def are_unscaled(measured: Measurements) -> bool:
    """Return whether inputs from outside the model are too large."""
    return any(_has_unscaled_inputs(layer) for layer in measured.layers)


def scaled_first(measured: Measurements, remedy: Remedy) -> Remedy:
    """Return a remedy that standardizes the inputs before if they are too large."""
    if not are_unscaled(measured):
        return remedy
    return remedy.after("standardize the inputs")
