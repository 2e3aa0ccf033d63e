"""The remedy if signals become too large, too small or saturated, and how they change."""

from collections.abc import Sequence
from typing import Literal

import keras

from keras_initx.tools.diagnose._diagnosis import Diagnosis
from keras_initx.tools.diagnose._kernel_inputs import find_largest_inputs
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
from keras_initx.tools.diagnose._redrawing import list_frozen_others, list_untried, propose_redraw
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

# The number of kernels from which the guide on choosing an initializer calls a network deep.
_DEEP = 10


def describe_deviations(
    diagnosis: Diagnosis, hit: Sequence[MeasuredLayer], verb: Literal["grows", "falls"]
) -> str:
    """Describe the standard deviation at the inputs, and in the first and last affected layer.

    If it does not change as the verb says, the text has the levels without the verb.
    """
    first_and_last = dict.fromkeys([hit[0], hit[-1]])
    clauses = [f"{layer.signal.std:.3g} in {layer.title}" for layer in first_and_last]
    levels = " and ".join(clauses) + write_count(hit)
    start = input_signal(diagnosis)
    if start is None:
        return f"the standard deviation is {levels}"

    def is_beyond(layer: MeasuredLayer, signal: Signal) -> bool:
        # Compared as they are printed.
        own, other = float(f"{layer.signal.std:.3g}"), float(f"{signal.std:.3g}")
        return own > other if verb == "grows" else own < other

    if is_beyond(hit[0], start) and is_beyond(hit[-1], start):
        return f"the standard deviation {verb} from {start.std:.3g} at the inputs to {levels}"
    # A layer before the first kernel may have scaled them.
    first = find_largest_inputs(diagnosis, lambda signal: signal.std)
    are_cause = first is not None and not is_beyond(hit[0], first)
    already = "already " if are_cause else ""
    return f"the standard deviation is {levels}, and {already}{start.std:.3g} at the inputs"


def propose_for_signal(
    hit: Sequence[MeasuredLayer], inputs: Signal | None, diagnosis: Diagnosis
) -> Remedy:
    """Propose a remedy for a signal that is too large or small in the first of `hit`, and later.

    It starts with `inputs`, which are `None` unless they are the cause.
    """
    larger_batch = propose_larger_batch(diagnosis)
    if larger_batch is not None:
        return larger_batch
    layer = hit[0]
    layers = list_layers_until(layer, diagnosis)
    kernels = list_kernels(list_layers_until(hit[-1], diagnosis))
    activation = layer.activation_after or find_common_activation(layers)
    is_deep = sum(other.has_kernel for other in measured_layers(diagnosis)) >= _DEEP
    choices = choose_initializers(layers, activation, is_deep=is_deep)
    untried = list_untried(choices, kernels)
    are_all_tried = bool(choices) and not untried
    if inputs is not None and inputs.nonfinite:
        return _propose_finite_inputs(diagnosis)
    if inputs is not None:
        text = _describe_standardization(inputs)
        # Frozen kernels come from a training with other inputs.
        are_all_frozen = bool(kernels) and all(kernel.is_frozen for kernel in kernels)
        if are_all_tried or are_all_frozen:
            return Remedy(text)
        return propose_redraw(untried, kernels).after(text)
    if layer in gates(diagnosis) and layer.has_large_bias:
        return propose_open_gates(diagnosis, [layer])
    other_scale = propose_other_scale([layer], diagnosis)
    if other_scale is not None:
        return other_scale
    growing = find_growing_kernels([layer])
    if growing:
        return propose_orthogonal_recurrence(growing)
    have_large_biases = any(earlier.has_large_bias for earlier in layers)
    if are_all_tried and not have_large_biases:
        frozen = list_frozen_others(choices, kernels)
        if frozen:
            return propose_redraw(choices, frozen, after=" in this and all earlier layers")
        # LSUV would give steep activations the size that makes noise.
        is_any_steep = any(earlier.is_steep for earlier in layers)
        return Remedy("use a smaller factor in the activation") if is_any_steep else LSUV
    biases = list_biases(layers) if choices and have_large_biases else []
    return propose_redraw(untried, kernels, after=" in this and all earlier layers", biases=biases)


def _describe_standardization(inputs: Signal) -> str:
    size = f"their standard deviation is {inputs.std:.3g}"
    if abs(inputs.mean) > inputs.std:
        size = f"their mean is {inputs.mean:.3g}, {size}"
    return f"standardize the inputs ({size})"


def _propose_finite_inputs(diagnosis: Diagnosis) -> Remedy:
    """Propose smaller numbers before the layer, or the code in `call`, that makes no finite ones.

    The inputs of the model are finite here: other inputs are *not finite*.
    """
    origin = first_lost_output(diagnosis)
    if origin is None:
        return Remedy("use smaller numbers before the first kernel, whose inputs are not finite")
    title = describe_origin(origin, diagnosis)
    return Remedy(
        f"use smaller numbers before {title}, whose outputs are not finite for finite inputs"
    )


def propose_larger_batch(diagnosis: Diagnosis) -> Remedy | None:
    """Propose several examples if a batch normalization got a single one, `None` otherwise.

    It gives its offset for a single example, whatever the weights are.
    """
    # Normalizations that use the statistics of the batch.
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
