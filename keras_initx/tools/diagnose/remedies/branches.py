"""Residual branches that start small, where the sum of all grows."""

from collections.abc import Sequence

import keras

from keras_initx._checks import summarize_names
from keras_initx._typing import InitializerLike
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
    """Return the remedy where the sum of residual branches grows.

    It is `None` without branches, and where they start so already. Each branch starts at 0, or, if
    it ends in a ReLU, at a fraction: a ReLU of zeros gets no gradient, and the branch would stay 0.
    """
    ends = find_scaling_layers(diagnosis)
    if not ends:
        return None
    facts = [activation_facts(end.activation_after) for end in branch_ends(diagnosis)]
    is_flat = any(one.opens is False for one in facts)
    weights, name = list_kernels(ends), "kernel"
    if not weights:
        weights, name = _list_scales(ends), "gamma"
    initializer: InitializerLike = "zeros"
    text = '"zeros"'
    if is_flat and name == "kernel":
        initializer = Scaled(HeNormal(), 1 / len(ends))
        text = f"keras_initx.Scaled(keras_initx.HeNormal(), 1 / {len(ends)})"
    elif is_flat:
        initializer = keras.initializers.Constant(1 / len(ends))
        text = f"keras.initializers.Constant(1 / {len(ends)})"
    if not list_untried([Choice(initializer, text)], weights):
        return None
    return Remedy(
        f"set {name}_initializer={text} in the last layer of each residual branch: "
        f"{summarize_names(list_titles(ends))}",
        make_rules(weights, initializer),
    )


def find_scaling_layers(diagnosis: Diagnosis) -> list[MeasuredLayer]:
    """Find the layer that scales each residual branch: the last before its activation, if any."""
    return [
        _find_last_scaling_layer(list_layers_until(end, diagnosis))
        for end in branch_ends(diagnosis)
    ]


def _find_last_scaling_layer(layers: Sequence[MeasuredLayer]) -> MeasuredLayer:
    """Return the last of `layers` with a kernel or a scale, or the last of all."""
    for layer in reversed(layers):
        if layer.kernels or layer.named("gamma"):
            return layer
    return layers[-1]


def _list_scales(layers: Sequence[MeasuredLayer]) -> list[MeasuredWeight]:
    """Return the scales of normalizations."""
    found: list[MeasuredWeight] = []
    for layer in layers:
        found += layer.named("gamma")
    return found


def propose_for_growing_sums(diagnosis: Diagnosis) -> Remedy | None:
    """Return the remedy where a signal grows by the sum of branches alone, otherwise `None`.

    Then no kernel makes it much larger.
    """
    smaller = propose_smaller_branches(diagnosis)
    if smaller is None or any(exceeds(layer.gain, 2) for layer in measured_layers(diagnosis)):
        return None
    branches = find_branches(diagnosis.watch.graph.nodes).found
    if branches and all(_starts_with_normalization(branch, diagnosis) for branch in branches):
        return smaller
    return smaller.otherwise(Remedy("add a normalization at the start of each branch"), "; or ")


def _starts_with_normalization(branch: Branch, diagnosis: Diagnosis) -> bool:
    return all(removes_scale(operation, diagnosis) for operation in branch.first)
