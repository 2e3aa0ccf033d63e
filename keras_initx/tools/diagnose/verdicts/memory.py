"""Memory: recurrent layers that lose the steps that they have read."""

from collections.abc import Iterator

import keras

from keras_initx._checks import summarize_names
from keras_initx._typing import InitializerLike
from keras_initx.initializers._gates import lstm_gates, overwrites_forget_bias
from keras_initx.initializers._recurrent import LSTMForgetBias
from keras_initx.inspection._batch import to_array
from keras_initx.tools.diagnose._diagnosis import Diagnosis
from keras_initx.tools.diagnose._measured_layers import MeasuredLayer, MeasuredWeight
from keras_initx.tools.diagnose._recurrence import (
    RECURRENT_GAIN,
    RecurrenceProbe,
    compute_unread_share,
    gates,
    list_cells,
    recurrent_kernels,
)
from keras_initx.tools.diagnose._remedies import (
    propose_open_gates,
    propose_orthogonal_recurrence,
)
from keras_initx.tools.diagnose._remedy import Remedy
from keras_initx.tools.diagnose._rules import (
    Finding,
    list_titles,
    rule,
    write_count,
)

# The number of steps over which a recurrent layer should have a memory.
REMEMBERED = 10

# Share of the state that forget or update gates keep in a step, below which they are shut.
SHUT_GATE = 0.05


@rule("memory", probes=[RecurrenceProbe])
def memory(diagnosis: Diagnosis, layers: list[MeasuredLayer]) -> Iterator[Finding]:
    """Report recurrent layers that lose the steps that they have read.

    Reported if:
        - The biases of the forget gates of an LSTM, or of the update gates of a GRU, keep less than
          {SHUT_GATE:g} of the state in a step.
        - An LSTM or a GRU returns only its last state, and half of the examples end in equal steps
          without a mask. Over these steps, its gates keep less than {UNREAD:g} of the steps before.
        - An LSTM overwrites the forget bias of its initializer with ones.
        - A `SimpleRNN` runs over {REMEMBERED} steps or more. All singular values of its recurrent
          kernel are below 1 / {RECURRENT_GAIN:g}, or their geometric mean is above
          {RECURRENT_GAIN:g}.
        - Such a `SimpleRNN` returns only its last state, and its kernel keeps less than {UNREAD:g}
          of the state over half of the steps.

    Level:
        warning

    Why:
        - A bias of 0 keeps half of a state in a step. A bias of -3 keeps 0.05, and after three
          steps 0.0001. Then the layer has no memory, and no gradient through time (Gers and others,
          2000).
        - A recurrent kernel of 0.5 leaves a thousandth after ten steps. A kernel of 3 drives tanh
          to its limits (Saxe and others, 2014).
        - After much padding, all examples leave the same state.

    Typical causes:
        - a negative bias initializer
        - `unit_forget_bias=True`, the default, which overwrites a bias initializer
        - sequences that you pad at the end, without a mask
        - a recurrent initializer of another scale than `Orthogonal`

    Fix:
        - For an LSTM, use `LSTMForgetBias` with `unit_forget_bias=False`.
        - For a GRU, use `GRUUpdateBias`.
        - For a recurrent kernel, use `Orthogonal`.
        - For padding, set `mask_zero=True`, or pad in front.
    """
    yield from _report_overwritten_bias(diagnosis, layers)
    yield from _report_shut_gates(diagnosis, layers)
    yield from _report_unread_steps(diagnosis, layers)
    yield from _report_recurrent_kernels(diagnosis, layers)


def _report_overwritten_bias(
    diagnosis: Diagnosis, layers: list[MeasuredLayer]
) -> Iterator[Finding]:
    hit = []
    for layer in layers:
        if any(map(_is_overwritten, list_cells(layer.layer))):
            hit.append(layer)
    if not hit:
        return
    evidence = (
        f"the forget-gate bias of {summarize_names(list_titles(hit))} is 1, because "
        "`unit_forget_bias=True` overwrites it. The bias initializer fills only the other gates"
    )
    remedy = propose_open_gates(diagnosis, hit)
    rules: dict[str, InitializerLike] = dict.fromkeys(remedy.rules, LSTMForgetBias(2.0))
    longer = Remedy("use 2.0 for a longer memory", rules)
    yield Finding(hit, evidence, remedy.otherwise(longer))


def _is_overwritten(cell: keras.Layer) -> bool:
    """Return whether an LSTM overwrites the forget-gate bias of its initializer with ones.

    The initializer then fills only the other three gates. Zeros there are the default of the layer,
    and with ones there the initializer would give the forget gate ones, too.
    """
    bias = getattr(cell, "bias", None)
    if bias is None or not overwrites_forget_bias(cell):
        return False
    biases = lstm_gates(to_array(bias))
    forget = biases[1]
    others = biases[[0, 2, 3]]
    return bool((forget == 1).all() and not (others == 0).all() and not (others == 1).all())


def _report_shut_gates(diagnosis: Diagnosis, layers: list[MeasuredLayer]) -> Iterator[Finding]:
    by_layer = gates(diagnosis)
    hit = [layer for layer in layers if layer in by_layer and by_layer[layer].kept < SHUT_GATE]
    if not hit:
        return
    gate = by_layer[hit[0]]
    evidence = (
        f"the biases of the {gate.gate} gates of {hit[0].title} keep {gate.kept:.1%} of the state "
        "in a step. After a few steps, almost nothing is left"
    )
    yield Finding(hit, evidence, propose_open_gates(diagnosis, hit))


def _report_unread_steps(diagnosis: Diagnosis, layers: list[MeasuredLayer]) -> Iterator[Finding]:
    probe = diagnosis.probe(RecurrenceProbe)
    for layer in layers:
        share = compute_unread_share(diagnosis, layer)
        if share is None:
            continue
        gate = gates(diagnosis)[layer]
        # Gates that are shut read nothing, with or without padding.
        if gate.kept < SHUT_GATE:
            continue
        padding, path = probe.padding[layer.layer]
        evidence = (
            f"half of the examples end in {padding} or more equal steps, of "
            f"{probe.steps[layer.layer]}. {layer.title} reads these steps without a mask, and its "
            f"{gate.gate} gates keep {share:.1g} of the steps before"
        )
        remedy = Remedy("pad sequences in front, not at the end")
        if path is not None:
            remedy = Remedy(f"set mask_zero=True in {path}").otherwise(remedy)
        yield Finding([layer], evidence, remedy)


def _report_recurrent_kernels(
    diagnosis: Diagnosis, layers: list[MeasuredLayer]
) -> Iterator[Finding]:
    hit = []
    all_steps = diagnosis.probe(RecurrenceProbe).steps
    for layer in layers:
        kernel = recurrent_kernels(diagnosis).get(layer)
        if kernel is None or all_steps.get(layer.layer, 0) < REMEMBERED:
            continue
        # Zeros are *equal units*.
        is_small = 0 < kernel.largest < 1 / RECURRENT_GAIN
        if is_small or kernel.forgets or kernel.grows:
            hit.append(layer)
    if not hit:
        return
    first, kernel = hit[0], recurrent_kernels(diagnosis)[hit[0]]
    if kernel.forgets:
        steps = all_steps[first.layer]
        evidence = (
            f"the recurrent kernel of {first.title} leaves {kernel.kept:.1g} of a state, and of "
            f"its gradient, after {steps // 2} of {steps} steps. The first half has almost "
            "no effect"
        )
    elif kernel.grows:
        evidence = (
            f"the singular values of the recurrent kernel of {first.title} have a geometric mean "
            f"of {kernel.mean:.3g}. In {REMEMBERED} steps, a small state grows by a factor of "
            f"{kernel.mean**REMEMBERED:.1g}"
        )
    else:
        evidence = (
            f"the singular values of the recurrent kernel of {first.title} are at most "
            f"{kernel.largest:.3g}. After {REMEMBERED} steps, at most "
            f"{kernel.largest**REMEMBERED:.1g} of a state and of its gradient is left"
        )
    kernels: list[MeasuredWeight] = []
    for layer in hit:
        kernels += layer.recurrent_kernels
    yield Finding(hit, evidence + write_count(hit), propose_orthogonal_recurrence(kernels))
