"""Residual branches that start small, if the sum of all of them grows."""

from collections.abc import Sequence

import keras

from keras_initx._checks import summarize_names
from keras_initx.initializers._activations import activation_facts
from keras_initx.initializers._composition import Scaled
from keras_initx.initializers._variance_named import HeNormal
from keras_initx.inspection._branches import Branch, find_branches
from keras_initx.tools.diagnose._diagnosis import Diagnosis
from keras_initx.tools.diagnose._measured_layers import (
    MeasuredLayer,
    MeasuredWeight,
    branch_ends,
    list_kernels,
    list_layers_until,
    measured_layers,
)
from keras_initx.tools.diagnose._normalized import removes_scale
from keras_initx.tools.diagnose._redrawing import Choice, list_untried, make_rules
from keras_initx.tools.diagnose._remedy import Remedy
from keras_initx.tools.diagnose._rules import exceeds, list_titles


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
