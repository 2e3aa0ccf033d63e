"""Memory: recurrent layers that do not keep what they have read."""

from collections.abc import Iterator

import keras

from keras_initx._checks import summarize_names
from keras_initx._typing import InitializerLike
from keras_initx.initializers._gates import lstm_gates, overwrites_forget_bias
from keras_initx.initializers._recurrent import LSTMForgetBias
from keras_initx.inspection._batch import to_array
from keras_initx.report._text import format_number
from keras_initx.tools.diagnose._diagnosis import Diagnosis
from keras_initx.tools.diagnose._recurrence import (
    RECURRENT_GAIN,
    RecurrenceProbe,
    cells_of,
    gates,
    recurrent_kernels,
    unread_share,
)
from keras_initx.tools.diagnose._remedy import Remedy
from keras_initx.tools.diagnose._rules import Finding, LayerColumn, layer_count, rule, titles_of
from keras_initx.tools.diagnose._seen import SeenLayer, SeenWeight
from keras_initx.tools.diagnose.remedies.recurrence import open_gates, orthogonal_recurrence

# The number of steps over which a recurrent layer should have a memory.
REMEMBERED = 10

# Share of the state that forget or update gates keep in a step, below which they are shut.
SHUT_GATE = 0.05


def gate_bias(of: Diagnosis, layer: SeenLayer) -> str | None:
    """Return the name of the gate of a layer, and the range of its bias, `None` without any."""
    if layer not in gates(of):
        return None
    gate, bias, _ = gates(of)[layer]
    low, high = format_number(bias.min()), format_number(bias.max())
    return f"{gate} {low}" if low == high else f"{gate} {low}...{high}"


@rule(
    "memory",
    probes=[RecurrenceProbe],
    columns=[LayerColumn("gate bias", "bias of the forget or update gates", gate_bias)],
)
def memory(of: Diagnosis, layers: list[SeenLayer]) -> Iterator[Finding]:
    """Report recurrent layers that do not keep what they have read.

    Finds:
        an LSTM whose forget gates, or a GRU whose update gates, keep less than {SHUT_GATE:g} of the
        state in a step, by their biases; one that gives its last state alone, and reads so many
        equal steps at the end of half of the examples, without a mask, that its gates keep less
        than {UNREAD:g} of what comes before; an LSTM that overwrites the forget bias of its
        initializer with ones. A recurrent layer without gates, over {REMEMBERED} steps or more,
        whose recurrent kernel has singular values that are all below 1 / {RECURRENT_GAIN:g}, or
        above {RECURRENT_GAIN:g} in their geometric mean; or one that gives its last state alone, of
        whose state the kernel keeps less than {UNREAD:g} over half of the steps

    Why:
        a bias of 0 keeps half of a state in a step, one of -3 keeps 0.05, of which 0.0001 is left
        after three steps: there is no memory, and no gradient through time (Gers and others, 2000).
        A kernel of 0.5 leaves a thousandth after ten; one of 3 drives tanh to its limits (Saxe and
        others, 2014). After padding all examples leave the same state. `unit_forget_bias=True`
        overwrites a bias initializer

    Level:
        warning

    Remedy:
        `LSTMForgetBias` with `unit_forget_bias=False`, `GRUUpdateBias`; `Orthogonal` for the
        recurrent kernel; `mask_zero=True`, or padding in front
    """
    yield from _overwritten_bias(of, layers)
    yield from _shut_gates(of, layers)
    yield from _unread_words(of, layers)
    yield from _recurrent_kernel(of, layers)


def _overwritten_bias(of: Diagnosis, layers: list[SeenLayer]) -> Iterator[Finding]:
    hit = []
    for layer in layers:
        if any(map(_is_overwritten, cells_of(layer.layer))):
            hit.append(layer)
    if not hit:
        return
    evidence = (
        f"{summarize_names(titles_of(hit))}: the bias initializer fills the other gates, but the "
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
    of_gates = lstm_gates(to_array(bias))
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


def _unread_words(of: Diagnosis, layers: list[SeenLayer]) -> Iterator[Finding]:
    probe = of.probe(RecurrenceProbe)
    for layer in layers:
        share = unread_share(of, layer)
        # Gates that are shut read nothing, with or without padding.
        if share is None or gates(of)[layer].kept < SHUT_GATE:
            continue
        padding, path = probe.padding[layer.layer]
        of_layer = gates(of)[layer]
        evidence = (
            f"half of the examples end in {padding} or more equal steps, of "
            f"{probe.steps[layer.layer]}, which {layer.title} reads without a mask: its "
            f"{of_layer.gate} gates keep {share:.1g} of what comes before"
        )
        remedy = Remedy("padding in front of the sequences, not behind")
        if path is not None:
            remedy = Remedy(f"mask_zero=True in {path}").otherwise(remedy)
        yield Finding([layer], evidence, remedy)


def _recurrent_kernel(of: Diagnosis, layers: list[SeenLayer]) -> Iterator[Finding]:
    hit = []
    all_steps = of.probe(RecurrenceProbe).steps
    for layer in layers:
        kernel = recurrent_kernels(of).get(layer)
        if kernel is None or all_steps.get(layer.layer, 0) < REMEMBERED:
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
            f"in their geometric mean: in {REMEMBERED} steps a small state grows by a factor of "
            f"{kernel.mean**REMEMBERED:.1g}"
        )
    else:
        evidence = (
            f"the singular values of the recurrent kernel of {first.title} are at most "
            f"{kernel.largest:.3g}: of a state, and of its gradient, at most "
            f"{kernel.largest**REMEMBERED:.1g} is left after {REMEMBERED} steps"
        )
    drawn_anew: list[SeenWeight] = []
    for layer in hit:
        drawn_anew += layer.recurrent_kernels
    yield Finding(hit, evidence + layer_count(hit), orthogonal_recurrence(drawn_anew))
