"""Remedies if the outputs of a model are too large: smaller inputs, weights or tables."""

import math
from collections.abc import Sequence
from typing import Literal

import keras

from keras_initx._checks import summarize_names
from keras_initx.initializers._variance_named import GlorotUniform
from keras_initx.tools.diagnose._diagnosis import Diagnosis
from keras_initx.tools.diagnose._kernel_inputs import has_large_inputs, standardize_inputs_first
from keras_initx.tools.diagnose._measured_layers import (
    MeasuredLayer,
    list_biases,
    list_kernels,
    list_layers_until,
    list_weights,
)
from keras_initx.tools.diagnose._normalized import NormalizedProbe
from keras_initx.tools.diagnose._redrawing import (
    list_untried,
    make_choice,
    propose_redraw,
)
from keras_initx.tools.diagnose._remedy import Remedy
from keras_initx.tools.diagnose._rules import exceeds, list_titles
from keras_initx.tools.diagnose._signal import compute_signal_rms
from keras_initx.tools.diagnose._suitable_initializers import choose_for_weight
from keras_initx.tools.diagnose.remedies.branches import propose_smaller_branches

# Size above which inputs of the last layer, rows or biases are too large. A network that keeps the
# size of standardized inputs gives 1 to 2.
_LARGE_INPUTS = 5


def propose_smaller_inputs(layer: MeasuredLayer, diagnosis: Diagnosis) -> Remedy | None:
    """Propose a way to smaller inputs of the last layer, `None` if they are no problem."""
    are_large = exceeds(layer.output.input_size, _LARGE_INPUTS)
    if not layer.has_kernel or not are_large or has_large_inputs(diagnosis):
        return None
    if layer.layer in diagnosis.probe(NormalizedProbe).layers:
        return None
    before = list_layers_until(layer, diagnosis)[:-1]
    smaller_weights = _propose_smaller_rows(before) or _propose_smaller_biases(before)
    if smaller_weights is not None:
        return smaller_weights
    remedy = Remedy(f"add keras.layers.LayerNormalization() before {layer.title}")
    small_branches = propose_smaller_branches(diagnosis)
    if small_branches is None:
        return remedy
    return small_branches.otherwise(remedy, "; or ")


def _propose_smaller_rows(layers: Sequence[MeasuredLayer]) -> Remedy | None:
    """Propose smaller rows of embeddings among some layers, `None` if no rows are too large."""
    tables = []
    for weight in list_weights(layers):
        is_table = isinstance(weight.own.layer, keras.layers.Embedding) and weight.is_kernel
        if is_table and weight.report.std > _LARGE_INPUTS:
            tables.append(weight)
    if not tables:
        return None
    names = summarize_names([weight.path for weight in tables])
    return propose_redraw([choose_for_weight(tables[0])], tables, f"draw smaller rows of {names}: ")


def _propose_smaller_biases(layers: Sequence[MeasuredLayer]) -> Remedy | None:
    """Propose smaller biases of some layers, `None` if no biases are too large."""
    large = []
    for bias in list_biases(layers):
        if bias.report.norm > _LARGE_INPUTS * math.sqrt(math.prod(bias.report.shape)):
            large.append(bias)
    if not large:
        return None
    return propose_redraw(
        [],
        [],
        after=f" in {summarize_names(list_titles(bias.layer for bias in large))}",
        biases=large,
    )


def propose_smaller_last_layer(layers: Sequence[MeasuredLayer], diagnosis: Diagnosis) -> Remedy:
    """Propose to redraw the kernels of the last of `layers`.

    If they have such values already, something else makes its outputs large.
    """
    with_kernel = [layer for layer in layers if layer.kernels]
    if not with_kernel:
        # These layers are activations of layers before.
        with_kernel = [layer for layer in list_layers_until(layers[0], diagnosis) if layer.kernels][
            -1:
        ]
    kernels = list_kernels(with_kernel)
    choices = list_untried([make_choice(GlorotUniform())], kernels)
    if not choices and has_large_inputs(diagnosis):
        return Remedy("standardize the inputs")
    if not choices:
        return Remedy(describe_smaller_factor("after", layers[0]))
    shared: list[str] = []
    for layer in with_kernel:
        shared += [kernel.path for kernel in layer.shared_kernels]
    where = "in the last layer"
    if shared:
        where = f"in {summarize_names(shared)}, which the last layer shares"
    remedy = propose_redraw(choices, kernels, f"draw smaller weights {where}: ")
    if all(kernel.is_frozen for kernel in kernels):
        remedy = remedy.otherwise(Remedy(describe_smaller_factor("after", layers[0])), "; or ")
    return standardize_inputs_first(diagnosis, remedy)


def describe_smaller_factor(preposition: Literal["in", "after"], layer: MeasuredLayer) -> str:
    """Describe a factor that makes outputs smaller, without other weights."""
    return (
        f"use a smaller factor {preposition} {layer.title}, for example a higher temperature, or "
        "divide by the square root of the number of units"
    )


def misses_targets(layer: MeasuredLayer) -> bool:
    """Return whether errors are larger than the outputs, so that the targets cause them."""
    if layer.output.loss_kind == "crossentropy":
        return False
    size = layer.output.size
    if size is None:
        size = compute_signal_rms(layer.signal)
    return exceeds(layer.output.loss, 2 * size)


def propose_standardized_targets() -> Remedy:
    """Propose standardized targets, if the targets cause the errors."""
    return Remedy("standardize the targets, or set the bias of the last layer to their mean")
