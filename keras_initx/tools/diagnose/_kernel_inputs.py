"""Inputs of kernels: the size of inputs from outside, and the differences between examples.

A *first kernel* gets numbers from outside the model: no other kernel comes before it. Differences
are standard deviations between examples, relative to the root mean square: 0 if all are equal.
"""

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from keras_initx._keras import list_layers
from keras_initx._typing import Array, Tensor
from keras_initx.backends._moments import compute_rms, spread
from keras_initx.inspection._batch import first_float, to_array
from keras_initx.inspection._kernels import CONVOLUTIONS
from keras_initx.inspection._names import list_sublayers
from keras_initx.inspection._torch_modules import (
    is_dropout,
    iterate_modules_with_kernel,
    iterate_torch_modules,
    normalizes_batch,
)
from keras_initx.inspection._watch import Call, Watch, check_rows
from keras_initx.tools.diagnose._diagnosis import Diagnosis, Probe, fact
from keras_initx.tools.diagnose._normalized import NormalizedProbe
from keras_initx.tools.diagnose._remedy import Remedy
from keras_initx.tools.diagnose._signal import Signal, compute_signal_rms
from keras_initx.tools.diagnose._signal_probe import input_signal

# The number of examples whose inputs of a kernel are compared.
COMPARED = 64
# An embedding of words or of people has at least this many rows. One of segments has two or three.
MANY_ROWS = 16
# The most channels of an image from outside the model: red, green, blue and a mask.
MOST_CHANNELS = 4
# Layers that scale inputs.
_SCALING = (keras.layers.Normalization, keras.layers.Rescaling)
# Root mean square of the inputs of the first kernels, or of a single feature, above which inputs
# are not scaled.
UNSCALED_INPUTS = 10
# Root mean square of the inputs of the first kernels below which inputs are not scaled, unless the
# inputs of another first kernel are above ten times as much.
SMALL_INPUTS = 0.02


@dataclass(eq=False)
class FirstInputs:
    """The inputs that the kernel of a layer gets from outside the model.

    Attributes:
        signal: `Signal` of the numbers that it multiplies, empty without any.
        largest: If the inputs are vectors, the index of the feature with the largest root mean
            square, and this root mean square.
        only_index: For an embedding of many rows, the one row that all examples take, otherwise
            `None`.
        image: For a two-dimensional convolution that takes a side of square images for their
            channels, the shape of an image; otherwise `None`.
        scaled_by: The last layer before it that scales the inputs, `None` without one.
    """

    signal: Signal = field(default_factory=Signal)
    largest: tuple[int, float] = (0, 0.0)
    only_index: int | None = None
    image: tuple[int, int, int] | None = None
    scaled_by: keras.Layer | None = None

    @property
    def are_large(self) -> bool:
        """Whether all of them, or a single feature, are too large."""
        _, largest = self.largest
        return max(compute_signal_rms(self.signal), largest) > UNSCALED_INPUTS


class InputProbe(Probe):
    """Measures the inputs of the first kernels of a model.

    Attributes:
        records: Dict from a layer to its `FirstInputs`.
    """

    def __init__(self, diagnosis: Diagnosis) -> None:
        super().__init__(diagnosis)
        self.records: dict[keras.Layer, FirstInputs] = {}
        self._has_begun = False

    def before(self, call: Call) -> None:
        layer = call.operation
        if not _multiplies_alone(call, self.diagnosis):
            # A kernel of integers is none of these, but what follows comes from inside the model.
            self._has_begun |= getattr(layer, "quantization_mode", None) is not None
            return
        graph = self.diagnosis.watch.graph
        is_first = not self._has_begun
        self._has_begun = True
        # The inputs of an embedding are row indices.
        if isinstance(layer, keras.layers.Embedding):
            indices = call.inputs[0]
            check_rows(call, self.diagnosis.watch.paths)
            if layer.input_dim >= MANY_ROWS and (is_first or graph.is_input(indices)):
                self._record(layer).only_index = _find_only_index(to_array(indices))
            return
        tensor = call.kernel_input
        if tensor is None:
            return
        if is_first or graph.is_input(tensor):
            self._record(layer).image = _find_exchanged_image(layer, tuple(tensor.shape))
            from_outside = [tensor]
        else:
            from_outside = graph.joined(tensor)
        for outside_tensor in from_outside:
            record = self._record(layer)
            producers = graph.producers(outside_tensor)
            scaling = [producer for producer in producers if isinstance(producer, _SCALING)]
            record.scaled_by = scaling[0] if scaling else None
            _add_inputs(record, layer, to_array(outside_tensor))

    def _record(self, layer: keras.Layer) -> FirstInputs:
        return self.records.setdefault(layer, FirstInputs())


def _multiplies_alone(call: Call, diagnosis: Diagnosis) -> bool:
    """Return whether a layer multiplies its inputs by a kernel, and has no inner layer that does.

    A kernel of a layer around others need not multiply the inputs: inner layers may scale the
    inputs before, or the weight may be a table.
    """
    with_kernel = diagnosis.watch.with_kernel
    return call.operation in with_kernel and with_kernel.isdisjoint(list_sublayers(call.operation))


def _find_only_index(values: Array) -> int | None:
    # `None` if indices differ, or if they are few.
    if values.size < COMPARED or values.min() != values.max():
        return None
    return int(values.flat[0])


def _find_exchanged_image(
    layer: keras.Layer, shape: tuple[int, ...]
) -> tuple[int, int, int] | None:
    """Return the shape of images whose channels a convolution takes for one of their sides."""
    if not isinstance(layer, keras.layers.Conv2D) or len(shape) != 4:
        return None
    _, first, second, third = shape
    # Images of (3, 32, 32) in "channels_last", or of (32, 32, 3) in "channels_first".
    likely_channels, *sides = first, second, third
    if layer.data_format == "channels_first":
        likely_channels, *sides = third, first, second
    if not likely_channels <= MOST_CHANNELS < sides[0] == sides[1]:
        return None
    return first, second, third


def _add_inputs(record: FirstInputs, layer: keras.Layer, values: Array) -> None:
    record.signal.add(values)
    # The channels of images have similar sizes.
    if isinstance(layer, CONVOLUTIONS) or values.ndim < 2:
        return
    columns = values.reshape(-1, values.shape[-1])
    squares = np.einsum("ij,ij->j", columns, columns, dtype="float64") / len(columns)
    index = int(squares.argmax())
    size = math.sqrt(squares[index])
    _, largest = record.largest
    if size > largest:
        record.largest = (index, size)


def find_largest_inputs(diagnosis: Diagnosis, size: Callable[[Signal], float]) -> Signal | None:
    """Return the largest inputs of the first kernels, after layers such as `Rescaling`.

    Inputs with values that are not finite come first, then inputs of the largest `size`. The result
    is `None` if the model has no inputs of floating-point numbers.
    """
    records = diagnosis.probe(InputProbe).records.values()
    signals = [record.signal for record in records if record.signal.size]
    if not signals:
        return input_signal(diagnosis)
    return max(signals, key=lambda signal: (signal.nonfinite, size(signal)))


def has_large_inputs(diagnosis: Diagnosis) -> bool:
    """Return whether a layer gets inputs from outside that are too large."""
    return any(record.are_large for record in diagnosis.probe(InputProbe).records.values())


def standardize_inputs_first(diagnosis: Diagnosis, remedy: Remedy) -> Remedy:
    """Return `remedy`, after the inputs are standardized if they are too large."""
    if not has_large_inputs(diagnosis):
        return remedy
    return remedy.after("standardize the inputs")


class DifferenceProbe(Probe):
    """Measures how much the inputs of kernels differ between examples.

    Attributes:
        differences: Dict from a layer to the difference of its inputs between examples in its last
            call. Inputs that are all 0 and single examples have no entry.
        last: Dict from a module of torch to the difference of the inputs of its last kernel.
    """

    def __init__(self, diagnosis: Diagnosis) -> None:
        super().__init__(diagnosis)
        self.differences: dict[keras.Layer, float] = {}
        self.last: dict[keras.Layer, float] = {}

    def before(self, call: Call) -> None:
        layer = call.operation
        if not _multiplies_alone(call, self.diagnosis) or isinstance(layer, keras.layers.Embedding):
            return
        tensor = call.kernel_input
        if tensor is not None:
            _note_difference(self.differences, layer, tensor)

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Watch modules inside modules of torch, too: Keras does not know them as layers."""
        with contextlib.ExitStack() as stack:
            for layer, module in iterate_modules_with_kernel(self.diagnosis.model):

                def note(_: Any, args: tuple[Any, ...], layer: keras.Layer = layer) -> None:
                    tensor = first_float(args)
                    if tensor is not None:
                        _note_difference(self.last, layer, tensor)

                stack.callback(module.register_forward_pre_hook(note).remove)
            yield


def _note_difference(
    differences: dict[keras.Layer, float], layer: keras.Layer, tensor: Tensor
) -> None:
    differences.pop(layer, None)
    step = max(len(tensor) // COMPARED, 1)
    values = to_array(tensor[::step])
    size = compute_rms(values)
    if len(values) > 1 and size:
        differences[layer] = spread(values) / size


# Layers that add noise in training mode. Those that drop whole channels are subclasses.
_NOISES = (
    keras.layers.AlphaDropout,
    keras.layers.Dropout,
    keras.layers.GaussianDropout,
    keras.layers.GaussianNoise,
)


@fact
def _probe_without_noise(diagnosis: Diagnosis) -> DifferenceProbe:
    """The probe of a pass without dropout, which would make equal examples different.

    For a model with dropout, this is a pass in inference mode. A model that also normalizes over
    the batch is probed in training mode, because its signals differ in inference mode.
    """
    modules = [module for _, module in iterate_torch_modules(diagnosis.model)]
    has_noise = any(isinstance(layer, _NOISES) for layer in list_layers(diagnosis.model))
    has_noise |= any(map(is_dropout, modules))
    normalizing = diagnosis.probe(NormalizedProbe).normalizing
    has_batch_normalization = any(
        isinstance(operation, keras.layers.BatchNormalization) for operation in normalizing
    )
    in_training = diagnosis.probe(DifferenceProbe)
    if not has_noise or has_batch_normalization or any(map(normalizes_batch, modules)):
        return in_training
    probe = DifferenceProbe(diagnosis)
    Watch(diagnosis.inventory).observe(diagnosis.x, probe, training=False)
    # A layer may be called in only one of the modes.
    probe.differences = in_training.differences | probe.differences
    probe.last = in_training.last | probe.last
    return probe


def input_differences(diagnosis: Diagnosis) -> dict[keras.Layer, float]:
    """Return the differences of the inputs of kernels, see `DifferenceProbe.differences`."""
    return _probe_without_noise(diagnosis).differences


def last_kernel_differences(diagnosis: Diagnosis) -> dict[keras.Layer, float]:
    """Return the differences of the inputs of the last kernel in each layer or module of torch."""
    return _probe_without_noise(diagnosis).differences | _probe_without_noise(diagnosis).last
