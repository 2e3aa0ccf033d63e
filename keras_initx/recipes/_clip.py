"""A recipe for CLIP, which compares images with texts, and for each of its two encoders."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import keras

from keras_initx._typing import InitializerLike, Shape
from keras_initx.initializers import RandomNormal, RandomUniform, VarianceScaling
from keras_initx.recipes._network import network_of
from keras_initx.recipes._recipe import Recipe, recipe
from keras_initx.structure import matches_path

__all__ = ["clip"]

ClipSource: TypeAlias = Literal["openai", "transformers"]

NAMES_OF_CLIP = (
    "*logit_scale",
    "*class_embedding",
    "*text_projection",
    "*encoder_block_*/attention/query/kernel",
)
# How paths end in KerasHub.
_TOKENS = "token_embedding/embeddings"
_POSITIONS = "position_embedding/embeddings"
_PATCHES = "patch_embedding/kernel"
_QUERIES_KEYS_VALUES = ("/query/kernel", "/key/kernel", "/value/kernel")
_ATTENTION_OUTPUT = "/attention_output/kernel"
_FIRST, _FIRST_BIAS = "/dense/kernel", "/dense/bias"
_SECOND, _SECOND_BIAS = "/dense_1/kernel", "/dense_1/bias"
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
def clip(model: keras.Model, *, source: ClipSource = "openai") -> Recipe:
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
        model: A built model with the names of KerasHub: a CLIP, or one of its encoders.
        source: Whose numbers: `"openai"` or `"transformers"`.

    Example:
        >>> from keras_initx import recipes
        >>> tokens = keras.Input((6,))
        >>> x = keras.layers.Embedding(50, 64, name="token_embedding")(tokens)
        >>> x = keras.layers.MultiHeadAttention(2, 32, name="attention")(x, x)
        >>> block = keras.Model(tokens, x, name="encoder_block_0")
        >>> rules = recipes.clip(keras.Sequential([tokens, block]))
        >>> rules["*/query/kernel"].stddev == 64**-0.5
        True

    Reference:
        Radford and others, "Learning transferable visual models from natural language supervision",
        ICML 2021, by `clip/model.py` of its code. `CLIPPreTrainedModel` in Hugging Face's
        transformers.
    """
    shapes = network_of("model", model).shapes
    logit_scale = math.log(1 / 0.07) if source == "openai" else 2.6592
    rules: Recipe = {"*logit_scale": keras.initializers.Constant(logit_scale)}
    images = _encoder(shapes, ("vision",), "class_embedding")
    if images is not None:
        rules["*vision_projection/kernel"] = RandomNormal(stddev=images.width**-0.5)
        rules |= _of_images(images, source)
    texts = _encoder(shapes, ("text_model", "text_encoder", "text_"), _TOKENS)
    if texts is not None:
        rules["*text_projection/kernel"] = RandomNormal(stddev=texts.width**-0.5)
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


def _encoder(shapes: Mapping[str, Shape], marks: Sequence[str], embedding: str) -> _Encoder | None:
    """Return the encoder whose first embedding has a path that ends so, or `None`."""
    found = [path for path in shapes if path.endswith(embedding)]
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
    for path, shape in shapes.items():
        if not matches_path(prefix, path):
            continue
        blocks += path.endswith(_ATTENTION_OUTPUT)
        if path.endswith(_FIRST):
            hidden = math.prod(shape) // width
    return _Encoder(prefix, blocks, width, hidden)


def _of_texts(encoder: _Encoder, source: ClipSource) -> Recipe:
    positions = 0.01 if source == "openai" else 0.02
    rules: Recipe = {
        f"{encoder.prefix}{_TOKENS}": RandomNormal(stddev=0.02),
        f"{encoder.prefix}{_POSITIONS}": RandomNormal(stddev=positions),
    }
    return rules | _of_blocks(encoder, source)


def _of_images(encoder: _Encoder, source: ClipSource) -> Recipe:
    prefix = encoder.prefix
    by_width = RandomNormal(stddev=encoder.width**-0.5)
    rules: Recipe = {f"{prefix}class_embedding": by_width}
    if source == "transformers":
        rules |= _ends(prefix, (_POSITIONS, _PATCHES), RandomNormal(stddev=0.02))
        return rules | _of_blocks(encoder, source)
    rules[f"{prefix}{_POSITIONS}"] = by_width
    rules |= _ends(prefix, _QUERIES_KEYS_VALUES, VarianceScaling(0.5, "fan_in", "uniform"))
    rules |= _ends(prefix, (_PATCHES, _ATTENTION_OUTPUT, _FIRST, _SECOND), _TORCH)
    return rules | _biases(encoder)


def _of_blocks(encoder: _Encoder, source: ClipSource) -> Recipe:
    """Return the rules for the blocks of the encoder of texts, in transformers of both."""
    wide = RandomNormal(stddev=encoder.width**-0.5)
    deep = RandomNormal(stddev=(2 * encoder.width * max(1, encoder.blocks)) ** -0.5)
    prefix = encoder.prefix
    if source == "openai":
        rules = _ends(prefix, _QUERIES_KEYS_VALUES, wide) | {f"{prefix}{_ATTENTION_OUTPUT}": deep}
    else:
        rules = _ends(prefix, _QUERIES_KEYS_VALUES, deep) | {f"{prefix}{_ATTENTION_OUTPUT}": wide}
    rules[f"{prefix}{_FIRST}"] = RandomNormal(stddev=(2 * encoder.width) ** -0.5)
    rules[f"{prefix}{_SECOND}"] = deep
    if source == "openai":
        rules |= _biases(encoder)
    return rules


def _ends(prefix: str, ends: Sequence[str], initializer: InitializerLike) -> Recipe:
    return {f"{prefix}{end}": initializer for end in ends}


def _biases(encoder: _Encoder) -> Recipe:
    """Return torch's default for the biases of feed-forward networks."""
    first = encoder.width**-0.5
    second = encoder.hidden**-0.5
    return {
        f"{encoder.prefix}{_FIRST_BIAS}": RandomUniform(-first, first),
        f"{encoder.prefix}{_SECOND_BIAS}": RandomUniform(-second, second),
    }
