"""Remedies that several verdicts share. They use facts, and no verdict.

`propose_...` makes a `Remedy`, or `None` if it would change nothing: for example because the
weights already follow it. In this order: signals, deep networks, scales, residual branches,
recurrent layers, large outputs, output heads.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Literal

import keras

from keras_initx._checks import summarize_names
from keras_initx._typing import InitializerLike
from keras_initx.initializers._activations import activation_facts
from keras_initx.initializers._composition import Scaled
from keras_initx.initializers._orthogonal import Orthogonal
from keras_initx.initializers._recurrent import GRUUpdateBias, LSTMForgetBias
from keras_initx.initializers._variance_named import GlorotUniform, HeNormal
from keras_initx.inspection._branches import Branch, find_branches
from keras_initx.inspection._kernels import NORMALIZATIONS
from keras_initx.tools.diagnose._diagnosis import Diagnosis
from keras_initx.tools.diagnose._kernel_inputs import (
    find_largest_inputs,
    has_large_inputs,
    standardize_inputs_first,
)
from keras_initx.tools.diagnose._lost_signals import LostProbe
from keras_initx.tools.diagnose._measured_layers import (
    MeasuredLayer,
    MeasuredWeight,
    branch_ends,
    list_biases,
    list_kernels,
    list_layers_until,
    list_weights,
    measured_layers,
)
from keras_initx.tools.diagnose._nan_origins import describe_origin, first_lost_output
from keras_initx.tools.diagnose._normalized import NormalizedProbe, removes_scale
from keras_initx.tools.diagnose._recurrence import RECURRENT_GAIN, gates
from keras_initx.tools.diagnose._redrawing import (
    Choice,
    list_frozen_others,
    list_untried,
    make_choice,
    make_rules,
    propose_redraw,
)
from keras_initx.tools.diagnose._remedy import LSUV, Remedy
from keras_initx.tools.diagnose._rules import exceeds, list_titles, write_count
from keras_initx.tools.diagnose._signal import Signal, compute_signal_rms
from keras_initx.tools.diagnose._signal_probe import input_signal
from keras_initx.tools.diagnose._suitable_initializers import (
    choose_for_weight,
    choose_initializers,
    find_common_activation,
)
from keras_initx.tools.diagnose.losses.heads import OutputHead
from keras_initx.tools.diagnose.losses.reach import AppliedActivation

# The remedy if signals become too large, too small or saturated, and how they change.


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


# The remedy if gradients, or the differences of examples, vanish in many layers.


def propose_for_depth(layers: Sequence[MeasuredLayer], diagnosis: Diagnosis) -> Remedy:
    """Propose another initializer, activation or normalization for `layers`, or branches around."""
    activation = find_common_activation(layers)
    choices = choose_initializers(layers, activation, is_deep=True)
    other_scale = propose_other_scale(layers, diagnosis)
    if other_scale is not None:
        return other_scale
    normalization = "keras.layers.BatchNormalization() before"
    if activation_facts(activation).is_flat:
        _, text = make_choice(GlorotUniform())
        text = f'use activation="tanh" with {text} instead of {activation}'
        if not _are_normalized(layers):
            text += f", or add {normalization} it"
        return Remedy(
            f"{text}, because the slope of {activation} is at most 1/4, and no initializer makes "
            "up for that"
        )
    if activation == "softplus":
        text = "use another activation than"
        if not _are_normalized(layers):
            text = f"add {normalization} each"
        return Remedy(f"{text} softplus, whose mean makes examples similar with any initializer")
    kernels = list_kernels(measured_layers(diagnosis))
    untried = list_untried(choices, kernels)
    have_large_biases = any(layer.has_large_bias for layer in layers)
    if choices and not untried and not have_large_biases:
        frozen = list_frozen_others(choices, kernels)
        if frozen:
            return propose_redraw(choices, frozen, after=" in all layers")
        if _are_normalized(layers):
            return Remedy("add residual branches, x + f(x), around these layers")
        return Remedy(f"add {normalization} each activation")
    biases = list_biases(measured_layers(diagnosis)) if choices and have_large_biases else []
    return propose_redraw(untried, kernels, after=" in all layers", biases=biases)


def _are_normalized(layers: Sequence[MeasuredLayer]) -> bool:
    """Return whether a normalization is before each activation, except in the last layer."""
    hidden = [layer for layer in layers if layer.has_kernel][:-1]
    return bool(hidden) and all(
        layer.normalized_by is not None and layer.activation is None for layer in hidden
    )


# The remedy if a scale, or an operation, makes signals small or large, and no kernel does.


# The scales of normalizations, which begin at 1.
_SCALES = ("gamma", "scale")
# Factor between such a scale and 1 above which it is what makes a signal small or large.
_FAR = 10


def find_small_scales(
    layers: Sequence[MeasuredLayer], diagnosis: Diagnosis
) -> list[MeasuredWeight]:
    """Find the scales of normalizations among some layers that begin near 0, and not at 1.

    Such a scale is intended at the end of a residual branch. Zeros are *equal units*.
    """
    small = []
    for weight in list_weights(layers):
        is_scale = isinstance(weight.own.layer, NORMALIZATIONS) and weight.name in _SCALES
        if is_scale and 0 < compute_scale_size(weight) < 1 / _FAR:
            small.append(weight)
    # Finding the ends of branches takes a symbolic call: only if there are small scales.
    return [weight for weight in small if weight.layer not in find_scaling_layers(diagnosis)]


def compute_scale_size(weight: MeasuredWeight) -> float:
    """Compute the root mean square of a scale."""
    return weight.report.norm / math.sqrt(max(math.prod(weight.report.shape), 1))


def propose_ones(scales: Sequence[MeasuredWeight]) -> Remedy:
    """Propose scales of 1."""
    text = (
        f"set the scale of {summarize_names(list_titles(scale.layer for scale in scales))} to ones"
    )
    return Remedy(text, {weight.path: "ones" for weight in scales})


def propose_other_scale(layers: Sequence[MeasuredLayer], diagnosis: Diagnosis) -> Remedy | None:
    """Propose scales of 1, or larger numbers before an operation; `None` if neither is far off."""
    far = []
    for weight in list_weights(layers):
        size = compute_scale_size(weight)
        # Zeros are *equal units*.
        if weight.name in _SCALES and size > 0 and not 1 / _FAR <= size <= _FAR:
            far.append(weight)
    if far:
        return propose_ones(far)
    shrunk = diagnosis.probe(LostProbe).shrunk
    for layer in layers:
        if layer.layer in shrunk:
            text = (
                f"use larger numbers before {layer.title}, because an operation there makes them "
                f"of size {shrunk[layer.layer]:.1g}"
            )
            return Remedy(text)
    return None


# Residual branches that start small, if the sum of all of them grows.


def propose_smaller_branches(diagnosis: Diagnosis) -> Remedy | None:
    """Propose small branches if their sum grows, `None` without branches or if they start small.

    Each branch starts at 0, or, if it ends in a ReLU, at a fraction: a ReLU of zeros gets no
    gradient, and the branch would stay 0.
    """
    last_layers = find_scaling_layers(diagnosis)
    if not last_layers:
        return None
    count = len(last_layers)
    facts = [activation_facts(end.activation_after) for end in branch_ends(diagnosis)]
    ends_in_relu = any(activation.opens is False for activation in facts)
    weights, argument = list_kernels(last_layers), "kernel_initializer"
    if not weights:
        weights, argument = _list_scales(last_layers), "gamma_initializer"
    choice = Choice("zeros", '"zeros"')
    if ends_in_relu and argument == "kernel_initializer":
        text = f"keras_initx.Scaled(keras_initx.HeNormal(), 1 / {count})"
        choice = Choice(Scaled(HeNormal(), 1 / count), text)
    elif ends_in_relu:
        text = f"keras.initializers.Constant(1 / {count})"
        choice = Choice(keras.initializers.Constant(1 / count), text)
    if not list_untried([choice], weights):
        return None
    return Remedy(
        f"set {argument}={choice.text} in the last layer of each residual branch: "
        f"{summarize_names(list_titles(last_layers))}",
        make_rules(weights, choice.initializer),
    )


def find_scaling_layers(diagnosis: Diagnosis) -> list[MeasuredLayer]:
    """Find the layer that scales each residual branch: the last one with a kernel or a scale."""
    return [
        _find_last_scaling_layer(list_layers_until(end, diagnosis))
        for end in branch_ends(diagnosis)
    ]


def _find_last_scaling_layer(layers: Sequence[MeasuredLayer]) -> MeasuredLayer:
    for layer in reversed(layers):
        if layer.kernels or layer.named("gamma"):
            return layer
    return layers[-1]


def _list_scales(layers: Sequence[MeasuredLayer]) -> list[MeasuredWeight]:
    scales: list[MeasuredWeight] = []
    for layer in layers:
        scales += layer.named("gamma")
    return scales


def propose_for_growing_sums(diagnosis: Diagnosis) -> Remedy | None:
    """Propose small or normalized branches if a signal grows by their sum, and by no kernel."""
    smaller = propose_smaller_branches(diagnosis)
    if smaller is None or any(exceeds(layer.gain, 2) for layer in measured_layers(diagnosis)):
        return None
    branches = find_branches(diagnosis.watch.graph.nodes).branches
    if branches and all(_starts_with_normalization(branch, diagnosis) for branch in branches):
        return smaller
    return smaller.otherwise(Remedy("add a normalization at the start of each branch"), "; or ")


def _starts_with_normalization(branch: Branch, diagnosis: Diagnosis) -> bool:
    return all(removes_scale(operation, diagnosis) for operation in branch.first)


# Remedies of recurrent layers: open gates, and recurrent kernels that keep a state.


def propose_open_gates(diagnosis: Diagnosis, layers: Sequence[MeasuredLayer]) -> Remedy:
    """Propose to open the gates of `layers`, with the text for the first layer."""
    remedies = []
    rules: dict[str, InitializerLike] = {}
    for layer in layers:
        gate, _, biases = gates(diagnosis)[layer]
        if gate == "update":
            initializer = make_choice(GRUUpdateBias(1.0), 1.0)
            before = "bias_initializer="
        else:
            initializer = make_choice(LSTMForgetBias(1.0), 1.0)
            before = "unit_forget_bias=False with bias_initializer="
        remedy = propose_redraw([initializer], biases, f"use {before}")
        remedies.append(remedy)
        rules.update(remedy.rules)
    return replace(remedies[0], rules=rules)


def find_growing_kernels(
    layers: Iterable[MeasuredLayer], limit: float = RECURRENT_GAIN
) -> list[MeasuredWeight]:
    """Find the recurrent kernels of layers that make a state larger in each step."""
    growing: list[MeasuredWeight] = []
    for layer in layers:
        for kernel in layer.recurrent_kernels:
            if exceeds(kernel.report.gain, limit):
                growing.append(kernel)
    return growing


def propose_orthogonal_recurrence(kernels: Iterable[MeasuredWeight]) -> Remedy:
    """Propose to redraw recurrent kernels, with a block for each gate."""
    rules: dict[str, InitializerLike] = {}
    texts = []
    for kernel in kernels:
        *_, units, size = kernel.own.shape
        initializer, text = make_choice(Orthogonal(blocks=size // units))
        rules[kernel.path] = initializer
        texts.append(text)
    return Remedy(f"use recurrent_initializer={' and '.join(dict.fromkeys(texts))}", rules)


# Remedies if the outputs of a model are too large: smaller inputs, weights or tables.


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


# Remedies of an output head: another activation after the last kernel, or another loss.


def propose_activation(
    activation: str | None,
    layer: MeasuredLayer,
    loss: str = "",
    head: OutputHead | None = None,
) -> Remedy:
    """Propose another activation in `layer`, and another loss if one is given.

    The text skips an activation or a loss that `layer` and `head` already have.
    """
    clauses = []
    if activation != layer.activation or not loss:
        expression = "None" if activation is None else f'"{activation}"'
        clauses.append(f"activation={expression} in {layer.title}")
    name = getattr(keras.losses.get(loss), "__name__", None) if loss else None
    if loss and (head is None or head.loss.name != name):
        clauses.append(f'loss="{loss}"')
    return Remedy(f"set {' and '.join(clauses)}")


def propose_loss(name: str, **arguments: Any) -> Remedy:
    """Propose the loss of Keras of this name."""
    options = ", ".join(f"{argument}={value!r}" for argument, value in arguments.items())
    return Remedy(f"use loss=keras.losses.{name}({options})")


def propose_removal(applied: Sequence[AppliedActivation]) -> Remedy:
    """Propose to remove some activations."""
    clauses = []
    for activation in applied:
        if activation.is_argument:
            clauses.append(f"set activation=None in {activation.layer}")
        else:
            clauses.append(f"remove {activation.layer}, which applies {activation.activation}")
    return Remedy(" and ".join(clauses))
