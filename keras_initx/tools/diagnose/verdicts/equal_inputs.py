"""Inputs that do not distinguish examples: all the same, zeros, or one index."""

from collections.abc import Iterator

import keras

from keras_initx.inspection._batch import list_tensors, to_array
from keras_initx.tools.diagnose._diagnosis import Arrays, Diagnosis, fact
from keras_initx.tools.diagnose._kernel_inputs import COMPARED, InputProbe
from keras_initx.tools.diagnose._measured_layers import MeasuredLayer
from keras_initx.tools.diagnose._remedy import Remedy
from keras_initx.tools.diagnose._rules import Finding, rule, write_count
from keras_initx.tools.diagnose._signal import LEAST_VALUES, Signal
from keras_initx.tools.diagnose._signal_probe import input_signal, target_signal
from keras_initx.tools.diagnose._single_values import SingleValueProbe
from keras_initx.tools.diagnose.losses.probes import LossProbe


@rule("equal inputs")
def equal_inputs(diagnosis: Diagnosis, layers: list[MeasuredLayer]) -> Iterator[Finding]:
    """Report inputs that do not distinguish examples.

    Reported if:
        The targets differ, and one of these is true:

        - All inputs are the same number.
        - All examples have the same inputs.
        - A kernel gets only zeros from outside the model.
        - An embedding of {MANY_ROWS} rows or more gets one index for all examples.

    Level:
        error if all inputs are the same number, or the same for all examples; note if an operation
        of the model makes the zeros; warning in other cases

    Why:
        The model cannot distinguish examples. It can learn only the mean of the targets.

    Typical causes:
        - pixels that became 0 when you divided integers
        - zeros as a placeholder for an input of a decoder

    Fix:
        Pass inputs that differ between examples.
    """
    if not _are_constant(diagnosis):
        yield from _report_zeros(diagnosis, layers)
        yield from _report_single_index(diagnosis, layers)
        return
    signal = input_signal(diagnosis) or Signal()
    evidence = "all examples have the same inputs"
    if signal.size and not signal.std:
        evidence = f"all {signal.size} values of the inputs are {signal.mean:.3g}"
    evidence += ", but the targets differ. The model can learn only the mean of the targets"
    yield Finding([], evidence, Remedy("pass inputs that differ between examples"), "error")


def _are_constant(diagnosis: Diagnosis) -> bool:
    """Return whether all inputs, or all examples, are the same, although the targets differ."""
    if not _have_different_targets(diagnosis):
        return False
    if _are_repeated(diagnosis):
        return True
    signal = input_signal(diagnosis)
    if signal is None or signal.std > 0 or signal.size < LEAST_VALUES:
        return False
    # A model may get integers, too, which a first layer with a kernel does not get.
    records = diagnosis.probe(InputProbe).records.values()
    signals = [record.signal for record in records if record.signal.size]
    return bool(signals) and not any(one.std > 0 or one.nonfinite for one in signals)


@fact
def _have_different_targets(diagnosis: Diagnosis) -> bool:
    """Whether the targets differ between examples, positions or outputs."""
    if any(head.target_signal.std > 0 for head in diagnosis.probe(LossProbe).heads):
        return True
    signal = target_signal(diagnosis)
    return signal is not None and signal.std > 0


def _are_repeated(diagnosis: Diagnosis) -> bool:
    tensors = list_tensors(diagnosis.x)
    for tensor in tensors:
        # Strings are not compared.
        if keras.backend.standardize_dtype(tensor.dtype) == "string":
            return False
        values = to_array(tensor[:COMPARED])
        if len(values) < 2 or (values != values[:1]).any():
            return False
    return bool(tensors)


def _report_zeros(diagnosis: Diagnosis, layers: list[MeasuredLayer]) -> Iterator[Finding]:
    """Report layers that get zeros alone from outside the model."""
    # A normalization over a single value, which makes zeros, is *no gradient*.
    if diagnosis.probe(SingleValueProbe).paths or not _have_different_targets(diagnosis):
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
    if not _is_an_input_zero(diagnosis.x) and _have_other_layers_numbers(diagnosis):
        evidence = f"an operation of the model makes all inputs of {title} 0{write_count(hit)}"
        text = "change nothing if this is intended, for example for queries that start at 0"
        yield Finding(hit, evidence, Remedy(text), "note")
        return
    evidence = (
        f"all inputs of {title} from outside the model are 0{write_count(hit)}. Its kernel gets no "
        "gradient, and its output is the same for all examples"
    )
    text = (
        f"pass inputs to {title} that differ between examples; for a decoder, pass the targets of "
        "the step before"
    )
    yield Finding(hit, evidence, Remedy(text))


def _is_an_input_zero(x: Arrays) -> bool:
    for tensor in list_tensors(x):
        is_string = keras.backend.standardize_dtype(tensor.dtype) == "string"
        if not is_string and not to_array(tensor).any():
            return True
    return False


def _have_other_layers_numbers(diagnosis: Diagnosis) -> bool:
    records = diagnosis.probe(InputProbe).records.values()
    return any(record.signal.std > 0 or record.signal.nonfinite for record in records)


def _report_single_index(diagnosis: Diagnosis, layers: list[MeasuredLayer]) -> Iterator[Finding]:
    """Report embeddings that look up the same row for all examples."""
    hit = [layer for layer in layers if layer.first_inputs.only_index is not None]
    if not hit or not _have_different_targets(diagnosis):
        return
    first, index = hit[0], hit[0].first_inputs.only_index
    evidence = (
        f"all indices that {first.title} gets are {index}{write_count(hit)}. Its output is the "
        "same for all examples"
    )
    remedy = Remedy(f"pass the indices of each example to {first.title}")
    yield Finding(hit, evidence, remedy)
