"""Examples, or positions, that have become alike before the last layer."""

import math
from collections.abc import Iterator

import keras

from keras_initx.inspection._batch import list_tensors, to_array
from keras_initx.tools.diagnose._attention import AttentionProbe
from keras_initx.tools.diagnose._diagnosis import Diagnosis
from keras_initx.tools.diagnose._first_inputs import (
    COMPARED,
    input_differences,
    last_kernel_differences,
    measure_spread,
    position_differences,
)
from keras_initx.tools.diagnose._lost_signals import lost_signals
from keras_initx.tools.diagnose._measured_layers import (
    MeasuredLayer,
    list_layers_until,
    list_weights,
    pair_with_heads,
)
from keras_initx.tools.diagnose._recurrence import compute_unread_share
from keras_initx.tools.diagnose._remedy import Remedy
from keras_initx.tools.diagnose._rules import Finding, rule, write_count
from keras_initx.tools.diagnose._single_values import has_single_values
from keras_initx.tools.diagnose._unreached_layers import only_idle_layers_read, unreached_layers
from keras_initx.tools.diagnose.losses.heads import OutputHead
from keras_initx.tools.diagnose.losses.probes import LossProbe
from keras_initx.tools.diagnose.remedies.deep_networks import propose_for_depth

# Standard deviation between examples, or along the axis of the positions, of the inputs of the last
# layer, relative to their root mean square, below which they have become alike.
INPUTS_DIFFER = 0.01
# How many times as much those of the first layers are to differ: what differs little from the start
# is not made so by the network.
AT_THE_START = 10
# Deviation of outputs relative to their size, below which it is rounding.
_ROUNDING = 1e-5


@rule("alike", unless=["equal inputs"])
def alike(diagnosis: Diagnosis, layers: list[MeasuredLayer]) -> Iterator[Finding]:
    """Report examples, or positions, that have become alike before the last layer.

    Reported if:
        - The inputs of the last layer differ between examples by at most {INPUTS_DIFFER:g} of their
          size. The inputs of the first layer differ by more than {AT_THE_START:g} times this limit.
        - The same is true for positions, and each position has a target of its own.

    Level:
        warning

    Why:
        The model cannot distinguish examples. It can learn only the mean of the targets.

    Typical causes:
        - many layers with ReLU, which make examples similar (Cho and Saul, 2009)
        - many layers with sigmoids
        - biases that are large next to small kernels
        - means over neighbors, or attention with equal weights, which make positions similar (Oono
          and Suzuki, 2020)

    Fix:
        - For examples, use `Orthogonal` with biases of zeros.
        - For positions, add residual branches around your layers that mix positions.
    """
    # What is held back or forgotten, and weights that are no random numbers, have verdicts.
    are_unread = any(compute_unread_share(diagnosis, layer) is not None for layer in layers)
    if _is_held_back(diagnosis) or are_unread or _has_no_random_kernel(diagnosis, layers):
        return
    found = list(_report_examples(diagnosis, layers))
    yield from found or _report_positions(diagnosis, layers)


def _report_examples(diagnosis: Diagnosis, layers: list[MeasuredLayer]) -> Iterator[Finding]:
    """Yield the finding on a last layer that gets almost the same of all examples."""
    at_the_start, at_the_end = input_differences(diagnosis), last_kernel_differences(diagnosis)
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
    if not start > AT_THE_START * INPUTS_DIFFER:
        return
    # A module of torch may have hidden layers too.
    is_module = end != at_the_start.get(last.layer)
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


def _report_positions(diagnosis: Diagnosis, layers: list[MeasuredLayer]) -> Iterator[Finding]:
    """Yield the findings on outputs whose positions are alike, though their targets are not."""
    along = position_differences(diagnosis)
    losses = diagnosis.probe(LossProbe)
    for layer, head in pair_with_heads(layers, (*losses.heads, *losses.other_heads)):
        before = list_layers_until(layer, diagnosis)
        for axis in range(1, head.outputs.ndim - 1):
            place = axis, head.outputs.shape[axis]
            of_layers = [(one, along[one.layer].get(place)) for one in before if one.layer in along]
            known = [(one, differ) for one, differ in of_layers if differ is not None]
            differing = [pair for pair in known if pair[1] > AT_THE_START * INPUTS_DIFFER]
            start = _describe_input_differences(diagnosis, place)
            if differing:
                first, deviation = differing[0]
                start = (
                    f"the inputs of {first.title} differ along axis {axis} by {deviation:.1g} of "
                    "their root mean square"
                )
            if start is None or not _have_targets_along(head, axis):
                continue
            gets = along.get(layer.layer, {}).get(place, math.inf)
            if not gets <= INPUTS_DIFFER and not _are_alike_along(head, axis):
                continue
            mixed = [one for one, differ in known if differ <= INPUTS_DIFFER]
            where = (mixed or [layer])[0].title
            evidence = (
                f"{start}, but the outputs of {layer.title} are the same for all {place[1]} "
                "positions. The targets of these positions differ"
            )
            text = (
                f"add residual branches, x + f(x), around layers that mix positions before {where}"
            )
            yield Finding([layer], evidence, Remedy(text))
            break


def _describe_input_differences(diagnosis: Diagnosis, place: tuple[int, int]) -> str | None:
    """Return that the inputs of the model differ along an axis of this size, else `None`."""
    axis, size = place
    for tensor in list_tensors(diagnosis.x):
        shape = tuple(tensor.shape)
        if len(shape) <= axis or shape[axis] != size:
            continue
        if keras.backend.standardize_dtype(tensor.dtype) != "string":
            values = to_array(tensor[:COMPARED])
            if (values != values.take([0], axis)).any():
                return f"the inputs differ along axis {axis}"
    return None


def _have_targets_along(head: OutputHead, axis: int) -> bool:
    """Return whether targets differ along an axis of the outputs."""
    targets = head.targets
    if targets.ndim <= axis or targets.shape[axis] != head.outputs.shape[axis]:
        return False
    return bool((targets != targets.take([0], axis)).any())


def _are_alike_along(head: OutputHead, axis: int) -> bool:
    """Return whether outputs differ between examples, but along an axis by next to nothing."""
    outputs = head.outputs.astype("float64")
    deviation = float((outputs - outputs.mean(axis=0)).std())
    size = float(abs(outputs).max(initial=0))
    if not deviation > _ROUNDING * size:
        return False
    return measure_spread(outputs, axis) <= INPUTS_DIFFER * deviation


def _is_held_back(diagnosis: Diagnosis) -> bool:
    """Return whether a layer makes the outputs of what is behind it, or gradients, the same."""
    if has_single_values(diagnosis) or diagnosis.probe(AttentionProbe).of_one:
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
