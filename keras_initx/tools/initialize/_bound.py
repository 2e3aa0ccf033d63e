"""Initializers that are bound to one weight, by a seed and its axes."""

import textwrap
from collections.abc import Mapping
from typing import Any, NamedTuple

import keras

from keras_initx._checks import quote_names
from keras_initx._typing import Shape
from keras_initx.initializers._as_ours import Adapted, adapt_initializer
from keras_initx.initializers._description import AXES
from keras_initx.initializers._gates import is_gru, is_lstm
from keras_initx.initializers._initializer import RandomInitializer, catalog, constructor_parameters
from keras_initx.initializers._recurrent import ChronoBias
from keras_initx.initializers._scale import MatrixInitializer, default_axes
from keras_initx.initializers._seeds import derived_seed
from keras_initx.inspection._kernels import KernelAxes
from keras_initx.inspection._weights import ModelWeight

# Arguments of `VarianceScaling`, `Spectral` and `Scaled`.
_SCALES = ("scale", "factor")
# The length of what is shown of an error of a user's class.
_LINE = 100
# The classes of this package: what they refuse is an error.
_OURS = frozenset(entry.cls for entry in catalog().values())


class Kept(NamedTuple):
    """An initializer of a user that is called itself, because it cannot be copied.

    Attributes:
        name: The name of its class.
        reason: Why it cannot.
    """

    name: str
    reason: str


class Binding:
    """Binds initializers to a weight: copies them, with a seed, and with axes if they have none.

    An initializer of Keras is replaced by its counterpart in this package, unless that refuses an
    argument. Nested initializers get seeds and axes too. An initializer of a user whose config
    lacks an argument is called itself: a copy would have other values. So is one whose class
    refuses its own config.

    Attributes:
        weight: The weight.
        kept: What is called itself of the initializers that were bound.
    """

    def __init__(self, weight: ModelWeight) -> None:
        self.weight = weight
        self.kept: list[Kept] = []

    def bound(
        self, initializer: keras.initializers.Initializer, seed: int, *, is_scaled: bool = False
    ) -> keras.initializers.Initializer:
        """Return a copy of an initializer for the weight.

        Args:
            initializer: An initializer. Its seed, if any, is replaced.
            seed: An integer.
            is_scaled: Whether it is inside of one that multiplies its values by a number of the
                user.
        """
        adapted = adapt_initializer(initializer)
        cls = adapted.counterpart or type(initializer)
        given = adapted.arguments()
        if given is None:
            return self._itself(initializer, f"its config lacks {quote_names(adapted.lacking())}")
        # Its number may stand for the strides: a layer does not tell its initializer of them.
        is_scaled = is_scaled or not given.keys().isdisjoint(_SCALES)
        if "seed" in given:
            given["seed"] = seed
        if isinstance(initializer, ChronoBias) and initializer.cell is None:
            # It would look at the layer that calls it, and no layer does here.
            given["cell"] = _cell_name(self.weight.layer)
        axes = None
        without_axes = given.get("input_axes") is None and given.get("output_axes") is None
        if without_axes and constructor_parameters(cls).keys() >= set(AXES):
            axes = _axes_for(cls, self.weight)
        if axes is not None:
            inputs, units = axes
            given["input_axes"] = list(inputs)
            given["output_axes"] = list(units)
        copy = self._copied(adapted, given, seed, is_scaled)
        if copy is initializer or not isinstance(copy, RandomInitializer):
            return copy
        if not without_axes:
            return copy.for_weight(seed)
        of_inputs, of_units = self.weight.groups
        if not is_scaled:
            of_inputs *= self.weight.phases
        return copy.for_weight(seed, groups=(of_inputs, of_units))

    def _copied(
        self, adapted: Adapted, given: Mapping[str, Any], seed: int, is_scaled: bool
    ) -> keras.initializers.Initializer:
        """Return a copy of an initializer with these arguments, or itself if it cannot be made."""
        initializer: keras.initializers.Initializer = adapted.initializer
        counterpart = adapted.counterpart
        if counterpart is not None:
            try:
                return counterpart.from_config(self._arguments(given, seed, is_scaled))
            except ValueError:  # such as of a standard deviation of 0, which Keras takes
                return type(initializer).from_config({**initializer.get_config(), "seed": seed})
        cls = type(initializer)
        if cls in _OURS:
            return cls.from_config(self._arguments(given, seed, is_scaled))
        try:
            return cls.from_config(self._arguments(given, seed, is_scaled))
        except Exception as error:  # it may refuse its own config, or hold one of no known class
            problem = f"{type(error).__name__}: {error}".removesuffix(": ")
            problem = textwrap.shorten(problem, _LINE, placeholder="...")
            return self._itself(initializer, f"its class refuses its config, by {problem}")

    def _itself(
        self, initializer: keras.initializers.Initializer, reason: str
    ) -> keras.initializers.Initializer:
        """Return an initializer itself, and remember why."""
        kept = Kept(type(initializer).__name__, reason)
        if kept not in self.kept:
            self.kept.append(kept)
        return initializer

    def _arguments(self, given: Mapping[str, Any], seed: int, is_scaled: bool) -> dict[str, Any]:
        """Return arguments in which all initializers have a seed and axes."""
        found = {}
        for name, value in given.items():
            found[name] = self._argument(value, derived_seed(seed, name), is_scaled)
        return found

    def _argument(self, value: Any, seed: int, is_scaled: bool) -> Any:
        if isinstance(value, list | tuple):
            items = []
            for i, item in enumerate(value):
                items.append(self._argument(item, derived_seed(seed, i), is_scaled))
            return items
        if isinstance(value, keras.initializers.Initializer):
            return self.bound(value, seed, is_scaled=is_scaled)
        # In the config of a user's initializer.
        if isinstance(value, Mapping) and "class_name" in value:
            inner = keras.saving.deserialize_keras_object(value)
            if isinstance(inner, keras.initializers.Initializer):
                inner = self.bound(inner, seed, is_scaled=is_scaled)
                return keras.saving.serialize_keras_object(inner)
        return value


def _cell_name(layer: keras.Layer | None) -> str | None:
    """Return the `cell` of a `ChronoBias` for `layer`, or `None` if it has no gates."""
    if is_lstm(layer):
        return "lstm"
    if is_gru(layer):
        return "gru"
    return None


def _axes_for(cls: type, weight: ModelWeight) -> KernelAxes | None:
    """Return the axes that an initializer of type `cls` needs for `weight`.

    They are `None` if it would choose these itself, or if the weight is no kernel.
    """
    if weight.axes is None:
        return None
    inputs, units = weight.axes
    rank = len(weight.shape)
    default_inputs, default_units = default_axes(rank)
    if issubclass(cls, MatrixInitializer):
        # It needs each axis once. Those of a window are inputs of each unit, and what a depthwise
        # kernel does to each channel is no matrix.
        units = _without(units, inputs)
        default_units = _without(default_units, default_inputs)
        if not inputs or not units or len(inputs + units) < rank:
            return None
    if (inputs, units) == (default_inputs, default_units):
        return None
    return inputs, units


def _without(axes: Shape, others: Shape) -> Shape:
    return tuple(axis for axis in axes if axis not in others)
