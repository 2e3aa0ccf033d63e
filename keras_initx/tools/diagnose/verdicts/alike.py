"""Examples that have become nearly the same before the last layer."""

import math
from collections.abc import Iterator

from keras_initx.tools.diagnose._diagnosis import Diagnosis
from keras_initx.tools.diagnose._first_inputs import input_differences, last_kernel_differences
from keras_initx.tools.diagnose._lost_signals import lost_signals
from keras_initx.tools.diagnose._measured_layers import (
    MeasuredLayer,
    list_layers_until,
    list_weights,
)
from keras_initx.tools.diagnose._recurrence import compute_unread_share
from keras_initx.tools.diagnose._rules import Finding, rule, write_count
from keras_initx.tools.diagnose._single_values import has_single_values
from keras_initx.tools.diagnose._unreached_layers import only_idle_layers_read, unreached_layers
from keras_initx.tools.diagnose.remedies.deep_networks import propose_for_depth

# Standard deviation of the inputs of the last layer between examples, relative to their root mean
# square, below which they are nearly the same.
INPUTS_DIFFER = 0.01
# How many times as much the inputs of the first layers have to differ. If they differ little, too,
# the network is not the reason.
AT_THE_START = 10


@rule("alike", unless=["equal inputs"])
def alike(diagnosis: Diagnosis, layers: list[MeasuredLayer]) -> Iterator[Finding]:
    """Report examples that have become nearly equal before the last layer.

    Reported if:
        The inputs of the last layer differ between examples by at most {INPUTS_DIFFER:g} of their
        size. The inputs of the first layer differ by more than {AT_THE_START:g} times this limit.

    Level:
        warning

    Why:
        The model cannot distinguish examples. It can learn only the mean of the targets.

    Typical causes:
        - many layers with ReLU, which make examples similar (Cho and Saul, 2009)
        - many layers with sigmoids
        - biases that are large next to small kernels

    Fix:
        Use `Orthogonal` with biases of zeros.
    """
    # Signals that are held back or forgotten, and weights that are no random numbers, have verdicts
    # of their own.
    are_unread = any(compute_unread_share(diagnosis, layer) is not None for layer in layers)
    if _is_held_back(diagnosis) or are_unread or _has_no_random_kernel(diagnosis, layers):
        return
    first_differences = input_differences(diagnosis)
    last_differences = last_kernel_differences(diagnosis)
    measured = [layer for layer in layers if layer.layer in first_differences]
    hit = []
    for layer in layers:
        # False for NaN.
        are_alike = last_differences.get(layer.layer, math.inf) <= INPUTS_DIFFER
        if layer.makes_output and are_alike:
            hit.append(layer)
    # It is unknown how much indices differ.
    if not hit or not measured:
        return
    first, last = measured[0], hit[0]
    start, end = first_differences[first.layer], last_differences[last.layer]
    if not start > AT_THE_START * INPUTS_DIFFER:
        return
    # A module of torch is one layer here, and may have hidden layers inside.
    is_module = end != first_differences.get(last.layer)
    title = f"the last kernel in {last.title}" if is_module else last.title
    evidence = (
        f"the inputs of {title} differ between examples by {end:.1g} of their root mean "
        f"square{write_count(hit)}; the inputs of {first.title} differ by {start:.1g}. The last "
        "layer gets nearly the same for all examples"
    )
    hidden = list_layers_until(last, diagnosis)
    if not is_module:
        hidden.pop()
    yield Finding(hit, evidence, propose_for_depth(hidden, diagnosis))


def _is_held_back(diagnosis: Diagnosis) -> bool:
    """Return whether a layer passes on no differences between examples, or no gradients."""
    if has_single_values(diagnosis):
        return True
    return bool(unreached_layers(diagnosis).cut_off) or only_idle_layers_read(diagnosis)


def _has_no_random_kernel(diagnosis: Diagnosis, layers: list[MeasuredLayer]) -> bool:
    """Return whether a layer loses the signal, or a kernel has a single value."""
    lost = lost_signals(diagnosis).causes
    if any(layer.layer in lost for layer in layers):
        return True
    for weight in list_weights(layers):
        if weight.report.zero or (weight.is_kernel and not weight.report.std):
            return True
    return False
