"""What recipes share: the weights of a model by pattern, and errors for models that do not fit."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import keras
import numpy as np

from keras_initx._checks import check_count
from keras_initx._typing import InitializerLike, Shape
from keras_initx.initializers import TruncatedNormal
from keras_initx.sampling import truncated_quantiles
from keras_initx.structure import (
    NORMALIZATIONS,
    ModelWeight,
    activation_name,
    check_model,
    find_weights,
    is_depthwise,
    matches_path,
    matching_paths,
    named_layers,
)

# Maps patterns to initializers.
Recipe: TypeAlias = dict[str, InitializerLike | None]
# A model, or a dict from names to arrays, such as a state dict of torch.
Weights: TypeAlias = keras.Model | Mapping[str, Any]
# What to do with a model of other names, if a recipe takes a number in its place.
_NUMBER = "pass the number and edit the patterns in the returned dict"


def paths(model: keras.Model) -> list[str]:
    """Return the paths of all weights of a model."""
    return [weight.path for weight in find_weights(model)]


def matching(model: keras.Model, pattern: str) -> list[ModelWeight]:
    """Return the weights of a model whose paths match a pattern."""
    return [weight for weight in find_weights(model) if matches_path(pattern, weight.path)]


def matched(name: str, model: keras.Model, *patterns: str, otherwise: str = _NUMBER) -> list[str]:
    """Return the paths of the weights of a model that match the last of `patterns`.

    Args:
        name: Name of the argument.
        model: A built model.
        patterns: Path patterns. Each must match a weight, because a recipe must not be applied in
            part.
        otherwise: What to do with a model that has none.

    Raises:
        ValueError: If the model is not built, or has no weights that match one of the patterns.
    """
    found = paths(check_model(name, model))
    for pattern in patterns:
        result = matching_paths(pattern, found)
        if not result:
            raise ValueError(
                f"`{name}` must be a model with weights that match {pattern!r}; otherwise "
                f"{otherwise}. Received: {name}={model.name!r} with {found[-1]!r}"
            )
    return result


def count_of(name: str, value: Any, *patterns: str) -> int:
    """Return `value` if it is a number, otherwise the number of weights that match.

    Args:
        name: Name of the argument.
        value: A number, or a model.
        patterns: See `matched`.

    Raises:
        TypeError: If `value` is neither.
        ValueError: If it is not positive, or for the reasons of `matched`.
    """
    if isinstance(value, keras.Model):
        return len(matched(name, value, *patterns))
    return int(check_count(name, value))


def for_model(recipe: Recipe, model: Any) -> Recipe:
    """Return the rules that match a weight of `model`, or all rules if it is not a model."""
    if not isinstance(model, keras.Model):
        return recipe
    return for_names(recipe, paths(model))


def for_names(recipe: Recipe, names: Iterable[str]) -> Recipe:
    """Return the rules that match one of `names`."""
    found = list(names)
    used: Recipe = {}
    for pattern, value in recipe.items():
        if matching_paths(pattern, found):
            used[pattern] = value
    return used


def named_shapes(name: str, weights: Any) -> dict[str, Shape]:
    """Return the shape of each weight of a model, or of each array of a dict, by its name.

    Args:
        name: Name of the argument.
        weights: A built model, or a dict from names to arrays.

    Raises:
        TypeError: If `weights` is neither.
        ValueError: If it is a model that is not built, or an empty dict.
    """
    if isinstance(weights, keras.Model):
        return {weight.path: weight.shape for weight in find_weights(check_model(name, weights))}
    if not isinstance(weights, Mapping):
        raise TypeError(
            f"`{name}` must be a Keras model or a dict from names to arrays. "
            f"Received: {name}={weights!r}"
        )
    if not weights:
        raise ValueError(f"`{name}` must have weights. Received: an empty dict")
    return {path: tuple(np.shape(array)) for path, array in weights.items()}


def truncated_normal(stddev: float, bound: float) -> TruncatedNormal:
    """Return `N(0, stddev²)` truncated at `bound` times `stddev`, which makes it narrower."""
    remaining = truncated_quantiles(-bound, bound).stddev
    return TruncatedNormal(stddev=stddev * remaining, lower=-bound, upper=bound)


def check_not_normalized(name: str, model: Any, instead: str) -> None:
    """Raise `ValueError` if `model` is a model with normalization layers.

    Args:
        name: Name of the argument.
        model: A model, or a number of blocks.
        instead: What to use for such a model.
    """
    if not isinstance(model, keras.Model):
        return
    found = []
    for layer, path in named_layers(model).items():
        if _normalizes(layer):
            found.append(f"{path!r} ({type(layer).__name__})")
    if found:
        examples = found[:3]
        if len(found) > 3:
            examples.append("...")
        raise ValueError(
            f"`{name}` must be a model without normalization layers: build it without them, use "
            f"{instead} instead, or pass `strict=False` to keep them. Received: "
            f"{name}={model.name!r} with {len(found)} of them, {', '.join(examples)}"
        )


def _normalizes(layer: keras.Layer) -> bool:
    # These normalize inputs and weights.
    if isinstance(layer, keras.layers.Normalization | keras.layers.SpectralNormalization):
        return False
    if isinstance(layer, NORMALIZATIONS):
        return True
    # Those of KerasHub, such as `T5LayerNorm`, are classes of their own.
    return type(layer).__name__.endswith(("Norm", "Normalization"))


def check_depthwise(name: str, model: Any, normalization: type[keras.Layer]) -> None:
    """Raise `ValueError` if `model` lacks depthwise convolutions or normalization layers.

    Args:
        name: Name of the argument.
        model: A model.
        normalization: The type of the normalization layers.
    """
    has_depthwise = False
    has_normalization = False
    for weight in find_weights(check_model(name, model)):
        if is_depthwise_kernel(weight):
            has_depthwise = True
        if isinstance(weight.layer, normalization):
            has_normalization = True
    if not has_depthwise or not has_normalization:
        missing = normalization.__name__ if has_depthwise else "depthwise convolutions"
        raise ValueError(
            f"`{name}` must be a network of depthwise convolutions and {normalization.__name__} "
            f"layers; otherwise write your own rules. Received: {name}={model.name!r} without "
            f"{missing}"
        )


def is_depthwise_kernel(weight: ModelWeight) -> bool:
    """Return whether a weight is the kernel of a depthwise convolution."""
    if is_depthwise(weight.layer, weight.name):
        return True
    # A `Conv2D` with a group for each channel is depthwise too.
    groups = weight.groups[1]
    return 1 < groups == weight.shape[-1]


def check_activations(name: str, model: keras.Model, foreign: Sequence[str], instead: str) -> None:
    """Raise `ValueError` if a layer of `model` has an activation of another kind of network.

    Args:
        name: Name of the argument.
        model: A model.
        foreign: Names of the activations of the other kind.
        instead: What to use for that.
    """
    found = []
    for layer, path in named_layers(model).items():
        is_relu6 = isinstance(layer, keras.layers.ReLU) and layer.max_value == 6
        activation = "relu6" if is_relu6 else activation_name(layer)
        if activation in foreign:
            found.append(f"{path!r} ({activation})")
    if found:
        raise ValueError(
            f"`{name}` must be a network without the activations {foreign}: for one that has them "
            f"use {instead}, or write your own rules. Received: {name}={model.name!r} with "
            f"{len(found)} of them, {found[0]} first"
        )


def check_branches_are_added(name: str, model: keras.Model, pattern: str) -> None:
    """Raise `ValueError` if a layer whose weight matches `pattern` has a concatenated output.

    As in a DenseNet. Only functional models are known well enough.
    """
    weights = matching(model, pattern)
    parents = {id(weight.layers[-2]): weight.layers[-2] for weight in weights}
    readers: dict[int, list[Any]] = {}
    for parent in parents.values():
        for tensor, operations in readers_of(parent).items():
            readers.setdefault(tensor, []).extend(operations)
    found = []
    for weight in weights:
        if _is_concatenated(weight.layer, readers):
            found.append(weight.layer_paths[-1])
    if found:
        raise ValueError(
            f"`{name}` must be a model that adds its branches to their inputs: a branch that is "
            "concatenated and starts at 0 gives zeros to all blocks after it. Leave its weights to "
            f"`initialize` without rules. Received: {name}={model.name!r} with {len(found)} "
            f"concatenated branches, that of {found[0]!r} first"
        )


def readers_of(layer: keras.Layer) -> dict[int, list[Any]]:
    """Return the operations of a functional model that read a tensor, by the id of the tensor."""
    readers: dict[int, list[Any]] = {}
    for operation in getattr(layer, "operations", ()):
        for tensor in keras.tree.flatten(operation.input):
            readers.setdefault(id(tensor), []).append(operation)
    return readers


def _is_concatenated(layer: keras.Layer, readers: dict[int, list[Any]]) -> bool:
    """Return whether the output of `layer` is concatenated before it is combined in another way."""
    tensors = keras.tree.flatten(getattr(layer, "output", ()))
    while tensors:
        tensor = tensors.pop()
        for reader in readers.get(id(tensor), ()):
            if type(reader).__name__ == "Concatenate":  # a layer, or an operation of `keras.ops`
                return True
            if len(keras.tree.flatten(reader.input)) == 1:
                tensors += keras.tree.flatten(reader.output)
    return False
