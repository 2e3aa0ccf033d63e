"""The inputs from outside: what the first kernels get, and how much it differs."""

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
from keras_initx.tools.diagnose._signal import Signal, root_mean_square
from keras_initx.tools.diagnose._signal_probe import inputs

# The number of examples whose inputs of a kernel are compared.
COMPARED = 64
# From how many rows on an embedding is one of words, or of people, not of two or three segments.
MANY_ROWS = 16
# Up to how many channels an image from outside the model has: red, green, blue and a mask.
MOST_CHANNELS = 4
# Layers that scale inputs.
_SCALING = (keras.layers.Normalization, keras.layers.Rescaling)
# Root mean square of the inputs of the first kernels, or of a single one in vectors, above which
# inputs are not scaled.
UNSCALED_INPUTS = 10
# Root mean square of the inputs of the first kernels below which inputs are not scaled, if none is
# above ten times as much.
SMALL_INPUTS = 0.02


@dataclass(eq=False)
class FirstInputs:
    """What the kernel of a layer gets from outside the model: no kernel comes before.

    Attributes:
        signal: `Signal` of the numbers that it multiplies, empty without any.
        largest: Where these are vectors, the index of the number with the largest root mean square
            and this size.
        only_index: Of an embedding of many rows the one row that all examples take, otherwise
            `None`.
        image: Of a two-dimensional convolution that takes a side of square images for their
            channels, their shape; otherwise `None`.
        scaled_by: The last layer before it that scales them, `None` without one.
    """

    signal: Signal = field(default_factory=Signal)
    largest: tuple[int, float] = (0, 0.0)
    only_index: int | None = None
    image: tuple[int, int, int] | None = None
    scaled_by: keras.Layer | None = None

    @property
    def are_large(self) -> bool:
        """Whether they are too large, or a single one of them is."""
        _, largest = self.largest
        return max(root_mean_square(self.signal), largest) > UNSCALED_INPUTS


class InputProbe(Probe):
    """Measures what the first kernels of a model get.

    Attributes:
        records: Dict from a layer to its `FirstInputs`.
    """

    def __init__(self, of: Diagnosis) -> None:
        super().__init__(of)
        self.records: dict[keras.Layer, FirstInputs] = {}
        self._has_begun = False

    def before(self, call: Call) -> None:
        layer = call.operation
        if not _multiplies_alone(call, self.of):
            # A kernel of integers is none of these, but what follows comes from inside the model.
            self._has_begun |= getattr(layer, "quantization_mode", None) is not None
            return
        graph = self.of.watch.graph
        is_first = not self._has_begun
        self._has_begun = True
        # The inputs of an embedding are row indices.
        if isinstance(layer, keras.layers.Embedding):
            indices = call.inputs[0]
            check_rows(call, self.of.watch.paths)
            if layer.input_dim >= MANY_ROWS and (is_first or graph.is_input(indices)):
                self._record(layer).only_index = _only_number(to_array(indices))
            return
        tensor = call.kernel_input
        if tensor is None:
            return
        if is_first or graph.is_input(tensor):
            self._record(layer).image = _exchanged_image(layer, tuple(tensor.shape))
            from_outside = [tensor]
        else:
            from_outside = graph.joined(tensor)
        for part in from_outside:
            scaling = [one for one in graph.producers(part) if isinstance(one, _SCALING)]
            self._record(layer).scaled_by = scaling[0] if scaling else None
            _add(self._record(layer), layer, to_array(part))

    def _record(self, layer: keras.Layer) -> FirstInputs:
        return self.records.setdefault(layer, FirstInputs())


def _multiplies_alone(call: Call, of: Diagnosis) -> bool:
    """Return whether a call is one of a layer that multiplies its inputs by a kernel itself.

    The weights of a layer around others need not be what multiplies its inputs: the others may
    scale these before, or it may be a table of its own.
    """
    with_kernel = of.watch.with_kernel
    return call.operation in with_kernel and with_kernel.isdisjoint(list_sublayers(call.operation))


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
    if not few <= MOST_CHANNELS < sides[0] == sides[1]:
        return None
    return first, second, third


def _add(record: FirstInputs, layer: keras.Layer, values: Array) -> None:
    """Add inputs from outside the model to the record of `layer`."""
    record.signal.add(values)
    # The channels of images are alike.
    if isinstance(layer, CONVOLUTIONS) or values.ndim < 2:
        return
    columns = values.reshape(-1, values.shape[-1])
    squares = np.einsum("ij,ij->j", columns, columns, dtype="float64") / len(columns)
    index = int(squares.argmax())
    size = math.sqrt(squares[index])
    _, most = record.largest
    if size > most:
        record.largest = (index, size)


def largest_inputs(of: Diagnosis, size: Callable[[Signal], float]) -> Signal | None:
    """Return the largest inputs of the first kernels, as `Rescaling` or others have left them.

    Largest are those with values that are not finite, then those of the largest `size`. `None` if
    the model has no inputs that are numbers.
    """
    records = of.probe(InputProbe).records.values()
    signals = [record.signal for record in records if record.signal.size]
    if not signals:
        return inputs(of)
    return max(signals, key=lambda signal: (signal.nonfinite, size(signal)))


def has_large_inputs(of: Diagnosis) -> bool:
    """Return whether the inputs from outside of a layer are too large."""
    return any(record.are_large for record in of.probe(InputProbe).records.values())


def scaled_first(of: Diagnosis, remedy: Remedy) -> Remedy:
    """Return a remedy that standardizes the inputs before if they are too large."""
    if not has_large_inputs(of):
        return remedy
    return remedy.after("standardize the inputs")


class DifferenceProbe(Probe):
    """Measures how much the inputs of kernels differ between examples.

    Attributes:
        differences: Dict from a layer to their standard deviation between examples relative to
            their root mean square, of its last call. Left out are zeros, and single examples.
        last: Dict from a module of torch to the same of the inputs of the last kernel in it.
        along: Dict from a layer to their deviation along each axis of positions, relative to their
            root mean square, by the axis and the number of positions.
    """

    def __init__(self, of: Diagnosis) -> None:
        super().__init__(of)
        self.differences: dict[keras.Layer, float] = {}
        self.last: dict[keras.Layer, float] = {}
        self.along: dict[keras.Layer, dict[tuple[int, int], float]] = {}

    def before(self, call: Call) -> None:
        layer = call.operation
        if not _multiplies_alone(call, self.of) or isinstance(layer, keras.layers.Embedding):
            return
        tensor = call.kernel_input
        if tensor is None:
            return
        _note_difference(self.differences, layer, tensor)
        values = to_array(tensor[:COMPARED])
        size = compute_rms(values)
        self.along[layer] = {}
        for axis in range(1, values.ndim - 1):
            if size and values.shape[axis] > 1:
                ratio = spread_along(values, axis) / size
                self.along[layer][axis, values.shape[axis]] = ratio

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Look into modules of torch too, whose layers are none of Keras."""
        with contextlib.ExitStack() as stack:
            for layer, part in iterate_modules_with_kernel(self.of.model):

                def look(part: Any, args: tuple[Any, ...], layer: keras.Layer = layer) -> None:
                    tensor = first_float(args)
                    if tensor is not None:
                        _note_difference(self.last, layer, tensor)

                stack.callback(part.register_forward_pre_hook(look).remove)
            yield


def _note_difference(found: dict[keras.Layer, float], layer: keras.Layer, tensor: Tensor) -> None:
    """Note how much the inputs of a kernel of `layer` differ between examples."""
    found.pop(layer, None)
    step = max(len(tensor) // COMPARED, 1)
    values = to_array(tensor[::step])
    size = compute_rms(values)
    if len(values) > 1 and size:
        found[layer] = spread(values) / size


def spread_along(values: Array, axis: int) -> float:
    """Return the standard deviation of values along an axis. It is NaN if one is not finite."""
    with np.errstate(invalid="ignore"):
        return float(np.sqrt(values.var(axis=axis, dtype="float64").mean()))


# These add noise in training mode. Those of whole channels are subclasses.
_NOISES = (
    keras.layers.AlphaDropout,
    keras.layers.Dropout,
    keras.layers.GaussianDropout,
    keras.layers.GaussianNoise,
)


@fact
def _differing(of: Diagnosis) -> DifferenceProbe:
    """The probe of a pass in which dropout does not make alike examples different.

    That is one in inference mode for a model with dropout. But with normalization over the batch
    signals are others there.
    """
    inside = [part for _, part in iterate_torch_modules(of.model)]
    has_noise = any(isinstance(layer, _NOISES) for layer in list_layers(of.model))
    has_noise |= any(map(is_dropout, inside))
    normalizing = of.probe(NormalizedProbe).normalizing
    of_batches = any(isinstance(one, keras.layers.BatchNormalization) for one in normalizing)
    seen = of.probe(DifferenceProbe)
    if not has_noise or of_batches or any(map(normalizes_batch, inside)):
        return seen
    probe = DifferenceProbe(of)
    Watch(of.inventory).observe(of.x, probe, training=False)
    # A layer may be called in one of the modes alone.
    probe.differences = seen.differences | probe.differences
    probe.last = seen.last | probe.last
    probe.along = seen.along | probe.along
    return probe


def differences(of: Diagnosis) -> dict[keras.Layer, float]:
    """Return how much the inputs of each kernel differ between examples, by the layer."""
    return _differing(of).differences


def differences_along(of: Diagnosis) -> dict[keras.Layer, dict[tuple[int, int], float]]:
    """Return how much the inputs of each kernel differ along axes, see `DifferenceProbe.along`."""
    return _differing(of).along


def last_differences(of: Diagnosis) -> dict[keras.Layer, float]:
    """Return the same of the last kernel within each layer: a module of torch may have several."""
    return _differing(of).differences | _differing(of).last
