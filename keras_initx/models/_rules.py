"""Rules from patterns, layer types and functions to initializers, which are bound to one weight."""

import contextlib
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import keras
import numpy as np

from keras_initx._checks import quoted, similar_paths
from keras_initx._gates import is_gru, is_lstm
from keras_initx._recipe_names import OwnPattern, findings_in, recipe_of, recipes_like, with_roles
from keras_initx._seeds import derived_seed, has_seed
from keras_initx._suggestions import did_you_mean
from keras_initx._typing import InitializerLike, RolesGiven, Shape
from keras_initx.backends import backend
from keras_initx.initializers import (
    AxesInitializer,
    ChronoBias,
    MatrixInitializer,
    RandomInitializer,
    are_equal,
    arguments_of,
    check_initializer,
    counterpart,
    default_axes,
    is_array,
    parameters_of,
    with_seed,
)
from keras_initx.models._paths import shown_paths
from keras_initx.structure import KernelAxes, ModelWeight, first_matches, matches_path

# A pattern for paths, a layer type, or a predicate on a weight.
Condition: TypeAlias = str | type[keras.Layer] | Callable[[ModelWeight], bool]
# Maps conditions to initializers, or to `None` for weights that are left unchanged.
Rules: TypeAlias = Mapping[Condition, InitializerLike | None]
# Rules, or the recipe for them: a function of a model, or its name.
RulesOrRecipe: TypeAlias = Rules | Callable[[Any], Rules] | str


def rules_for(
    model: keras.Model, given: Any, name: str = "rules", roles: RolesGiven | None = None
) -> Rules | None:
    """Return the rules of a recipe for `model`; what is no recipe is returned as it is.

    Args:
        model: A built model.
        given: A recipe, its name, or anything else.
        name: Name of the argument in error messages.
        roles: Patterns of weights by their roles, which only a recipe takes.

    Raises:
        TypeError: If `given` is no mapping, and no recipe.
        ValueError: If `given` is a text and no name of a recipe, or the recipe refuses `model` or
            `roles`.
    """
    recipe = given
    if isinstance(given, str):
        recipe = recipe_of(given)
        if recipe is None:
            raise ValueError(no_rules(name, given))
    if roles is not None:
        recipe = with_roles(recipe, roles)
    # An initializer can be called too, but not with a model.
    if callable(recipe) and not isinstance(recipe, type | keras.initializers.Initializer):
        recipe = recipe(model)
    if recipe is not None and not isinstance(recipe, Mapping):
        raise TypeError(
            f"`{name}` must be a dict from conditions to initializers, or a recipe, which returns "
            f"one. Received: {name}={given!r}"
        )
    return recipe


def no_rules(name: str, given: str) -> str:
    """Return the error message for a text that is no name of a recipe."""
    required = f"`{name}` must be a dict from conditions to initializers"
    if is_initializer(given):
        required += f", such as {{'*kernel': {given!r}}}"
    similar = did_you_mean(map(repr, recipes_like(given)))
    return f"{required}, or a recipe. Received: {name}={given!r}{similar}"


def is_initializer(text: str) -> bool:
    """Return whether Keras knows an initializer of this name."""
    try:
        return callable(keras.initializers.get(text))
    except ValueError:
        return False


def initializers_by_rule(
    rules: Rules | None, weights: Sequence[ModelWeight]
) -> dict[str, keras.initializers.Initializer | None]:
    """Return the value of the first matching rule, by the path of each weight that a rule matches.

    Raises:
        TypeError: If a condition or a value has the wrong type.
        ValueError: If a rule matches no weight, or its value is not an initializer or has a seed.
    """
    if rules is None:
        return {}
    initializers: dict[Condition, keras.initializers.Initializer | None] = {}
    for condition, value in rules.items():
        if isinstance(condition, OwnPattern):
            value = rules.get(str(condition), value)  # that of a user with the same pattern
        with contextlib.ExitStack() as stack:
            stack.callback(backend.kept_generators())  # a name makes one with a seed of its own
            initializers[condition] = _checked(condition, value)

    shown = shown_paths(weights)

    def matches(condition: Condition, weight: ModelWeight) -> bool:
        return _matches(condition, weight, shown[weight.path])

    def hint(condition: Condition) -> str:
        if not isinstance(condition, str):
            return ""
        types = {type(layer).__name__ for weight in weights for layer in weight.layers}
        if condition in types:
            return did_you_mean([f"the class {condition} itself"])
        return similar_paths(condition, list(shown.values()))

    by_path = {weight.path: weight for weight in weights}
    found = first_matches("rules", rules, by_path, matches, hint=hint)
    return {path: initializers[condition] for path, (condition, _) in found.items()}


def left_by(rules: Rules | None) -> set[str]:
    """Return the paths of weights of which a recipe does not know what they are for."""
    return {path for found in findings_in(rules) for path in found.left}


def notes_on(
    rules: Rules | None, weights: Sequence[ModelWeight], left: Sequence[str]
) -> tuple[str, ...]:
    """Return what a reader of rules may not expect of them, as lines of text.

    That is what a recipe has recognized, or which problems of a report the rules are for, what it
    leaves, and the other names that a pattern matches: `"*kernel"` matches a `recurrent_kernel`.

    Args:
        rules: Rules.
        weights: The weights of the model.
        left: The paths of those that a recipe leaves.
    """
    notes = [note for found in findings_in(rules) for note in found.notes]
    if left:
        notes.append(f"Left, since it is not known what it is for: {quoted(left)}.")
    shown = shown_paths(weights)
    seen: set[str] = set()
    for condition, value in (rules or {}).items():
        if not isinstance(condition, str):
            continue
        _, _, ending = re.split("[/.]", condition)[-1].rpartition("*")
        others: Counter[str] = Counter()
        for weight in weights:
            path = shown[weight.path]
            if weight.path not in seen and _matches(condition, weight, path):
                seen.add(weight.path)
                others[re.split("[/.]", path)[-1]] += 1
        del others[ending]
        if "*" in condition and ending and others and value is not None:
            names = [f"{name} ({count})" for name, count in others.items()]
            notes.append(f"The rule {condition!r} is also for {', '.join(names)}.")
    return tuple(notes)


def _checked(
    condition: Any, value: InitializerLike | None
) -> keras.initializers.Initializer | None:
    """Return the initializer of a rule."""
    if not _is_condition(condition):
        raise TypeError(
            "`rules` must have patterns, layer types or functions as keys. "
            f"Received: {condition!r} as a key"
        )
    if value is None:
        return None
    initializer = check_initializer(f"rules[{condition!r}]", value)
    if has_seed(initializer.get_config()):
        raise ValueError(
            "`rules` must have initializers without seeds: each weight gets its own, derived from "
            f"`seed`. Received: {initializer!r} for {condition!r}"
        )
    return initializer


def _is_condition(condition: Any) -> bool:
    if isinstance(condition, type):
        return issubclass(condition, keras.Layer)
    return isinstance(condition, str) or callable(condition)


def _matches(condition: Condition, weight: ModelWeight, shown: str) -> bool:
    """Return whether a condition matches a weight, whose path is also shown in another form."""
    if isinstance(condition, str):
        return matches_path(condition, weight.path) or matches_path(condition, shown)
    if isinstance(condition, type):
        # Not biases, for which an initializer for kernels is unsuitable.
        if len(weight.shape) < 2:
            return False
        return any(isinstance(layer, condition) for layer in weight.layers)
    return bool(condition(weight))


_AXES = ("input_axes", "output_axes")
# Arguments of `VarianceScaling`, `Spectral` and `Scaled`.
_SCALES = ("scale", "factor")


def with_seed_and_axes(
    initializer: keras.initializers.Initializer,
    seed: int,
    weight: ModelWeight,
    *,
    is_scaled: bool = False,
) -> keras.initializers.Initializer:
    """Return a copy of `initializer` for `weight`, with a seed, and with axes if it has none.

    An initializer of Keras is replaced by its counterpart in this package, unless that refuses an
    argument. Nested initializers get seeds and axes too. An initializer of a user whose config
    lacks an argument is returned itself: a copy would have other values.

    Args:
        initializer: An initializer. Its seed, if any, is replaced.
        seed: An integer.
        weight: A weight.
        is_scaled: Whether it is inside of one that multiplies its values by a number of the user.
    """
    cls = counterpart(initializer) or type(initializer)
    given = arguments_of(initializer)
    if given is None:
        return initializer
    # Its number may stand for the strides: a layer does not tell its initializer of them.
    is_scaled = is_scaled or not given.keys().isdisjoint(_SCALES)
    if "seed" in given:
        given["seed"] = seed
    if isinstance(initializer, ChronoBias) and initializer.cell is None:
        # It would look at the layer that calls it, and no layer does here.
        given["cell"] = _cell_name(weight.layer)
    without_axes = given.get("input_axes") is None and given.get("output_axes") is None
    axes = None
    if without_axes and parameters_of(cls).keys() >= set(_AXES):
        axes = _axes_for(cls, weight)
    if axes is not None:
        inputs, units = axes
        given["input_axes"] = list(inputs)
        given["output_axes"] = list(units)
    try:
        arguments = {}
        for name, value in given.items():
            arguments[name] = _argument_for(value, derived_seed(seed, name), weight, is_scaled)
        copy: keras.initializers.Initializer = cls.from_config(arguments)
    except Exception:
        if counterpart(initializer) is not None:
            # Such as a standard deviation of 0.
            return type(initializer).from_config({**initializer.get_config(), "seed": seed})
        # A user's class may refuse its own config, or hold one that is not registered.
        return initializer
    if "seed" not in given and isinstance(copy, RandomInitializer):
        copy = with_seed(copy, seed)
    if without_axes and isinstance(copy, AxesInitializer):
        of_inputs, of_units = weight.groups
        if not is_scaled:
            of_inputs *= weight.phases
        copy._groups = of_inputs, of_units
    return copy


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


def _argument_for(value: Any, seed: int, weight: ModelWeight, is_scaled: bool) -> Any:
    """Return an argument in which all initializers have a seed and axes."""
    if isinstance(value, list | tuple):
        items = []
        for i, item in enumerate(value):
            items.append(_argument_for(item, derived_seed(seed, i), weight, is_scaled))
        return items
    if isinstance(value, keras.initializers.Initializer):
        return with_seed_and_axes(value, seed, weight, is_scaled=is_scaled)
    # In the config of a user's initializer.
    if isinstance(value, Mapping) and "class_name" in value:
        inner = keras.saving.deserialize_keras_object(value)
        if isinstance(inner, keras.initializers.Initializer):
            inner = with_seed_and_axes(inner, seed, weight, is_scaled=is_scaled)
            return keras.saving.serialize_keras_object(inner)
    return value


def description(initializer: Callable[..., Any]) -> str:
    """Return an initializer as a constructor call, or the name of a function.

    Without seed, axes and default arguments.
    """
    class_name = type(initializer).__name__
    if not isinstance(initializer, keras.initializers.Initializer):
        return str(getattr(initializer, "__name__", class_name))
    arguments = arguments_of(initializer)
    if arguments is None:
        return f"{class_name}(...)"
    parameters = parameters_of(type(initializer))
    shown = []
    for name, value in arguments.items():
        if name in ("seed", *_AXES):
            continue
        if name in parameters and are_equal(value, parameters[name].default):
            continue
        shown.append(f"{name}={_argument_text(value)}")
    return f"{class_name}({', '.join(shown)})"


def _argument_text(value: Any) -> str:
    # In the config of Keras' or a user's initializer, an array is such a dict.
    if isinstance(value, Mapping) and "class_name" in value:
        with contextlib.suppress(Exception):  # of a class that is not registered
            value = keras.saving.deserialize_keras_object(value)
    if isinstance(value, list | tuple):
        items = [_argument_text(item) for item in value]
        return f"[{', '.join(items)}]"
    if isinstance(value, keras.initializers.Initializer):
        return description(value)
    if is_array(value):
        return f"<array of shape {tuple(value.shape)}>"
    if isinstance(value, np.generic | np.ndarray):
        value = value.item()
    if isinstance(value, float):
        return f"{value:.4g}"
    return repr(value)
