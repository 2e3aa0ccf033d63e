"""Recurrent layers: what their gates, or their recurrent kernels, keep of a state."""

from typing import Literal, NamedTuple, TypeAlias

import keras
import numpy as np

from keras_initx._typing import Array, Tensor
from keras_initx.initializers._gates import count_units, gru_gates, is_gru, is_lstm, lstm_gates
from keras_initx.inspection._batch import first_float, to_array
from keras_initx.inspection._names import list_sublayers
from keras_initx.inspection._watch import Call
from keras_initx.tools.diagnose._diagnosis import Diagnosis, Probe, fact
from keras_initx.tools.diagnose._first_inputs import COMPARED
from keras_initx.tools.diagnose._seen import SeenLayer, SeenWeight, seen_layers, seen_weights

# The most units of a recurrent kernel that is factorized.
_FACTORIZED = 1024
# Factor by which a recurrent kernel without gates makes a state larger in a step, or one over that
# by which it makes it smaller, above which there is no memory over ten steps.
RECURRENT_GAIN = 1.8
# Share of a state that gates keep, by their biases, over the padding behind the words of half of
# the examples, or a kernel without gates over half of the steps, below which what came before is
# not read.
UNREAD = 1e-6
_GateName: TypeAlias = Literal["forget", "update"]


class RecurrenceProbe(Probe):
    """Counts the steps of recurrent layers, and those of the padding at their ends.

    Attributes:
        steps: Dict from a layer to the number of steps of its inputs.
        padding: Dict from a layer that gives its last state alone, and reads to the end without a
            mask, to the number of equal steps at the end of half of the examples, and the path of
            the embedding in whose inputs they are 0 and that makes no mask, or `None`.
    """

    def __init__(self, of: Diagnosis) -> None:
        super().__init__(of)
        self.steps: dict[keras.Layer, int] = {}
        self.padding: dict[keras.Layer, tuple[int, str | None]] = {}
        self._in_both_directions: set[keras.Layer] = set()
        # The last embedding, with its rows of indices.
        self._embedding: tuple[keras.Layer, Tensor] | None = None

    def before(self, call: Call) -> None:
        if isinstance(call.operation, keras.layers.Bidirectional):
            self._in_both_directions.update(list_sublayers(call.operation))

    def after(self, call: Call) -> None:
        layer = call.operation
        if isinstance(layer, keras.layers.Embedding) and len(call.inputs) == 1:
            indices = call.inputs[0]
            self._embedding = (layer, indices) if len(indices.shape) == 2 else None
        inputs = first_float(call.arguments)
        if not call.is_seen or not isinstance(layer, keras.layers.RNN) or inputs is None:
            return
        self.steps[layer] = inputs.shape[1]
        has_mask_or_state = len(call.inputs) > 1
        if has_mask_or_state or layer.return_sequences or layer.go_backwards:
            return
        if layer not in self._in_both_directions:
            self.padding[layer] = self._padding_of(inputs)

    def _padding_of(self, inputs: Tensor) -> tuple[int, str | None]:
        """Return the number of equal steps at the ends of `inputs`, and the embedding for it."""
        if self._embedding is None or self._embedding[1].shape[1] != inputs.shape[1]:
            return _equal_at_end(to_array(inputs[:COMPARED])), None
        # A dropout in between makes equal steps different.
        embedding, given = self._embedding
        indices = to_array(given)
        index = int(np.median(indices[:, -1]))
        path = None
        if not index and not embedding.mask_zero:
            path = self.of.watch.paths.get(embedding, embedding.name)
        return _equal_at_end(indices), path


def _equal_at_end(sequences: Array) -> int:
    """Return how many steps at the end of half of the sequences are equal."""
    steps = sequences.reshape(*sequences.shape[:2], -1)
    is_equal = (steps == steps[:, -1:]).all(axis=-1)
    counts = np.cumprod(is_equal[:, ::-1], axis=1).sum(axis=1)
    # Of constant sequences nothing is lost.
    return int(np.median(np.where(counts < steps.shape[1], counts, 0)))


class Gates(NamedTuple):
    """The gates by which a recurrent layer keeps its state.

    Attributes:
        gate: `"forget"` for an LSTM, `"update"` for a GRU.
        bias: The bias of each unit, of the cell that keeps the least if the layer has several.
        weights: The biases of its cells that have such gates.
    """

    gate: _GateName
    bias: Array
    weights: list[SeenWeight]

    @property
    def kept(self) -> float:
        """The share of the state that they keep in a step by their biases, as a mean over units."""
        return _kept_share(self.bias)


@fact
def gates(of: Diagnosis) -> dict[SeenLayer, Gates]:
    """The gates of each recurrent layer that has them."""
    found = {}
    for layer in seen_layers(of):
        cells = [(_gate_of(cell), cell) for cell in cells_of(layer.layer)]
        biases = [(gate, _gate_bias(gate, cell), cell) for gate, cell in cells if gate is not None]
        if not biases:
            continue
        gate, least, _ = min(biases, key=lambda one: _kept_share(one[1]))
        of_gate = [cell.bias for other, _, cell in biases if other == gate]
        weights = [seen_weights(of)[id(bias)] for bias in of_gate if bias is not None]
        found[layer] = Gates(gate, least, weights)
    return found


def cells_of(layer: keras.Layer) -> list[keras.Layer]:
    """Return the cells of a recurrent layer, those of a stack one by one."""
    cell = getattr(layer, "cell", None)
    if cell is None:
        return []
    return list(getattr(cell, "cells", [cell]))


def _gate_of(cell: keras.Layer) -> _GateName | None:
    """Return the gate by which a cell keeps its state, `None` if it has none."""
    if is_lstm(cell):
        return "forget"
    if is_gru(cell):
        return "update"
    return None


def _gate_bias(gate: _GateName, cell: keras.Layer) -> Array:
    """Return the bias of each unit of that gate."""
    bias = getattr(cell, "bias", None)
    if bias is None:
        return np.zeros(count_units(cell) or 0, "float32")
    if gate == "update":
        return np.asarray(gru_gates(to_array(bias))[0])
    return np.asarray(lstm_gates(to_array(bias))[1])


def _kept_share(bias: Array) -> float:
    with np.errstate(over="ignore"):
        return float(np.mean(1 / (1 + np.exp(-bias))))


class RecurrentKernel(NamedTuple):
    """The recurrent kernel of a layer without gates.

    Attributes:
        mean: The geometric mean of its singular values.
        largest: The largest of them.
        kept: Share of a random state, as root mean squares, that it leaves after half of the steps,
            if the layer gives its last state alone and it is no kernel of zeros; otherwise `None`.
    """

    mean: float
    largest: float
    kept: float | None

    @property
    def grows(self) -> bool:
        """Whether it makes a state larger in each step."""
        return self.mean > RECURRENT_GAIN

    @property
    def forgets(self) -> bool:
        """Whether nothing is left of the first half of the steps."""
        return self.kept is not None and self.kept < UNREAD


@fact
def recurrent_kernels(of: Diagnosis) -> dict[SeenLayer, RecurrentKernel]:
    """The recurrent kernel of each layer without gates, unless it is very large."""
    found = {}
    for layer in seen_layers(of):
        kernel = _kernel_without_gates(layer.layer)
        if kernel is None:
            continue
        values = np.linalg.svd(kernel, compute_uv=False)
        with np.errstate(divide="ignore"):
            mean, largest = float(np.exp(np.log(values).mean())), float(values[0])
        kept = None
        steps = of.probe(RecurrenceProbe).steps.get(layer.layer)
        if largest and steps is not None and not layer.layer.return_sequences:
            with np.errstate(over="ignore", invalid="ignore"):
                power = np.linalg.matrix_power(kernel.astype("float64"), steps // 2)
                kept = float(np.sqrt(np.mean((power**2).sum(axis=0))))
        found[layer] = RecurrentKernel(mean, largest, kept)
    return found


def _kernel_without_gates(layer: keras.Layer) -> Array | None:
    """Return the recurrent kernel of a layer without gates, `None` for others and large ones."""
    cells = cells_of(layer)
    if len(cells) != 1 or not isinstance(cells[0], keras.layers.SimpleRNNCell):
        return None
    kernel = to_array(cells[0].recurrent_kernel)
    if len(kernel) > _FACTORIZED or not np.isfinite(kernel).all():
        return None
    return kernel


def unread_share(of: Diagnosis, layer: SeenLayer) -> float | None:
    """Return the share that the gates of a layer keep of what comes before padding.

    `None` unless what comes before is not read because of it.
    """
    padding = of.probe(RecurrenceProbe).padding
    if layer not in gates(of) or layer.layer not in padding:
        return None
    steps, _ = padding[layer.layer]
    share = gates(of)[layer].kept ** steps
    return share if share < UNREAD else None
