"""Recurrent layers: what their gates, or their recurrent kernels, keep of a state."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
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
from keras_initx._typing import Array, InitializerLike, Tensor
from keras_initx.diagnostics._measurements import (
    LayerReport,
    Measurements,
    RecurrenceReport,
)
from keras_initx.diagnostics._remedy import Remedy, choice, drawn, rules_for, weights_named
from keras_initx.diagnostics._verdict import (
    Finding,
    layer_count,
    listed,
    names_of,
    rule,
)
from keras_initx.diagnostics.verdicts.inputs import COMPARED
from keras_initx.initializers import GRUUpdateBias, LSTMForgetBias, Orthogonal
from keras_initx.structure import Call, Probe, Watch, array_of, first_float, parts_of

# The most units of a recurrent kernel that is factorized.
_FACTORIZED = 1024
# The number of steps over which a recurrent layer should have a memory.
_STEPS = 10

# Share of the state that forget or update gates keep in a step, below which they are shut.
SHUT_GATE = 0.05
# Factor by which a recurrent kernel without gates makes a state larger in a step, or one over that
# by which it makes it smaller, above which there is no memory over ten steps.
RECURRENT_GAIN = 1.8
# Share of a state that gates keep, by their biases, over the padding behind the words of half of
# the examples, or a kernel without gates over half of the steps, below which what came before is
# not read.
UNREAD = 1e-6


class RecurrenceProbe(Probe):
    """Counts the steps of recurrent layers, and those of the padding at their ends.

    Args:
        watch: The watch of the pass.

    Attributes:
        steps: Dict from a layer to the number of steps of its inputs.
        padding: Dict from a layer that gives its last state alone, and reads to the end without a
            mask, to the number of equal steps at the end of half of the examples, and the name of
            the embedding in whose inputs they are 0, or `None`.
    """

    def __init__(self, watch: Watch) -> None:
        self.steps: dict[keras.Layer, int | None] = {}
        self.padding: dict[keras.Layer, tuple[int, str | None]] = {}
        self._watch = watch
        self._in_both_directions: set[keras.Layer] = set()
        # The last embedding, with its rows of indices.
        self._embedding: tuple[keras.Layer, Tensor] | None = None

    def before(self, call: Call) -> None:
        if isinstance(call.operation, keras.layers.Bidirectional):
            self._in_both_directions.update(parts_of(call.operation))

    def after(self, call: Call) -> None:
        layer = call.operation
        if isinstance(layer, keras.layers.Embedding) and len(call.inputs) == 1:
            indices = call.inputs[0]
            self._embedding = (layer, indices) if len(indices.shape) == 2 else None
        inputs = first_float(call.given)
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
            return _equal_at_end(array_of(inputs[:COMPARED])), None
        # A dropout in between makes equal steps different.
        embedding, given = self._embedding
        indices = array_of(given)
        index = int(np.median(indices[:, -1]))
        name = None if index else self._watch.layers.get(embedding, embedding.name)
        return _equal_at_end(indices), name

    def record(self, layer: keras.Layer, paths: Mapping[int, str]) -> RecurrenceReport | None:
        """Return the record of a layer, `None` if it is not recurrent.

        Args:
            layer: The layer.
            paths: Dict from the id of a variable to its path in the model.
        """
        cells = _cells_of(layer)
        padding, padded_by = self.padding.get(layer, (None, None))
        gate, bias = _gate_bias(cells)
        biases = [cell.bias for cell in cells if gate is not None and _gate_of(cell) == gate]
        record = RecurrenceReport(
            steps=self.steps.get(layer),
            gate=gate,
            gate_bias=bias,
            gate_paths=tuple(paths[id(one)] for one in biases if id(one) in paths),
            bias_overwritten=any(map(_is_overwritten, cells)),
            gains=_gains(cells),
            kept=self._kept(layer, cells),
            padding=padding,
            padded_by=padded_by,
        )
        if record.steps is None and gate is None and record.gains is None:
            return None
        return record

    def _kept(self, layer: keras.Layer, cells: Sequence[keras.Layer]) -> float | None:
        """Return what a kernel without gates leaves of a state after half of the steps.

        It is `None` for other layers, and for those that give more than their last state.
        """
        kernel = _kernel_without_gates(cells)
        steps = self.steps.get(layer)
        if kernel is None or steps is None or layer.return_sequences:
            return None
        with np.errstate(over="ignore", invalid="ignore"):
            power = np.linalg.matrix_power(kernel.astype("float64"), steps // 2)
            return float(np.sqrt(np.mean((power**2).sum(axis=0))))


def _equal_at_end(sequences: Array) -> int:
    """Return how many steps at the end of half of the sequences are equal."""
    steps = sequences.reshape(*sequences.shape[:2], -1)
    is_equal = (steps == steps[:, -1:]).all(axis=-1)
    counts = np.cumprod(is_equal[:, ::-1], axis=1).sum(axis=1)
    # Of constant sequences nothing is lost.
    return int(np.median(np.where(counts < steps.shape[1], counts, 0)))


def _cells_of(layer: keras.Layer) -> list[keras.Layer]:
    """Return the cells of a recurrent layer, those of a stack one by one."""
    cell = getattr(layer, "cell", None)
    if cell is None:
        return []
    return list(getattr(cell, "cells", [cell]))


def _gate_bias(
    cells: Iterable[keras.Layer],
) -> tuple[Literal["forget", "update"] | None, Array | None]:
    """Return the effective forget-gate bias of an LSTM, or update-gate bias of a GRU.

    Returns:
        A pair: `"forget"` or `"update"`, and an array with the bias of each unit. Both are `None`
        for other layers.
    """
    gate: Literal["forget", "update"] | None = None
    least: Array | None = None
    for cell in cells:
        of_cell = _gate_of(cell)
        if of_cell is None:
            continue
        of_gate: Array = np.zeros(units_of(cell) or 0, "float32")
        bias = _bias_of(cell)
        if bias is not None:
            of_gate = lstm_gates(bias)[1] if of_cell == "forget" else gru_gates(bias)[0]
        if least is None or _kept_share(of_gate) < _kept_share(least):
            gate, least = of_cell, of_gate
    return gate, least


def _gate_of(cell: keras.Layer) -> Literal["forget", "update"] | None:
    """Return the gate by which a cell keeps its state, `None` if it has none."""
    if is_lstm(cell):
        return "forget"
    if is_gru(cell):
        return "update"
    return None


def _kept_share(bias: Array) -> float:
    """Return the share of the state that gates with these biases keep, as a mean over units."""
    with np.errstate(over="ignore"):
        return float(np.mean(1 / (1 + np.exp(-bias))))


def _bias_of(cell: keras.Layer) -> Array | None:
    bias = getattr(cell, "bias", None)
    if bias is None:
        return None
    return array_of(bias)


def _is_overwritten(cell: keras.Layer) -> bool:
    """Return whether an LSTM overwrites the forget-gate bias of its initializer with ones.

    The initializer then fills only the other three gates. If these are all 0, it agrees with the
    default of the layer; if they are all 1, the forget gates have the value that it would have
    given them.
    """
    bias = _bias_of(cell)
    if bias is None or not overwrites_forget_bias(cell):
        return False
    gates = lstm_gates(bias)
    forget = gates[1]
    others = gates[[0, 2, 3]]
    return bool((forget == 1).all() and not (others == 0).all() and not (others == 1).all())


def _kernel_without_gates(cells: Sequence[keras.Layer]) -> Array | None:
    """Return the recurrent kernel of a layer without gates, `None` for others and large ones."""
    if len(cells) != 1 or not isinstance(cells[0], keras.layers.SimpleRNNCell):
        return None
    kernel = array_of(cells[0].recurrent_kernel)
    if len(kernel) > _FACTORIZED or not np.isfinite(kernel).all():
        return None
    return kernel


def _gains(cells: Sequence[keras.Layer]) -> tuple[float, float] | None:
    """Return the geometric mean and the largest of the singular values of a recurrent kernel.

    Returns:
        A pair of numbers, or `None` for layers with gates, which keep the state by themselves, for
        several cells, and for kernels whose factorization would take long.
    """
    kernel = _kernel_without_gates(cells)
    if kernel is None:
        return None
    values = np.linalg.svd(kernel, compute_uv=False)
    with np.errstate(divide="ignore"):
        return float(np.exp(np.log(values).mean())), float(values[0])


@rule(
    "forget bias overwritten",
    levels={"warning": ""},
    finds="an LSTM whose forget-gate bias is 1 although its bias initializer gives other values",
    reason="`unit_forget_bias=True` overwrites it, so memory has another length than intended",
    remedy="`LSTMForgetBias` and `unit_forget_bias=False`",
)
def forget_bias(measured: Measurements) -> Iterator[Finding]:
    hit = []
    for layer in measured.layers:
        if layer.recurrence is not None and layer.recurrence.bias_overwritten:
            hit.append(layer)
    if not hit:
        return
    evidence = (
        f"{listed(names_of(hit))}: the bias initializer fills the other gates, but the forget-gate "
        "bias is 1, because `unit_forget_bias=True` overwrites it"
    )
    remedy = open_gates(hit)
    longer = Remedy("2.0 for a longer memory", rules_for(remedy.rules, LSTMForgetBias(2.0)))
    yield Finding(hit, evidence, remedy.otherwise(longer))


@rule(
    "shut gates",
    levels={"warning": ""},
    finds="an LSTM whose forget gates, or a GRU whose update gates, keep less than "
    f"{SHUT_GATE:g} of the state in a step, by their biases",
    reason="a bias of 0 keeps half, one of -3 keeps 0.05, of which 0.0001 is left after three "
    "steps: there is no memory, and no gradient through time (Gers and others, 2000)",
    remedy="`LSTMForgetBias`, `GRUUpdateBias`",
)
def shut_gates(measured: Measurements) -> Iterator[Finding]:
    hit = []
    for layer in measured.layers:
        if layer.recurrence is None or layer.recurrence.gate_bias is None:
            continue
        share = _kept_share(layer.recurrence.gate_bias)
        if share < SHUT_GATE:
            hit.append((layer, layer.recurrence.gate, share))
    if not hit:
        return
    first, gate, share = hit[0]
    layers = [layer for layer, _, _ in hit]
    evidence = (
        f"the biases of the {gate} gates of {first.name} keep {share:.1%} of the state in a step"
    )
    yield Finding(layers, evidence, open_gates(layers))


def open_gates(layers: Sequence[LayerReport]) -> Remedy:
    """Return a remedy that opens the gates of `layers`, with the text for those of the first."""
    opened = []
    rules: dict[str, InitializerLike] = {}
    for layer in layers:
        recurrence = layer.recurrence or RecurrenceReport()
        if recurrence.gate == "update":
            initializer = choice(GRUUpdateBias(1.0), 1.0)
            before = "bias_initializer="
        else:
            initializer = choice(LSTMForgetBias(1.0), 1.0)
            before = "unit_forget_bias=False with bias_initializer="
        remedy = drawn([initializer], recurrence.gate_paths, before)
        opened.append(remedy)
        rules.update(remedy.rules)
    return replace(opened[0], rules=rules)


@rule(
    "unread words",
    levels={"warning": ""},
    finds="an LSTM or a GRU that gives its last state alone, and reads so many equal steps at the "
    f"end of half of the examples, without a mask, that its gates keep less than {UNREAD:g} of "
    "what comes before, by their biases",
    reason="after padding all examples leave the same state, so that the outputs are alike and no "
    "gradient reaches the words",
    remedy="`mask_zero=True`, or padding in front",
)
def unread_words(measured: Measurements) -> Iterator[Finding]:
    for layer in measured.layers:
        recurrence = layer.recurrence
        if recurrence is None or recurrence.padding is None or recurrence.gate_bias is None:
            continue
        share = _kept_share(recurrence.gate_bias) ** recurrence.padding
        if not share < UNREAD:
            continue
        evidence = (
            f"half of the examples end in {recurrence.padding} or more equal steps, of "
            f"{recurrence.steps}, which {layer.name} reads without a mask: its {recurrence.gate} "
            f"gates keep {share:.1g} of what comes before"
        )
        remedy = Remedy("padding in front of the sequences, not behind")
        if recurrence.padded_by is not None:
            remedy = Remedy(f"mask_zero=True in {recurrence.padded_by}").otherwise(remedy)
        yield Finding([layer], evidence, remedy)


def are_unread(measured: Measurements) -> bool:
    """Return whether padding makes a recurrent layer forget what comes before."""
    return any(unread_words.verdicts(measured))


@rule(
    "recurrent kernel",
    levels={"warning": ""},
    finds="a recurrent layer without gates, over ten steps or more, whose recurrent kernel has "
    f"singular values that are all below 1 / {RECURRENT_GAIN:g}, or above {RECURRENT_GAIN:g} in "
    "their geometric mean; or one that gives its last state alone, of whose state the kernel keeps "
    f"less than {UNREAD:g} over half of the steps",
    reason="a kernel of 0.5 leaves a thousandth of a state, and of its gradient, after ten steps; "
    "one of 3 drives tanh to its limits, and what is not at them grows (Saxe and others, 2014)",
    remedy="`Orthogonal` for the recurrent kernel",
)
def recurrent_kernel(measured: Measurements) -> Iterator[Finding]:
    limit = RECURRENT_GAIN
    hit = []
    for layer in measured.layers:
        if layer.recurrence is None or layer.recurrence.gains is None:
            continue
        if (layer.recurrence.steps or 0) < _STEPS:
            continue
        _, largest = layer.recurrence.gains
        # Zeros have their own verdict.
        is_small = 0 < largest < 1 / limit
        if is_small or _forgets(layer.recurrence) or has_growing_state(layer):
            hit.append((layer, layer.recurrence))
    if not hit:
        return
    first, recurrence = hit[0]
    layers = [layer for layer, _ in hit]
    mean, largest = recurrence.gains or (0.0, 0.0)
    if _forgets(recurrence):
        steps = recurrence.steps or 0
        evidence = (
            f"the recurrent kernel of {first.name} leaves {recurrence.kept:.1g} of a state, and of "
            f"its gradient, after {steps // 2} of {steps} steps: the first half is not read"
        )
    elif mean > limit:
        evidence = (
            f"the singular values of the recurrent kernel of {first.name} are {mean:.3g} in their "
            f"geometric mean: in {_STEPS} steps a small state grows by a factor of "
            f"{mean**_STEPS:.1g}"
        )
    else:
        evidence = (
            f"the singular values of the recurrent kernel of {first.name} are at most "
            f"{largest:.3g}: of a state, and of its gradient, at most {largest**_STEPS:.1g} is "
            f"left after {_STEPS} steps"
        )
    yield Finding(layers, evidence + layer_count(layers), orthogonal_recurrence(layers))


def _forgets(recurrence: RecurrenceReport) -> bool:
    """Return whether nothing is left of the first half of the steps, other than by zeros."""
    _, largest = recurrence.gains or (0.0, 0.0)
    if recurrence.kept is None or not largest:
        return False
    return recurrence.kept < UNREAD


def has_growing_state(layer: LayerReport) -> bool:
    """Return whether the recurrent kernel of `layer` makes a state larger in each step."""
    if layer.recurrence is None or layer.recurrence.gains is None:
        return False
    mean, _ = layer.recurrence.gains
    return mean > RECURRENT_GAIN


def orthogonal_recurrence(layers: Iterable[LayerReport]) -> Remedy:
    """Return a remedy that draws the recurrent kernels of `layers` anew."""
    weights = weights_named("recurrent_kernel", layers)
    return drawn([choice(Orthogonal())], weights, "recurrent_initializer=")
