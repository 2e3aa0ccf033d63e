"""Gradients that are rounding alone: where all terms of a sum cancel, its error is left.

So it is with a bias of keys, which moves all scores of a query alike, or an offset before a batch
normalization. A gradient hardly changes where weights and inputs change in their last places; the
error of a sum becomes another one.
"""

import contextlib
import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_initx._checks import EPSILONS
from keras_initx._keras import list_layers
from keras_initx._typing import Array
from keras_initx.tools.diagnose._diagnosis import Arrays, Diagnosis
from keras_initx.tools.diagnose._measured_layers import MeasuredLayer
from keras_initx.tools.diagnose._signal_probe import list_floats
from keras_initx.tools.diagnose._unreached_layers import change_weight

# By so many times the distance of 1 from the next number, numbers are changed at most.
_CHANGE = 4
# Change of a gradient then, relative to it, above which it is rounding.
_UNRELATED = 0.5


def select_rounding_gradients(
    layers: Sequence[MeasuredLayer], diagnosis: Diagnosis
) -> list[MeasuredLayer]:
    """Return those of some layers whose gradient is rounding alone."""
    variables = []
    for layer in layers:
        variables += [one.own.variable for one in layer.weights if one.report.gradient is not None]
    if not variables:
        return []
    before = diagnosis.gradient_values(variables)
    after = _with_other_last_places(variables, diagnosis)
    changes = {}
    for variable, *pair in zip(variables, before, after, strict=True):
        changes[id(variable)] = _size_and_change(*pair)
    found = []
    for layer in layers:
        known = [changes.get(id(weight.own.variable), (0.0, 0.0)) for weight in layer.weights]
        size, change = (math.hypot(*of_weights) for of_weights in zip(*known, strict=True))
        if change > _UNRELATED * size:
            found.append(layer)
    return found


def _size_and_change(before: Array | None, after: Array | None) -> tuple[float, float]:
    """Return the norm of a gradient, and that of its change."""
    if before is None or after is None:
        return 0.0, 0.0
    before, after = before.astype("float64"), after.astype("float64")
    return float(np.linalg.norm(before)), float(np.linalg.norm(after - before))


def _with_other_last_places(
    variables: Sequence[keras.Variable], diagnosis: Diagnosis
) -> list[Array | None]:
    """Return gradients where all weights and inputs are changed in their last places."""
    places = [EPSILONS.get(one.compute_dtype, 0.0) for one in list_layers(diagnosis.model)]
    share = _CHANGE * max(EPSILONS["float32"], *places)

    def changed(values: Array) -> Array:
        noise = np.random.default_rng(0).uniform(-1, 1, values.shape)
        return np.asarray(values * (1 + share * noise.astype(values.dtype)))

    def moved(leaf: Any) -> Any:
        return leaf * (1 + share) if list_floats(leaf) else leaf

    x: Arrays = keras.tree.map_structure(moved, diagnosis.x)
    with diagnosis.changed(), contextlib.ExitStack() as stack:
        for weight in diagnosis.model.weights:
            if "float" in weight.dtype:
                stack.enter_context(change_weight(weight, changed))
        return diagnosis.gradient_values(variables, x)
