"""Weights, inputs and targets that are not finite."""

import math
from collections.abc import Iterator, Sequence

from keras_initx._checks import summarize_names
from keras_initx.tools.diagnose._diagnosis import Diagnosis
from keras_initx.tools.diagnose._lost_weights import LostWeight, lost_weights
from keras_initx.tools.diagnose._measured_layers import MeasuredLayer, trained_layers
from keras_initx.tools.diagnose._remedy import Remedy
from keras_initx.tools.diagnose._rules import Finding, rule
from keras_initx.tools.diagnose._signal import Signal
from keras_initx.tools.diagnose._signal_probe import input_signal, target_signal
from keras_initx.tools.diagnose.losses.probes import LossProbe, OutputProbe


@rule("not finite", hides_all=True)
def not_finite(diagnosis: Diagnosis, layers: list[MeasuredLayer]) -> Iterator[Finding]:
    """Report weights, inputs and targets that are not finite.

    Reported if:
        - Weights have NaN or infinities, even if all outputs are finite. Masks of 0 and -inf that
          are not trained do not count.
        - Inputs have NaN or infinities, and the output of a layer is not finite.
        - Targets have NaN or infinities, and the loss or a gradient is not finite, or cannot be
          computed.

        After such an error, `diagnose` reports no other problem.

    Level:
        error; note if an infinite weight is not made to be trained, belongs to a layer that is not
        Keras', and spoils nothing

    Why:
        Everything that is computed from such a number becomes NaN. The first training step then
        makes all weights NaN.

    Typical causes:
        - a logarithm of 0 or of a negative number
        - a division by a standard deviation of 0
        - a gap in a table
        - a number outside the range of float16

    Fix:
        - For weights, use another initializer, or load other values.
        - In your data, replace the missing values, or leave out these examples.
    """
    certain = [lost for lost in lost_weights(diagnosis) if lost.is_certain]
    if certain:
        hit, remedy = _list_layers(certain, layers), Remedy(_propose_finite_values(certain))
        yield Finding(hit, _describe_weights(certain), remedy, "error")
        return
    unclear = lost_weights(diagnosis)
    if unclear:
        evidence = f"{_describe_weights(unclear)}. All numbers that this batch gives are finite"
        remedy = Remedy(
            "change nothing if this is intended, for example in a mask; if not, "
            f"{_propose_finite_values(unclear)}"
        )
        yield Finding(_list_layers(unclear, layers), evidence, remedy, "note")
    # A model may replace such inputs itself.
    nonfinite = [layer for layer in layers if layer.signal.nonfinite]
    inputs, targets = input_signal(diagnosis), target_signal(diagnosis)
    if inputs is not None and inputs.nonfinite and nonfinite:
        text = (
            "replace these values of `x`, for example by `numpy.nan_to_num(x)`, or leave them out"
        )
        if targets is not None and targets.nonfinite:
            text += "; and leave out the examples whose targets are not finite"
        yield Finding(nonfinite, _describe_data("inputs", inputs), Remedy(text), "error")
    elif targets is not None and targets.nonfinite and _do_targets_spoil_loss(diagnosis):
        remedy = Remedy("leave out the examples with such targets")
        yield Finding([], _describe_data("targets", targets), remedy, "error")


def _list_layers(lost: Sequence[LostWeight], layers: list[MeasuredLayer]) -> list[MeasuredLayer]:
    identities = {id(lost_weight.weight.variable) for lost_weight in lost}
    hit = []
    for layer in layers:
        if any(id(weight.own.variable) in identities for weight in layer.weights):
            hit.append(layer)
    return hit


def _describe_weights(lost: Sequence[LostWeight]) -> str:
    first, *others = lost
    text = f"{first.weight.path} is not finite: {first.values}"
    if others:
        text += f"; also {summarize_names([other.weight.path for other in others])}"
    return text


def _propose_finite_values(lost: Sequence[LostWeight]) -> str:
    names = summarize_names([lost_weight.weight.path for lost_weight in lost])
    return f"give {names} finite values, from an initializer, a file or an assignment"


def _describe_data(name: str, signal: Signal) -> str:
    count = round(signal.nonfinite * signal.size)
    return f"the {name} are not finite: {count} of {signal.size} values are NaN or infinite"


def _do_targets_spoil_loss(diagnosis: Diagnosis) -> bool:
    """Return whether the loss or a gradient is not finite because targets are not."""
    value, outputs = diagnosis.probe(LossProbe).value, diagnosis.probe(OutputProbe).signal
    if outputs is None:
        return False
    # The loss of such labels was not computed, because some backends raise an error.
    if value is None:
        return not outputs.nonfinite
    # A loss may leave such targets out, which stand for missing ones.
    numbers = [value, *(norm for _, norm in trained_layers(diagnosis))]
    return not all(map(math.isfinite, numbers))
