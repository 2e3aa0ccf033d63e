"""Which architecture a model has, by its layers and by the names of its weights."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from keras_initx._array_files import Stored
from keras_initx._typing import Array, Shape
from keras_initx.models import as_stored
from keras_initx.recipes._fit import Weights, named_shapes
from keras_initx.recipes._image_architecture import image_recipes
from keras_initx.structure import check_model, matching_paths, named_layers

# The recipe for models with weights of these names: in KerasHub, in Hugging Face's transformers and
# in the code of the authors. The first one that matches is used.
_MARKS = {
    "whisper": ("*encoder_token_embedding_conv_layer_1/kernel", "*encoder.conv1.weight"),
    "gemma": ("*decoder_block_*/ffw_gating/kernel",),
    "t5": ("*query_projector/kernel", "*.SelfAttention.q.weight"),
    "clip": (
        "*logit_scale",
        "*class_embedding",
        "*text_projection",
        "*encoder_block_*/attention/query/kernel",
        "text_model.*",
        "vision_model.*",
    ),
    "llama": (
        "*/feedforward_gate_dense/kernel",
        "*/expert_feedforward_gate_dense",
        "*.mlp.gate_proj.weight",
        "*.mlp.gate_up_proj.weight",
        "*.mlp.experts.*gate_up_proj",
        "*.mlp.experts.*.gate_proj.weight",
        "*.block_sparse_moe.*.w1.weight",
        "*.feed_forward.*w1.weight",
        "*.blocks.*.ff_proj.weight",
    ),
    "bert": (
        "*disentangled_attention_encoder_layer*/kernel",
        "*attention/self/query/kernel",
        "*.attention.self.query.weight",
        "*.attention.self.*_proj.weight",
        "*.attention.q_lin.weight",
        "*.albert_layers.*",
        "*sentence_encoder.layers.*.self_attn.q_proj.weight",
    ),
    "gpt2": ("*.attn.c_attn.weight", "*/attn/c_attn/w"),
    "vit_timm": ("*patch_embedding/kernel",),
}
# The recipe for what it says, in an error.
_DESCRIPTIONS = {
    "bert": "an encoder that normalizes after each sum, as BERT does",
    "clip": "a CLIP, or one of its two encoders",
    "gemma": "a Gemma, with scales of normalizations that are 0 at the start, to which it adds 1",
    "gpt2": "a GPT-2",
    "llama": (
        "a decoder with gated feed-forward networks, and with scales of normalizations that are 1 "
        "at the start, as in Llama"
    ),
    "whisper": "a Whisper, with an encoder and a decoder",
}


def architecture(weights: Weights, shapes: Mapping[str, Shape]) -> str | None:
    """Return the name of the recipe that is for such weights, or `None` if none is known.

    Args:
        weights: A model, or a dict from names to arrays.
        shapes: The shapes of its weights by their names.
    """
    recipe = _by_names(shapes)
    if recipe == "llama" and _is_centered(weights, shapes):
        return None if matching_paths("*.linear_attn.*", shapes) else "gemma"
    if recipe is not None:
        return recipe
    if isinstance(weights, keras.Model) and not matching_paths("*cross_attention*", shapes):
        order = normalization_order(weights)
        if order is not None:
            is_first, _ = order
            return "gpt2" if is_first else "bert"
    fitting, _ = image_recipes(weights, shapes)
    return fitting[0] if fitting else None


def _by_names(shapes: Mapping[str, Shape]) -> str | None:
    """Return the name of the recipe for weights of these names, or `None` if none is known."""
    for recipe, patterns in _MARKS.items():
        if any(matching_paths(pattern, shapes) for pattern in patterns):
            return recipe
    return None


def _is_centered(weights: Weights, shapes: Mapping[str, Shape]) -> bool:
    """Return whether the normalizations of arrays with the names of Llama add 1 to their scales.

    Those of Gemma and Qwen 3 Next do: most of their scales are 0 at the start, others' 1. After
    training the names decide, which are those of Llama in the first Gemma, and not in later ones.
    """
    if isinstance(weights, keras.Model):
        return False
    scales = matching_paths("*layernorm.weight", shapes)
    zeros = 0
    ones = 0
    for name in scales:
        values = _values_of(weights[name])
        zeros += bool((values == 0).all())
        ones += bool((values == 1).all())
    if max(zeros, ones) > len(scales) / 2:
        return zeros > ones
    return bool(matching_paths("*.pre_feedforward_layernorm.weight", shapes))


def _values_of(array: Any) -> Array:
    """Return the values of an array in memory or in a file."""
    stored = array if isinstance(array, Stored) else as_stored(array)
    return np.asarray(stored.read(...))


def normalization_order(model: keras.Model) -> tuple[bool, str] | None:
    """Return whether a transformer normalizes before each branch, and a layer that shows it.

    `None` if no layer shows it. Those of KerasHub have the attribute `normalize_first`, or their
    own class. DeBERTa has neither, but normalizes its embeddings, as all do that normalize last.
    """
    layers = named_layers(model)
    for layer, path in layers.items():
        is_first = getattr(layer, "normalize_first", None)
        if isinstance(is_first, bool):
            return is_first, f"{path!r} (normalize_first={is_first})"
    for path in layers.values():
        if path.endswith("embeddings_layer_norm"):
            return False, repr(path)
    return None


def check_architecture(name: str, weights: Any, recipe: str) -> dict[str, Shape]:
    """Return the shapes of weights by their names, if `recipe` is for such weights.

    Args:
        name: Name of the argument.
        weights: A built model, or a dict from names to arrays.
        recipe: Name of the recipe.

    Raises:
        TypeError: If `weights` is neither.
        ValueError: If another recipe is for such weights, or none is known.
    """
    shapes = named_shapes(name, weights)
    found = architecture(weights, shapes)
    if found == recipe:
        return shapes
    advice = "write your own rules" if found is None else f"use `{found}`"
    first = next(iter(shapes))
    raise ValueError(
        f"`{name}` must be {_DESCRIPTIONS[recipe]}; for this model {advice}. "
        f"Received: {name} with {first!r} and {len(shapes) - 1} other weights"
    )


def check_image_architecture(weights: Any, recipe: str, kind: str) -> dict[str, Shape]:
    """Return the shapes of the argument `model` by their names, if `recipe` is for such networks.

    Args:
        weights: A built model, or a dict from names to arrays.
        recipe: Name of the recipe.
        kind: The networks that it is for.

    Raises:
        TypeError: If `weights` is neither.
        ValueError: If another recipe is for such networks, or none is known.
    """
    shapes = named_shapes("model", weights)
    fitting, reason = image_recipes(weights, shapes)
    if recipe in fitting:
        return shapes
    by_names = _by_names(shapes)
    if by_names is not None:
        fitting = (by_names,)
    instead = "write your own rules"
    if fitting:
        others = " or ".join(f"`{other}`" for other in fitting)
        instead = f"use {others}, or {instead}"
    received = f"a dict with {next(iter(shapes))!r}"
    if isinstance(weights, keras.Model):
        received = repr(weights.name)
    raise ValueError(
        f"`model` must be {kind}; otherwise {instead}. Received: model={received} with {reason}"
    )


def check_normalization(name: str, model: Any, *, is_first: bool) -> None:
    """Raise `ValueError` if a transformer normalizes elsewhere than a recipe requires.

    Args:
        name: Name of the argument.
        model: A model, or a number of blocks.
        is_first: Whether it must normalize before each branch, and not after each sum.
    """
    if not isinstance(model, keras.Model):
        return
    order = normalization_order(model)
    if order is None or order[0] == is_first:
        return
    places = ("before each branch, as GPT-2 does", "after each sum, as BERT does")
    required, other = places if is_first else reversed(places)
    instead = architecture(model, named_shapes(name, model)) or "deepnorm"
    raise ValueError(
        f"`{name}` must be a model that normalizes {required}; for one that normalizes {other}, "
        f"use `{instead}`. Received: {name}={model.name!r} with {order[1]}"
    )


def check_vision_transformer(name: str, model: Any) -> None:
    """Raise `ValueError` if a model is no vision transformer.

    One without a layer of attention, by its class or name, or with embeddings of tokens.
    """
    shapes = named_shapes(name, check_model(name, model))
    attends = False
    reason = ""
    for layer, path in named_layers(model).items():
        if "attention" in f"{type(layer).__name__} {path}".lower():
            attends = True
        if isinstance(layer, keras.layers.Embedding) and "position" not in layer.name:
            reason = f"{path!r}, an embedding of tokens"
    if not attends:
        reason = f"{next(iter(shapes))!r}, and 'attention' in no class or name of a layer"
    if not reason:
        return
    found = architecture(model, shapes)
    advice = "write your own rules" if found in (None, "vit_timm") else f"use `{found}`"
    raise ValueError(
        f"`{name}` must be a vision transformer, with attention over the patches of an image; for "
        f"another model {advice}. Received: {name}={model.name!r} with {reason}"
    )
