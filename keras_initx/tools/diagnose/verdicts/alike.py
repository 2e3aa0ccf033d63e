"""Examples, or positions, that have become nearly the same before the last layer."""

import math
from collections.abc import Iterator

import keras

from keras_initx.inspection._batch import list_tensors, to_array
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

# Standard deviation of the inputs of the last layer between examples, or along the axis of the
# positions, relative to their root mean square, below which they are nearly the same.
INPUTS_DIFFER = 0.01
# How many times as much the inputs of the first layers have to differ. If they differ little, too,
# the network is not the reason.
AT_THE_START = 10
# Deviation of outputs relative to their size, below which it is rounding.
_ROUNDING = 1e-5


@rule("alike", unless=["equal inputs"])
def alike(diagnosis: Diagnosis, layers: list[MeasuredLayer]) -> Iterator[Finding]:
    """Report examples, or positions, that have become nearly equal before the last layer.

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
    # Signals that are held back or forgotten, and weights that are no random numbers, have verdicts
    # of their own.
    are_unread = any(compute_unread_share(diagnosis, layer) is not None for layer in layers)
    if _is_held_back(diagnosis) or are_unread or _has_no_random_kernel(diagnosis, layers):
        return
    of_examples = list(_report_examples(diagnosis, layers))
    yield from of_examples or _report_positions(diagnosis, layers)


def _report_examples(diagnosis: Diagnosis, layers: list[MeasuredLayer]) -> Iterator[Finding]:
    """Report a last layer that gets nearly the same for all examples."""
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


def _report_positions(diagnosis: Diagnosis, layers: list[MeasuredLayer]) -> Iterator[Finding]:
    """Report outputs whose positions are nearly the same, although their targets are not."""
    differences = position_differences(diagnosis)
    losses = diagnosis.probe(LossProbe)
    for layer, head in pair_with_heads(layers, (*losses.heads, *losses.other_heads)):
        before = list_layers_until(layer, diagnosis)
        for axis in range(1, head.outputs.ndim - 1):
            size = head.outputs.shape[axis]
            deviations: dict[MeasuredLayer, float] = {}
            for earlier in before:
                deviation = differences.get(earlier.layer, {}).get((axis, size))
                if deviation is not None:
                    deviations[earlier] = deviation
            start = _describe_input_differences(diagnosis, axis, size)
            for first, deviation in deviations.items():
                if not deviation > AT_THE_START * INPUTS_DIFFER:
                    continue
                start = (
                    f"the inputs of {first.title} differ along axis {axis} by {deviation:.1g} of "
                    "their root mean square"
                )
                break
            if start is None or not _have_targets_along(head, axis):
                continue
            end = differences.get(layer.layer, {}).get((axis, size), math.inf)
            if not end <= INPUTS_DIFFER and not _are_alike_along(head, axis):
                continue
            mixed = [earlier for earlier, value in deviations.items() if value <= INPUTS_DIFFER]
            where = (mixed or [layer])[0].title
            evidence = (
                f"{start}, but the outputs of {layer.title} are the same for all {size} "
                "positions. The targets of these positions differ"
            )
            text = (
                f"add residual branches, x + f(x), around layers that mix positions before {where}"
            )
            yield Finding([layer], evidence, Remedy(text))
            break


def _describe_input_differences(diagnosis: Diagnosis, axis: int, size: int) -> str | None:
    """Describe that the inputs of the model differ along an axis of this size, `None` if not."""
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
    targets = head.targets
    if targets.ndim <= axis or targets.shape[axis] != head.outputs.shape[axis]:
        return False
    return bool((targets != targets.take([0], axis)).any())


def _are_alike_along(head: OutputHead, axis: int) -> bool:
    """Return whether outputs differ between examples, and hardly along an axis."""
    outputs = head.outputs.astype("float64")
    deviation = float((outputs - outputs.mean(axis=0)).std())
    size = float(abs(outputs).max(initial=0))
    if not deviation > _ROUNDING * size:
        return False
    return measure_spread(outputs, axis) <= INPUTS_DIFFER * deviation


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
