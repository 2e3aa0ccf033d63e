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
from keras_initx.tools.diagnose._drawn_anew import Choice, not_yet_drawn, rules_for
from keras_initx.tools.diagnose._normalized import takes_scale_away
from keras_initx.tools.diagnose._remedy import Remedy
from keras_initx.tools.diagnose._rules import exceeds, titles_of
from keras_initx.tools.diagnose._seen import (
    SeenLayer,
    SeenWeight,
    branch_ends,
    kernels_of,
    layers_until,
    seen_layers,
)


def smaller_branches(of: Diagnosis) -> Remedy | None:
    """Return the remedy where the sum of residual branches grows.

    It is `None` without branches, and where they start so already. Each branch starts at 0, or, if
    it ends in a ReLU, at a fraction: a ReLU of zeros gets no gradient, and the branch would stay 0.
    """
    ends = scaling_ends(of)
    if not ends:
        return None
    facts = [activation_facts(end.activation_after) for end in branch_ends(of)]
    is_flat = any(one.opens is False for one in facts)
    weights, name = kernels_of(ends), "kernel"
    if not weights:
        weights, name = _scales_of(ends), "gamma"
    initializer: InitializerLike = "zeros"
    text = '"zeros"'
    if is_flat and name == "kernel":
        initializer = Scaled(HeNormal(), 1 / len(ends))
        text = f"keras_initx.Scaled(keras_initx.HeNormal(), 1 / {len(ends)})"
    elif is_flat:
        initializer = keras.initializers.Constant(1 / len(ends))
        text = f"keras.initializers.Constant(1 / {len(ends)})"
    if not not_yet_drawn([Choice(initializer, text)], weights):
        return None
    return Remedy(
        f"set {name}_initializer={text} in the last layer of each residual branch: "
        f"{summarize_names(titles_of(ends))}",
        rules_for(weights, initializer),
    )


def scaling_ends(of: Diagnosis) -> list[SeenLayer]:
    """Find the layer that scales each residual branch: the last before its activation, if any."""
    return [_last_that_multiplies(layers_until(end, of)) for end in branch_ends(of)]


def _last_that_multiplies(layers: Sequence[SeenLayer]) -> SeenLayer:
    """Return the last of `layers` with a kernel or a scale, or the last of all."""
    for layer in reversed(layers):
        if layer.kernels or layer.named("gamma"):
            return layer
    return layers[-1]


def _scales_of(layers: Sequence[SeenLayer]) -> list[SeenWeight]:
    """Return the scales of normalizations."""
    found: list[SeenWeight] = []
    for layer in layers:
        found += layer.named("gamma")
    return found


def growing_sums(of: Diagnosis) -> Remedy | None:
    """Return the remedy where a signal grows by the sum of branches alone, otherwise `None`.

    Then no kernel makes it much larger.
    """
    smaller = smaller_branches(of)
    if smaller is None or any(exceeds(layer.gain, 2) for layer in seen_layers(of)):
        return None
    branches = find_branches(of.watch.graph.nodes).branches
    if branches and all(_starts_normalized(branch, of) for branch in branches):
        return smaller
    return smaller.otherwise(Remedy("add a normalization at the start of each branch"), "; or ")


def _starts_normalized(branch: Branch, of: Diagnosis) -> bool:
    return all(takes_scale_away(operation, of) for operation in branch.first)
