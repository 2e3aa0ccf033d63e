"""Recurrent layers: what their gates, or their recurrent kernels, keep of a state."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple, TypeAlias

import keras
import numpy as np

from keras_initx._checks import first_of
from keras_initx._typing import Array, InitializerLike, Tensor
from keras_initx.diagnostics._diagnosis import Diagnosis, Probe, fact
from keras_initx.diagnostics._drawn_anew import choice, drawn
from keras_initx.diagnostics._first_inputs import COMPARED
from keras_initx.diagnostics._remedy import Remedy
from keras_initx.diagnostics._rules import (
    Finding,
    LayerColumn,
    exceeds,
    layer_count,
    rule,
    titles_of,
)
from keras_initx.diagnostics._seen import SeenLayer, SeenWeight, seen_layers, seen_weights
from keras_initx.initializers._gates import (
    gru_gates,
    is_gru,
    is_lstm,
    lstm_gates,
    overwrites_forget_bias,
    units_of,
)
from keras_initx.initializers._orthogonal import Orthogonal
from keras_initx.initializers._recurrent import GRUUpdateBias, LSTMForgetBias
from keras_initx.rendering._text import short_number
from keras_initx.structure._batch import array_of, first_float
from keras_initx.structure._names import parts_of
from keras_initx.structure._watch import Call

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

_GateName: TypeAlias = Literal["forget", "update"]


# ---------------------------------------------------------------- what is measured


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
        cells = [(_gate_of(cell), cell) for cell in _cells_of(layer.layer)]
        biases = [(gate, _gate_bias(gate, cell), cell) for gate, cell in cells if gate is not None]
        if not biases:
            continue
        gate, least, _ = min(biases, key=lambda one: _kept_share(one[1]))
        of_gate = [cell.bias for other, _, cell in biases if other == gate]
        weights = [seen_weights(of)[id(bias)] for bias in of_gate if bias is not None]
        found[layer] = Gates(gate, least, weights)
    return found


def _cells_of(layer: keras.Layer) -> list[keras.Layer]:
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
        return np.zeros(units_of(cell) or 0, "float32")
    if gate == "update":
        return np.asarray(gru_gates(array_of(bias))[0])
    return np.asarray(lstm_gates(array_of(bias))[1])


def _kept_share(bias: Array) -> float:
    with np.errstate(over="ignore"):
        return float(np.mean(1 / (1 + np.exp(-bias))))


def gate_bias(of: Diagnosis, layer: SeenLayer) -> str | None:
    """Return the name of the gate of a layer, and the range of its bias, `None` without any."""
    if layer not in gates(of):
        return None
    gate, bias, _ = gates(of)[layer]
    low, high = short_number(bias.min()), short_number(bias.max())
    return f"{gate} {low}" if low == high else f"{gate} {low}...{high}"


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
    cells = _cells_of(layer)
    if len(cells) != 1 or not isinstance(cells[0], keras.layers.SimpleRNNCell):
        return None
    kernel = array_of(cells[0].recurrent_kernel)
    if len(kernel) > _FACTORIZED or not np.isfinite(kernel).all():
        return None
    return kernel


# ---------------------------------------------------------------- the rule


@rule(
    "memory",
    probes=[RecurrenceProbe],
    columns=[LayerColumn("gate bias", "bias of the forget or update gates", gate_bias)],
    levels={"warning": ""},
    finds="an LSTM whose forget gates, or a GRU whose update gates, keep less than "
    f"{SHUT_GATE:g} of the state in a step, by their biases; one that gives its last state alone, "
    "and reads so many equal steps at the end of half of the examples, without a mask, that its "
    f"gates keep less than {UNREAD:g} of what comes before; an LSTM that overwrites the forget "
    "bias of its initializer with ones. A recurrent layer without gates, over ten steps or more, "
    "whose recurrent kernel has singular values that are all below "
    f"1 / {RECURRENT_GAIN:g}, or above {RECURRENT_GAIN:g} in their geometric mean; or one that "
    f"gives its last state alone, of whose state the kernel keeps less than {UNREAD:g} over half "
    "of the steps",
    reason="a bias of 0 keeps half of a state in a step, one of -3 keeps 0.05, of which 0.0001 is "
    "left after three steps: there is no memory, and no gradient through time (Gers and others, "
    "2000). A kernel of 0.5 leaves a thousandth after ten; one of 3 drives tanh to its limits "
    "(Saxe and others, 2014). After padding all examples leave the same state. "
    "`unit_forget_bias=True` overwrites a bias initializer",
    remedy="`LSTMForgetBias` with `unit_forget_bias=False`, `GRUUpdateBias`; `Orthogonal` for the "
    "recurrent kernel; `mask_zero=True`, or padding in front",
)
def memory(of: Diagnosis, layers: list[SeenLayer]) -> Iterator[Finding]:
    yield from _overwritten_bias(of, layers)
    yield from _shut_gates(of, layers)
    yield from _unread_words(of, layers)
    yield from _recurrent_kernel(of, layers)


def _overwritten_bias(of: Diagnosis, layers: list[SeenLayer]) -> Iterator[Finding]:
    hit = []
    for layer in layers:
        if any(map(_is_overwritten, _cells_of(layer.layer))):
            hit.append(layer)
    if not hit:
        return
    evidence = (
        f"{first_of(titles_of(hit))}: the bias initializer fills the other gates, but the "
        "forget-gate bias is 1, because `unit_forget_bias=True` overwrites it"
    )
    remedy = open_gates(of, hit)
    rules: dict[str, InitializerLike] = dict.fromkeys(remedy.rules, LSTMForgetBias(2.0))
    longer = Remedy("2.0 for a longer memory", rules)
    yield Finding(hit, evidence, remedy.otherwise(longer))


def _is_overwritten(cell: keras.Layer) -> bool:
    """Return whether an LSTM overwrites the forget-gate bias of its initializer with ones.

    The initializer then fills only the other three gates. If these are all 0, it agrees with the
    default of the layer; if they are all 1, the forget gates have the value that it would have
    given them.
    """
    bias = getattr(cell, "bias", None)
    if bias is None or not overwrites_forget_bias(cell):
        return False
    of_gates = lstm_gates(array_of(bias))
    forget = of_gates[1]
    others = of_gates[[0, 2, 3]]
    return bool((forget == 1).all() and not (others == 0).all() and not (others == 1).all())


def _shut_gates(of: Diagnosis, layers: list[SeenLayer]) -> Iterator[Finding]:
    known = gates(of)
    hit = [layer for layer in layers if layer in known and known[layer].kept < SHUT_GATE]
    if not hit:
        return
    first, of_first = hit[0], known[hit[0]]
    evidence = (
        f"the biases of the {of_first.gate} gates of {first.title} keep {of_first.kept:.1%} of the "
        "state in a step"
    )
    yield Finding(hit, evidence, open_gates(of, hit))


def open_gates(of: Diagnosis, layers: Sequence[SeenLayer]) -> Remedy:
    """Return a remedy that opens the gates of `layers`, with the text for those of the first."""
    opened = []
    rules: dict[str, InitializerLike] = {}
    for layer in layers:
        gate, _, biases = gates(of)[layer]
        if gate == "update":
            initializer = choice(GRUUpdateBias(1.0), 1.0)
            before = "bias_initializer="
        else:
            initializer = choice(LSTMForgetBias(1.0), 1.0)
            before = "unit_forget_bias=False with bias_initializer="
        remedy = drawn([initializer], biases, before)
        opened.append(remedy)
        rules.update(remedy.rules)
    return replace(opened[0], rules=rules)


def _unread_words(of: Diagnosis, layers: list[SeenLayer]) -> Iterator[Finding]:
    probe = of.probe(RecurrenceProbe)
    for layer in layers:
        if layer not in gates(of) or layer.layer not in probe.padding:
            continue
        padding, path = probe.padding[layer.layer]
        of_layer = gates(of)[layer]
        share = of_layer.kept**padding
        if not share < UNREAD:
            continue
        evidence = (
            f"half of the examples end in {padding} or more equal steps, of "
            f"{probe.steps[layer.layer]}, which {layer.title} reads without a mask: its "
            f"{of_layer.gate} gates keep {share:.1g} of what comes before"
        )
        remedy = Remedy("padding in front of the sequences, not behind")
        if path is not None:
            remedy = Remedy(f"mask_zero=True in {path}").otherwise(remedy)
        yield Finding([layer], evidence, remedy)


def are_unread(of: Diagnosis, layers: list[SeenLayer]) -> bool:
    """Return whether padding makes a recurrent layer forget what comes before."""
    return any(_unread_words(of, layers))


def _recurrent_kernel(of: Diagnosis, layers: list[SeenLayer]) -> Iterator[Finding]:
    hit = []
    all_steps = of.probe(RecurrenceProbe).steps
    for layer in layers:
        kernel = recurrent_kernels(of).get(layer)
        if kernel is None or all_steps.get(layer.layer, 0) < _STEPS:
            continue
        # Zeros have their own verdict.
        is_small = 0 < kernel.largest < 1 / RECURRENT_GAIN
        if is_small or kernel.forgets or kernel.grows:
            hit.append(layer)
    if not hit:
        return
    first, kernel = hit[0], recurrent_kernels(of)[hit[0]]
    if kernel.forgets:
        steps = all_steps[first.layer]
        evidence = (
            f"the recurrent kernel of {first.title} leaves {kernel.kept:.1g} of a state, and of "
            f"its gradient, after {steps // 2} of {steps} steps: the first half is not read"
        )
    elif kernel.grows:
        evidence = (
            f"the singular values of the recurrent kernel of {first.title} are {kernel.mean:.3g} "
            f"in their geometric mean: in {_STEPS} steps a small state grows by a factor of "
            f"{kernel.mean**_STEPS:.1g}"
        )
    else:
        evidence = (
            f"the singular values of the recurrent kernel of {first.title} are at most "
            f"{kernel.largest:.3g}: of a state, and of its gradient, at most "
            f"{kernel.largest**_STEPS:.1g} is left after {_STEPS} steps"
        )
    drawn_anew: list[SeenWeight] = []
    for layer in hit:
        drawn_anew += layer.recurrent_kernels
    yield Finding(hit, evidence + layer_count(hit), orthogonal_recurrence(drawn_anew))


def growing_kernels(layers: Iterable[SeenLayer], limit: float = RECURRENT_GAIN) -> list[SeenWeight]:
    """Return the recurrent kernels of layers that make a state larger in each step."""
    found: list[SeenWeight] = []
    for layer in layers:
        for kernel in layer.recurrent_kernels:
            if exceeds(kernel.report.gain, limit):
                found.append(kernel)
    return found


def orthogonal_recurrence(kernels: Iterable[SeenWeight]) -> Remedy:
    """Return a remedy that draws recurrent kernels anew, the part of each gate by itself."""
    rules: dict[str, InitializerLike] = {}
    texts = []
    for kernel in kernels:
        *_, units, size = kernel.own.shape
        initializer, text = choice(Orthogonal(blocks=size // units))
        rules[kernel.path] = initializer
        texts.append(text)
    return Remedy(f"recurrent_initializer={' and '.join(dict.fromkeys(texts))}", rules)
