"""The remedy where signals become too large, too small or saturated, and how they go there."""

from collections.abc import Sequence
from typing import Literal

import keras

from keras_initx.tools.diagnose._diagnosis import Diagnosis
from keras_initx.tools.diagnose._first_inputs import find_largest_inputs
from keras_initx.tools.diagnose._frozen import propose_for_frozen
from keras_initx.tools.diagnose._measured_layers import (
    MeasuredLayer,
    list_biases,
    list_kernels,
    list_layers_until,
    measured_layers,
)
from keras_initx.tools.diagnose._nan_origins import describe_origin, first_lost_output
from keras_initx.tools.diagnose._normalized import NormalizedProbe
from keras_initx.tools.diagnose._recurrence import gates
from keras_initx.tools.diagnose._redrawing import list_untried, propose_redraw
from keras_initx.tools.diagnose._remedy import LSUV, Remedy
from keras_initx.tools.diagnose._rules import write_count
from keras_initx.tools.diagnose._signal import Signal
from keras_initx.tools.diagnose._signal_probe import input_signal
from keras_initx.tools.diagnose._suitable_initializers import (
    choose_initializers,
    find_common_activation,
)
from keras_initx.tools.diagnose.remedies.recurrence import (
    find_growing_kernels,
    propose_open_gates,
    propose_orthogonal_recurrence,
)
from keras_initx.tools.diagnose.remedies.scales import propose_other_scale

# The number of kernels from which on the guide on choosing an initializer calls a network deep.
_DEEP = 10


def describe_deviations(
    diagnosis: Diagnosis, hit: Sequence[MeasuredLayer], verb: Literal["grows", "falls"]
) -> str:
    """Describe the standard deviation at the inputs, and in the first and last affected layer.

    Where it does not change as the verb says, these are levels.
    """
    ends = dict.fromkeys([hit[0], hit[-1]])
    places = [f"{layer.signal.std:.3g} in {layer.title}" for layer in ends]
    found = " and ".join(places) + write_count(hit)
    start = input_signal(diagnosis)
    if start is None:
        return f"the standard deviation is {found}"

    def is_beyond(layer: MeasuredLayer, signal: Signal) -> bool:
        # As printed.
        here, there = (float(f"{one.std:.3g}") for one in (layer.signal, signal))
        return here > there if verb == "grows" else here < there

    if is_beyond(hit[0], start) and is_beyond(hit[-1], start):
        return f"the standard deviation {verb} from {start.std:.3g} at the inputs to {found}"
    # A layer before the first kernel may have scaled them.
    first = find_largest_inputs(diagnosis, lambda signal: signal.std)
    are_cause = first is not None and not is_beyond(hit[0], first)
    already = "already " if are_cause else ""
    return f"the standard deviation is {found}, and {already}{start.std:.3g} at the inputs"


def propose_for_signal(
    hit: Sequence[MeasuredLayer], inputs: Signal | None, diagnosis: Diagnosis
) -> Remedy:
    """Return the remedy where a signal has become wrong in the first of `hit`, and the others.

    It starts with `inputs`, which are `None` unless they are the cause.
    """
    several = propose_larger_batch(diagnosis)
    if several is not None:
        return several
    layer = hit[0]
    layers = list_layers_until(layer, diagnosis)
    kernels = list_kernels(list_layers_until(hit[-1], diagnosis))
    activation = layer.activation_after or find_common_activation(layers)
    is_deep = sum(one.has_kernel for one in measured_layers(diagnosis)) >= _DEEP
    choices = choose_initializers(layers, activation, is_deep=is_deep)
    others = list_untried(choices, kernels)
    has_them = bool(choices) and not others
    held = propose_for_frozen(layers, choices, hit)
    if inputs is not None and inputs.nonfinite:
        return _propose_finite_inputs(diagnosis)
    if inputs is not None:
        text = _describe_standardization(inputs)
        if has_them or held is not None:
            return Remedy(text)
        return propose_redraw(others, kernels).after(text)
    if held is not None:
        return held
    if layer in gates(diagnosis) and layer.has_large_bias:
        return propose_open_gates(diagnosis, [layer])
    other = propose_other_scale([layer], diagnosis)
    if other is not None:
        return other
    growing = find_growing_kernels([layer])
    if growing:
        return propose_orthogonal_recurrence(growing)
    have_large_biases = any(one.has_large_bias for one in layers)
    if has_them and not have_large_biases:
        # LSUV would give steep activations the size that makes noise.
        is_any_steep = any(one.is_steep for one in layers)
        return Remedy("use a smaller factor in the activation") if is_any_steep else LSUV
    biases = list_biases(layers) if choices and have_large_biases else []
    return propose_redraw(others, kernels, after=" in this and all earlier layers", biases=biases)


def _describe_standardization(inputs: Signal) -> str:
    """Return what to do with inputs that are the cause."""
    size = f"their standard deviation is {inputs.std:.3g}"
    if abs(inputs.mean) > inputs.std:
        size = f"their mean is {inputs.mean:.3g}, {size}"
    return f"standardize the inputs ({size})"


def _propose_finite_inputs(diagnosis: Diagnosis) -> Remedy:
    """Return the remedy where a kernel gets inputs that a layer before, or `call`, has spoilt.

    The inputs of the model are finite: others have their own verdict.
    """
    place = first_lost_output(diagnosis)
    if place is None:
        return Remedy("use smaller numbers before the first kernel, whose inputs are not finite")
    title = describe_origin(place, diagnosis)
    return Remedy(
        f"use smaller numbers before {title}, whose outputs are not finite for finite inputs"
    )


def propose_larger_batch(diagnosis: Diagnosis) -> Remedy | None:
    """Return the remedy where a batch normalization got a single example, otherwise `None`.

    It then gives its offset whatever the weights are.
    """
    # Those that use the statistics of the batch.
    normalizing = diagnosis.probe(NormalizedProbe).normalizing
    for layer in measured_layers(diagnosis):
        is_of_batches = isinstance(layer.layer, keras.layers.BatchNormalization)
        if not is_of_batches or layer.layer not in normalizing:
            continue
        if layer.shape and layer.shape[0] == 1 and layer.signal.std == 0:
            return Remedy(
                f"use a batch of several examples, because {layer.title} normalizes over them"
            )
    return None
