"""Examples that the model cannot tell apart: by its inputs, or by those of its last layer."""

import math
from collections.abc import Iterator

import keras

from keras_initx.diagnostics._attention import AttentionProbe
from keras_initx.diagnostics._diagnosis import Arrays, Diagnosis, fact
from keras_initx.diagnostics._first_inputs import (
    COMPARED,
    InputProbe,
    differences,
    last_differences,
)
from keras_initx.diagnostics._held_back import held_back
from keras_initx.diagnostics._lost_signals import lost_signals
from keras_initx.diagnostics._remedy import Remedy
from keras_initx.diagnostics._rules import Finding, layer_count, rule
from keras_initx.diagnostics._seen import SeenLayer, layers_until, weights_of
from keras_initx.diagnostics._signal import LEAST_VALUES, Signal
from keras_initx.diagnostics._signal_probe import inputs, targets
from keras_initx.diagnostics._single_values import has_single_values
from keras_initx.diagnostics.losses.probes import LossProbe
from keras_initx.diagnostics.remedies.in_depth import remedy_in_depth
from keras_initx.diagnostics.verdicts.memory import are_unread
from keras_initx.structure._batch import array_of, tensors_in

# Standard deviation between examples of the inputs of the last layer, relative to their root mean
# square, below which they have become alike.
INPUTS_DIFFER = 0.01


@rule(
    "alike",
    levels={
        "error": "if the inputs are all the same number, or the same for all",
        "note": "if an operation of the model makes zeros",
        "warning": "",
    },
    finds="inputs that are all the same number, or the same for all examples, though the targets "
    "differ; among several inputs zeros before a kernel, or one index for an embedding of 16 rows "
    f"or more; or a last layer whose inputs differ between examples by at most {INPUTS_DIFFER:g} "
    "of their size, if those of the first do by ten times as much",
    reason="the model cannot tell examples apart: it can learn the mean of the targets, no more. "
    "Pixels are all 0 after a division of integers. ReLU makes examples alike with depth (Cho and "
    "Saul, 2009), and so do sigmoids, or biases beside small kernels",
    remedy="other inputs; `Orthogonal` with biases of zeros",
)
def alike(of: Diagnosis, layers: list[SeenLayer]) -> Iterator[Finding]:
    if not _are_constant(of):
        found = [*_of_zeros(of, layers), *_of_one_index(of, layers)]
        yield from found or _of_last_layer(of, layers)
        return
    signal = inputs(of) or Signal()
    evidence = "all examples have the same inputs"
    if signal.size and not signal.std:
        evidence = f"all {signal.size} values of the inputs are {signal.mean:.3g}"
    evidence += ", but the targets differ"
    yield Finding([], evidence, Remedy("inputs that differ between examples"), "error")


def _are_constant(of: Diagnosis) -> bool:
    """Return whether all inputs are the same number, or of all examples, though targets differ."""
    if not _have_different_targets(of):
        return False
    if _are_repeated(of):
        return True
    signal = inputs(of)
    if signal is None or signal.std > 0 or signal.size < LEAST_VALUES:
        return False
    # A model may get integers beside them.
    records = of.probe(InputProbe).records.values()
    firsts = [record.signal for record in records if record.signal.size]
    return bool(firsts) and not any(first.std > 0 or first.nonfinite for first in firsts)


@fact
def _have_different_targets(of: Diagnosis) -> bool:
    """Whether the targets differ."""
    if any(ends.wanted.std > 0 for ends in of.probe(LossProbe).ends):
        return True
    signal = targets(of)
    return signal is not None and signal.std > 0


def _are_repeated(of: Diagnosis) -> bool:
    """Return whether all examples have the same inputs."""
    tensors = tensors_in(of.x)
    for tensor in tensors:
        # Strings are not compared.
        if keras.backend.standardize_dtype(tensor.dtype) == "string":
            return False
        values = array_of(tensor[:COMPARED])
        if len(values) < 2 or (values != values[:1]).any():
            return False
    return bool(tensors)


def _of_zeros(of: Diagnosis, layers: list[SeenLayer]) -> Iterator[Finding]:
    """Yield the finding on layers that get zeros alone from outside the model."""
    # A normalization over a single value, which makes zeros, has its own verdict.
    if has_single_values(of) or not _have_different_targets(of):
        return
    hit = []
    for layer in layers:
        signal = layer.first_inputs.signal
        is_zero = signal.min == signal.max == 0 and not signal.nonfinite
        if is_zero and signal.size >= LEAST_VALUES:
            hit.append(layer)
    if not hit:
        return
    title = hit[0].title
    if not _have_zeros(of.x) and _others_get_numbers(of):
        evidence = f"all inputs of {title} are 0{layer_count(hit)}: an operation of the model makes"
        text = "none, if they are meant, as queries that begin at 0"
        yield Finding(hit, f"{evidence} them", Remedy(text), "note")
        return
    evidence = (
        f"all inputs of {title} from outside the model are 0{layer_count(hit)}: its kernel gets no "
        "gradient, and what follows the same for all examples"
    )
    text = (
        f"numbers that differ between examples as inputs of {title}: for a decoder the targets of "
        "the step before"
    )
    yield Finding(hit, evidence, Remedy(text))


def _have_zeros(x: Arrays) -> bool:
    """Return whether one of the inputs of the model is 0 everywhere."""
    for tensor in tensors_in(x):
        is_string = keras.backend.standardize_dtype(tensor.dtype) == "string"
        if not is_string and not array_of(tensor).any():
            return True
    return False


def _others_get_numbers(of: Diagnosis) -> bool:
    """Return whether the inputs of a first kernel differ."""
    records = of.probe(InputProbe).records.values()
    return any(record.signal.std > 0 or record.signal.nonfinite for record in records)


def _of_one_index(of: Diagnosis, layers: list[SeenLayer]) -> Iterator[Finding]:
    """Yield the finding on embeddings of which all examples take the same row."""
    hit = [layer for layer in layers if layer.first_inputs.only_index is not None]
    if not hit or not _have_different_targets(of):
        return
    first, index = hit[0], hit[0].first_inputs.only_index
    evidence = (
        f"all indices that {first.title} gets are {index}{layer_count(hit)}: what follows is the "
        "same for all examples"
    )
    remedy = Remedy(f"the indices of each example as inputs of {first.title}")
    yield Finding(hit, evidence, remedy)


def _of_last_layer(of: Diagnosis, layers: list[SeenLayer]) -> Iterator[Finding]:
    """Yield the finding on a last layer that gets almost the same of all examples."""
    at_the_start, at_the_end = differences(of), last_differences(of)
    differing = [layer for layer in layers if layer.layer in at_the_start]
    hit = []
    for layer in layers:
        # Not NaN.
        are_alike = at_the_end.get(layer.layer, math.inf) <= INPUTS_DIFFER
        if layer.makes_output and are_alike:
            hit.append(layer)
    # Of indices it is not known how much they differ.
    if not hit or not differing:
        return
    first, last = differing[0], hit[0]
    start, end = at_the_start[first.layer], at_the_end[last.layer]
    # What differs little from the start is not made so by the network.
    if not start > 10 * INPUTS_DIFFER:
        return
    # What is held back or forgotten, and weights that are no random numbers, have verdicts.
    if _holds_back(of) or are_unread(of, layers) or _has_no_random_kernel(of, layers):
        return
    # A module of torch may have hidden layers too.
    is_module = end != at_the_start.get(last.layer)
    title = f"the last kernel in {last.title}" if is_module else last.title
    evidence = (
        f"the inputs of {title} differ between examples by {end:.1g} of their root mean "
        f"square, those of {first.title} by {start:.1g}{layer_count(hit)}: the last layer gets "
        "the same for all"
    )
    hidden = layers_until(last, of)
    if not is_module:
        hidden.pop()
    yield Finding(hit, evidence, remedy_in_depth(hidden, of))


def _holds_back(of: Diagnosis) -> bool:
    """Return whether a layer makes the outputs of what is behind it, or gradients, the same."""
    if has_single_values(of) or of.probe(AttentionProbe).of_one:
        return True
    return bool(held_back(of).cut_off)


def _has_no_random_kernel(of: Diagnosis, layers: list[SeenLayer]) -> bool:
    """Return whether a layer loses the signal, or a kernel has a single value."""
    lost = lost_signals(of).causes
    if any(layer.layer in lost for layer in layers):
        return True
    for weight in weights_of(layers):
        if weight.report.zero or (weight.is_kernel and not weight.report.std):
            return True
    return False
