"""A recipe for CLIP, which compares images with texts, and for each of its two encoders."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import keras

from keras_initx._typing import InitializerLike, Shape
from keras_initx.initializers import RandomNormal, RandomUniform, VarianceScaling
from keras_initx.recipes._network import Weights, network_of
from keras_initx.recipes._recipe import Recipe, recipe
from keras_initx.structure import matches_path, matching_paths

__all__ = ["clip"]

ClipSource: TypeAlias = Literal["openai", "transformers"]

NAMES_OF_CLIP = (
    "*logit_scale",
    "*class_embedding",
    "*text_projection",
    "*encoder_block_*/attention/query/kernel",
    "text_model.*",
    "vision_model.*",
)
# How names end in KerasHub, in Hugging Face's transformers and in the code of the authors.
_TOKENS = ("token_embedding/embeddings", "token_embedding.weight")
_POSITIONS = (
    "position_embedding/embeddings",
    "position_embedding.weight",
    "positional_embedding",
)
_PATCHES = ("patch_embedding/kernel", "patch_embedding.weight", "conv1.weight")
_QUERIES_KEYS_VALUES = (
    "/query/kernel",
    "/key/kernel",
    "/value/kernel",
    ".q_proj.weight",
    ".k_proj.weight",
    ".v_proj.weight",
    ".in_proj_weight",
)
_ATTENTION_OUTPUT = ("/attention_output/kernel", ".out_proj.weight")
_FIRST = ("/dense/kernel", ".fc1.weight", ".c_fc.weight")
_SECOND = ("/dense_1/kernel", ".fc2.weight", ".c_proj.weight")
_FIRST_BIAS = ("/dense/bias", ".fc1.bias", ".c_fc.bias")
_SECOND_BIAS = ("/dense_1/bias", ".fc2.bias", ".c_proj.bias")
_TEXT_PROJECTION = ("text_projection/kernel", "text_projection.weight", "text_projection")
_IMAGE_PROJECTION = ("vision_projection/kernel", "visual_projection.weight", "visual.proj")
# Where kernels are called weights, so are the scales of normalizations.
_SCALES = ("*layer_norm1.weight", "*layer_norm2.weight", "*norm.weight", "*ln_*.weight")
# The default of torch for convolutions and linear layers.
_TORCH = VarianceScaling(1 / 3, "fan_in", "uniform")


@recipe(
    kind="a CLIP, or one of its two encoders",
    sources={
        "openai": "Radford and others, 2021, by its code: in the encoder of texts the output of "
        "the attention is scaled by the depth; that of images has torch's defaults",
        "transformers": "Hugging Face's transformers: queries, keys and values are scaled by the "
        "depth; the same for images",
    },
    marks=NAMES_OF_CLIP,
)
def clip(model: Weights, *, source: ClipSource = "openai") -> Recipe:
    """Return the rules of CLIP: one set for the encoder of texts, another for that of images.

    In the authors' code, the encoder of texts has width `d` and `L` blocks: queries, keys and
    values get `N(0, 1 / d)`, the output of the attention `N(0, 1 / (2 d L))`, the kernels of the
    feed-forward network `N(0, 1 / (2 d))` and `N(0, 1 / (2 d L))`, token embeddings `N(0, 0.02²)`,
    position embeddings `N(0, 0.01²)`. The encoder of images has class and position embeddings from
    `N(0, 1 / d)`; the rest is left to torch: queries, keys and values get Glorot uniform weights of
    all three at once, `U(-sqrt(1.5 / d), sqrt(1.5 / d))`, other kernels `U(-1 / sqrt(fan_in), 1 /
    sqrt(fan_in))`. In both encoders the biases of feed-forward networks get the latter too, all
    others are 0. Projections get `N(0, 1 / d)`, and the scale of the logits is `log(1 / 0.07)`.

    Hugging Face's transformers have the numbers of the encoder of texts in both encoders, with the
    two of the attention swapped: queries, keys and values are scaled by the depth, and its output
    is not. All position embeddings and the patch embedding get `N(0, 0.02²)` there, biases are 0,
    and the scale of the logits is rounded to 2.6592: `source="transformers"`.

    Args:
        model: A built model with the names of KerasHub, or a dict from names to arrays with those
            of Hugging Face's transformers or of the authors, such as a state dict of torch: a CLIP,
            or one of its encoders.
        source: Whose numbers: `"openai"` or `"transformers"`.

    Raises:
        ValueError: If the encoder of images is a residual network of convolutions.

    Example:
        >>> import numpy as np
        >>> from keras_initx import recipes
        >>> rules = recipes.clip({
        ...     "token_embedding.weight": np.ones((50, 64)),
        ...     "transformer.resblocks.0.attn.out_proj.weight": np.ones((64, 64)),
        ...     "text_projection": np.ones((64, 32)),
        ... })
        >>> rules["*.out_proj.weight"].stddev == (2 * 64) ** -0.5
        True

    Reference:
        Radford and others, "Learning transferable visual models from natural language supervision",
        ICML 2021, by `clip/model.py` of its code. `CLIPPreTrainedModel` in Hugging Face's
        transformers.
    """
    shapes = network_of("model", model).shapes
    convolutions = matching_paths("*visual.layer1.*", shapes)
    if convolutions:
        raise ValueError(
            "`model` must be a CLIP whose encoder of images is a vision transformer: for another "
            f"one write your own rules. Received: model with {convolutions[0]!r}"
        )
    rules: Recipe = dict.fromkeys(_SCALES, "ones")
    logit_scale = math.log(1 / 0.07) if source == "openai" else 2.6592
    rules["*logit_scale"] = keras.initializers.Constant(logit_scale)
    # That of images first: in the code of the authors, the names of the other have no prefix.
    images = _encoder(shapes, ("visual.", "vision"), "class_embedding")
    if images is not None:
        rules |= _ends("*", _IMAGE_PROJECTION, RandomNormal(stddev=images.width**-0.5))
        rules |= _of_images(images, source)
    texts = _encoder(shapes, ("text_model", "text_encoder", "text_"), *_TOKENS)
    if texts is not None:
        rules |= _ends("*", _TEXT_PROJECTION, RandomNormal(stddev=texts.width**-0.5))
        rules |= _of_texts(texts, source)
    rules["*bias"] = "zeros"
    return rules


@dataclass(frozen=True)
class _Encoder:
    """An encoder: what its names begin with, its number of blocks, and its sizes."""

    prefix: str
    blocks: int
    width: int
    hidden: int


def _encoder(
    shapes: Mapping[str, Shape], marks: Sequence[str], *embeddings: str
) -> _Encoder | None:
    """Return the encoder that has one of `embeddings`, or `None`."""
    found = [name for name in shapes if name.endswith(embeddings)]
    if not found:
        return None
    prefix = "*"
    for mark in marks:
        if mark in found[0]:
            prefix = f"*{mark}*"
            break
    width = shapes[found[0]][-1]
    blocks = 0
    hidden = width
    for name, shape in shapes.items():
        if not matches_path(prefix, name):
            continue
        if prefix == "*" and "visual." in name:
            continue
        blocks += name.endswith(_ATTENTION_OUTPUT)
        if name.endswith(_FIRST):
            hidden = math.prod(shape) // width
    return _Encoder(prefix, blocks, width, hidden)


def _ends(prefix: str, ends: Sequence[str], initializer: InitializerLike) -> Recipe:
    return {f"{prefix}{end}": initializer for end in ends}


def _of_texts(encoder: _Encoder, source: ClipSource) -> Recipe:
    positions = 0.01 if source == "openai" else 0.02
    rules = _ends(encoder.prefix, _TOKENS, RandomNormal(stddev=0.02))
    rules |= _ends(encoder.prefix, _POSITIONS, RandomNormal(stddev=positions))
    return rules | _of_blocks(encoder, source)


def _of_images(encoder: _Encoder, source: ClipSource) -> Recipe:
    prefix = encoder.prefix
    by_width = RandomNormal(stddev=encoder.width**-0.5)
    rules = _ends(prefix, ("class_embedding",), by_width)
    if source == "transformers":
        rules |= _ends(prefix, (*_POSITIONS, *_PATCHES), RandomNormal(stddev=0.02))
        return rules | _of_blocks(encoder, source)
    rules |= _ends(prefix, _POSITIONS, by_width)
    rules |= _ends(prefix, _QUERIES_KEYS_VALUES, VarianceScaling(0.5, "fan_in", "uniform"))
    rules |= _ends(prefix, (*_PATCHES, *_ATTENTION_OUTPUT, *_FIRST, *_SECOND), _TORCH)
    return rules | _biases(encoder)


def _of_blocks(encoder: _Encoder, source: ClipSource) -> Recipe:
    """Return the rules for the blocks of the encoder of texts, in transformers of both."""
    wide = RandomNormal(stddev=encoder.width**-0.5)
    deep = RandomNormal(stddev=(2 * encoder.width * max(1, encoder.blocks)) ** -0.5)
    prefix = encoder.prefix
    if source == "openai":
        rules = _ends(prefix, _QUERIES_KEYS_VALUES, wide) | _ends(prefix, _ATTENTION_OUTPUT, deep)
    else:
        rules = _ends(prefix, _QUERIES_KEYS_VALUES, deep) | _ends(prefix, _ATTENTION_OUTPUT, wide)
    rules |= _ends(prefix, _FIRST, RandomNormal(stddev=(2 * encoder.width) ** -0.5))
    rules |= _ends(prefix, _SECOND, deep)
    if source == "openai":
        rules |= _biases(encoder)
    return rules


def _biases(encoder: _Encoder) -> Recipe:
    """Return torch's default for the biases of feed-forward networks."""
    first = encoder.width**-0.5
    second = encoder.hidden**-0.5
    rules = _ends(encoder.prefix, _FIRST_BIAS, RandomUniform(-first, first))
    rules |= _ends(encoder.prefix, _SECOND_BIAS, RandomUniform(-second, second))
    return rules
