"""Recurrent layers: the share of a state that gates or recurrent kernels keep.

An LSTM keeps its state by the *forget* gate, a GRU by the *update* gate: a gate with bias b keeps
sigmoid(b) of the state in a step. Without gates, the recurrent kernel decides how much of the state
a layer keeps.
"""

from typing import Literal, NamedTuple, TypeAlias

import keras
import numpy as np

from keras_initx._typing import Array, Tensor
from keras_initx.initializers._gates import count_units, gru_gates, is_gru, is_lstm, lstm_gates
from keras_initx.inspection._batch import first_float, to_array
from keras_initx.inspection._names import list_sublayers
from keras_initx.inspection._watch import Call
from keras_initx.tools.diagnose._diagnosis import Diagnosis, Probe, fact
from keras_initx.tools.diagnose._kernel_inputs import COMPARED
from keras_initx.tools.diagnose._measured_layers import (
    MeasuredLayer,
    MeasuredWeight,
    measured_layers,
    measured_weights,
)

# Recurrent kernels with more units are not factorized.
_FACTORIZED = 1024
# A recurrent kernel without gates that makes a state larger, or smaller, by more than this factor
# in a step leaves no memory over ten steps.
RECURRENT_GAIN = 1.8
# Below this share of a state, what came before is lost. For gates, it is the share that their
# biases keep over the padding at the end of half of the examples. For a kernel without gates, it is
# the share that the kernel keeps over half of the steps.
UNREAD = 1e-6
_GateName: TypeAlias = Literal["forget", "update"]


class Padding(NamedTuple):
    """The padding at the ends of sequences.

    Attributes:
        steps: The number of equal steps at the end of half of the examples.
        unmasked_path: Path of the embedding that gets 0 in these steps and makes no mask, or
            `None`.
    """

    steps: int
    unmasked_path: str | None


class RecurrenceProbe(Probe):
    """Counts the steps of recurrent layers, and the steps of padding at their ends.

    Attributes:
        steps: Dict from a layer to the number of steps of its inputs.
        padding: Dict from a layer that returns only its last state, and reads to the end without a
            mask, to its `Padding`.
    """

    def __init__(self, diagnosis: Diagnosis) -> None:
        super().__init__(diagnosis)
        self.steps: dict[keras.Layer, int] = {}
        self.padding: dict[keras.Layer, Padding] = {}
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
            self.padding[layer] = self._measure_padding(inputs)

    def _measure_padding(self, inputs: Tensor) -> Padding:
        if self._embedding is None or self._embedding[1].shape[1] != inputs.shape[1]:
            return Padding(_count_equal_at_end(to_array(inputs[:COMPARED])), None)
        # Count equal indices, because a dropout after the embedding makes equal steps different.
        embedding, tensor = self._embedding
        indices = to_array(tensor)
        index = int(np.median(indices[:, -1]))
        path = None
        if not index and not embedding.mask_zero:
            path = self.diagnosis.watch.paths.get(embedding, embedding.name)
        return Padding(_count_equal_at_end(indices), path)


def _count_equal_at_end(sequences: Array) -> int:
    # The median over sequences: at the end of half of them, at least so many steps are equal.
    steps = sequences.reshape(*sequences.shape[:2], -1)
    is_equal = (steps == steps[:, -1:]).all(axis=-1)
    counts = np.cumprod(is_equal[:, ::-1], axis=1).sum(axis=1)
    # A sequence that is constant from its start on is not padded.
    return int(np.median(np.where(counts < steps.shape[1], counts, 0)))


class Gates(NamedTuple):
    """The gates that keep the state of a recurrent layer.

    Attributes:
        gate: `"forget"` for an LSTM, `"update"` for a GRU.
        bias: The bias of each unit. If the layer has several cells, it is the bias of the cell that
            keeps least.
        weights: The biases of its cells with such gates.
    """

    gate: _GateName
    bias: Array
    weights: list[MeasuredWeight]

    @property
    def kept(self) -> float:
        """The share of the state that they keep in a step, as a mean over units."""
        return _compute_kept_share(self.bias)


@fact
def gates(diagnosis: Diagnosis) -> dict[MeasuredLayer, Gates]:
    """The gates of each recurrent layer that has them."""
    gates_by_layer = {}
    for layer in measured_layers(diagnosis):
        gated_cells = []
        for cell in list_cells(layer.layer):
            gate = _identify_gate(cell)
            if gate is not None:
                gated_cells.append(_GatedCell(gate, _read_gate_bias(gate, cell), cell))
        if not gated_cells:
            continue
        least = min(gated_cells, key=lambda gated: _compute_kept_share(gated.bias))
        variables = [gated.cell.bias for gated in gated_cells if gated.gate == least.gate]
        weights = [measured_weights(diagnosis)[id(bias)] for bias in variables if bias is not None]
        gates_by_layer[layer] = Gates(least.gate, least.bias, weights)
    return gates_by_layer


class _GatedCell(NamedTuple):
    gate: _GateName
    bias: Array
    cell: keras.Layer


def list_cells(layer: keras.Layer) -> list[keras.Layer]:
    """Return the cells of a recurrent layer, the cells of a stack one by one."""
    cell = getattr(layer, "cell", None)
    if cell is None:
        return []
    return list(getattr(cell, "cells", [cell]))


def _identify_gate(cell: keras.Layer) -> _GateName | None:
    if is_lstm(cell):
        return "forget"
    if is_gru(cell):
        return "update"
    return None


def _read_gate_bias(gate: _GateName, cell: keras.Layer) -> Array:
    bias = getattr(cell, "bias", None)
    if bias is None:
        return np.zeros(count_units(cell) or 0, "float32")
    if gate == "update":
        return np.asarray(gru_gates(to_array(bias))[0])
    return np.asarray(lstm_gates(to_array(bias))[1])


def _compute_kept_share(bias: Array) -> float:
    with np.errstate(over="ignore"):
        return float(np.mean(1 / (1 + np.exp(-bias))))


class RecurrentKernel(NamedTuple):
    """The recurrent kernel of a layer without gates.

    Attributes:
        mean: The geometric mean of its singular values.
        largest: The largest singular value.
        kept: Share of a random state, by root mean squares, that the kernel leaves after half of
            the steps, if the layer returns only its last state and the kernel is not all 0;
            otherwise `None`.
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
        """Whether the state has lost the first half of the steps."""
        return self.kept is not None and self.kept < UNREAD


@fact
def recurrent_kernels(diagnosis: Diagnosis) -> dict[MeasuredLayer, RecurrentKernel]:
    """The recurrent kernel of each layer without gates, unless it is very large."""
    kernels = {}
    for layer in measured_layers(diagnosis):
        matrix = _read_kernel_without_gates(layer.layer)
        if matrix is None:
            continue
        singular_values = np.linalg.svd(matrix, compute_uv=False)
        with np.errstate(divide="ignore"):
            mean, largest = float(np.exp(np.log(singular_values).mean())), float(singular_values[0])
        kept = None
        steps = diagnosis.probe(RecurrenceProbe).steps.get(layer.layer)
        if largest and steps is not None and not layer.layer.return_sequences:
            with np.errstate(over="ignore", invalid="ignore"):
                power = np.linalg.matrix_power(matrix.astype("float64"), steps // 2)
                kept = float(np.sqrt(np.mean((power**2).sum(axis=0))))
        kernels[layer] = RecurrentKernel(mean, largest, kept)
    return kernels


def _read_kernel_without_gates(layer: keras.Layer) -> Array | None:
    """Return the recurrent kernel of a layer without gates, `None` if it has gates or is large."""
    cells = list_cells(layer)
    if len(cells) != 1 or not isinstance(cells[0], keras.layers.SimpleRNNCell):
        return None
    kernel = to_array(cells[0].recurrent_kernel)
    if len(kernel) > _FACTORIZED or not np.isfinite(kernel).all():
        return None
    return kernel


def compute_unread_share(diagnosis: Diagnosis, layer: MeasuredLayer) -> float | None:
    """Return the share that the gates of a layer keep of the state before padding.

    It is `None` if this share is large enough, or if the layer has no gates or no padding.
    """
    padding = diagnosis.probe(RecurrenceProbe).padding
    if layer not in gates(diagnosis) or layer.layer not in padding:
        return None
    share = gates(diagnosis)[layer].kept ** padding[layer.layer].steps
    return share if share < UNREAD else None
