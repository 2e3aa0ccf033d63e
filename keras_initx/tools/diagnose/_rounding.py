"""Gradients that are only rounding: if all terms of a sum cancel, its rounding error is left.

Examples are a bias of keys, which adds the same number to all scores of a query, and an offset
before a batch normalization. If weights and inputs change in their last digits, a gradient hardly
changes, but a rounding error does.
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

# The most relative change of numbers, in units of the distance from 1 to the next number.
_CHANGE = 4
# A gradient that changes by more than this share of its norm is rounding.
_UNRELATED = 0.5


def select_rounding_gradients(
    layers: Sequence[MeasuredLayer], diagnosis: Diagnosis
) -> list[MeasuredLayer]:
    """Return the layers whose gradient is only rounding."""
    variables = []
    for layer in layers:
        variables += [
            weight.own.variable for weight in layer.weights if weight.report.gradient is not None
        ]
    if not variables:
        return []
    before = diagnosis.gradient_values(variables)
    after = _compute_changed_gradients(variables, diagnosis)
    changes = {}
    for variable, *pair in zip(variables, before, after, strict=True):
        changes[id(variable)] = _compute_size_and_change(*pair)
    rounding = []
    for layer in layers:
        pairs = [changes.get(id(weight.own.variable), (0.0, 0.0)) for weight in layer.weights]
        size, change = (math.hypot(*of_weights) for of_weights in zip(*pairs, strict=True))
        if change > _UNRELATED * size:
            rounding.append(layer)
    return rounding


def _compute_size_and_change(before: Array | None, after: Array | None) -> tuple[float, float]:
    """Return the norm of a gradient, and the norm of its change."""
    if before is None or after is None:
        return 0.0, 0.0
    before, after = before.astype("float64"), after.astype("float64")
    return float(np.linalg.norm(before)), float(np.linalg.norm(after - before))


def _compute_changed_gradients(
    variables: Sequence[keras.Variable], diagnosis: Diagnosis
) -> list[Array | None]:
    """Return gradients with all weights and inputs changed in their last digits."""
    epsilons = [EPSILONS.get(layer.compute_dtype, 0.0) for layer in list_layers(diagnosis.model)]
    share = _CHANGE * max(EPSILONS["float32"], *epsilons)

    def add_noise(values: Array) -> Array:
        noise = np.random.default_rng(0).uniform(-1, 1, values.shape)
        return np.asarray(values * (1 + share * noise.astype(values.dtype)))

    def scale(leaf: Any) -> Any:
        return leaf * (1 + share) if list_floats(leaf) else leaf

    x: Arrays = keras.tree.map_structure(scale, diagnosis.x)
    with diagnosis.changed(), contextlib.ExitStack() as stack:
        for weight in diagnosis.model.weights:
            if "float" in weight.dtype:
                stack.enter_context(change_weight(weight, add_noise))
        return diagnosis.gradient_values(variables, x)
