"""What the rules share: how they say where a problem is, and which initializer suits a layer."""

import math
from collections.abc import Sequence
from typing import TypeAlias

from keras_initx.diagnostics._activations import is_bounded, suitable_initializer
from keras_initx.diagnostics._measurements import LayerReport, Measurements
from keras_initx.diagnostics._statistics import Signal
from keras_initx.diagnostics._weights import WeightReport

Pair: TypeAlias = tuple[LayerReport, WeightReport]


def pairs_of(measured: Measurements) -> list[Pair]:
    """Return all weights, each with its layer."""
    return [(layer, weight) for layer in measured.layers for weight in layer.weights]


def names_of(layers: Sequence[LayerReport]) -> tuple[str, ...]:
    """Return the names of layers, each once."""
    return tuple(dict.fromkeys(layer.name for layer in layers))


def layer_names(pairs: Sequence[Pair]) -> tuple[str, ...]:
    """Return the names of the layers in pairs of a layer and a weight, each once."""
    return names_of([layer for layer, _ in pairs])


def weight_name(layer: LayerReport, weight: WeightReport) -> str:
    """Return the name of a weight with that of its layer."""
    return f"{layer.name}/{weight.name}"


def weight_names(pairs: Sequence[Pair], between: str = ", ") -> str:
    """Return the names of the first few weights."""
    return join_names([weight_name(*pair) for pair in pairs], between)


def join_names(names: Sequence[str], between: str = ", ") -> str:
    """Return the first few names."""
    return between.join(names[:4]) + and_more(names, 4)


def and_more(items: Sequence[object], shown: int) -> str:
    """Return how many of `items` come after those `shown`."""
    return f" and {len(items) - shown} more" if len(items) > shown else ""


def in_first(pairs: Sequence[Pair]) -> str:
    """Return the name of the first weight, where there are several."""
    return f" in {weight_name(*pairs[0])}" if len(pairs) > 1 else ""


def and_others(pairs: Sequence[Pair]) -> str:
    """Return how many other weights there are."""
    return f", and so in {len(pairs) - 1} more" if len(pairs) > 1 else ""


def others(layers: Sequence[LayerReport]) -> str:
    """Return how many layers there are, where there are several."""
    return f" ({len(layers)} layers)" if len(layers) > 1 else ""


def number(value: float) -> str:
    """Return three digits of a number."""
    return f"{value:.3g}"


def root_mean_square(signal: Signal) -> float:
    """Return the root mean square of a signal."""
    return math.hypot(signal.mean, signal.std)


def is_rescaled(layer: LayerReport) -> bool:
    """Return whether a normalization, and nothing else, gets what `layer` computes: its size does not matter then."""
    return layer.normalized_by is not None and not is_bounded(layer.activation)


def normalization_of(layer: LayerReport) -> str:
    """Say which normalization makes the size of what `layer` computes harmless."""
    return f"; {layer.normalized_by} right behind brings what {layer.name} gives to one size"


def has_zeros(layer: LayerReport) -> bool:
    """Return whether all of a kernel, or of the scale of a normalization, is 0."""
    return any(weight.zero for weight in layer.weights)


def suggestion(layer: LayerReport) -> str:
    """Return the initializer that suits `layer`."""
    return suitable_initializer(layer.activation)
