"""Recipes for transformers, of text and of images."""

import math
from typing import Literal, get_args

import keras

from keras_initx._checks import check_choice
from keras_initx.initializers import RandomNormal, Scaled, VarianceScaling
from keras_initx.models._weights import check_model
from keras_initx.recipes._networks import Recipe, count_of, for_model

__all__ = ["deepnorm", "gpt2", "t_fixup", "vit_jax", "vit_timm"]

Part = Literal["encoder", "decoder"]

# Layer names of KerasHub's transformers and Keras' attention layer.
_ATTENTION_OUTPUT = "*/attention_output/kernel"
_FEEDFORWARD_OUTPUT = "*/feedforward_output_dense/kernel"
_VALUES = ("*/value/kernel", _ATTENTION_OUTPUT, "*/feedforward_intermediate_dense/kernel", _FEEDFORWARD_OUTPUT)


def _glorot() -> VarianceScaling:
    """Return the Glorot normal initializer of the papers, which is not truncated."""
    return VarianceScaling(mode="fan_avg", distribution="untruncated_normal")


def gpt2(layers: keras.Model | int) -> Recipe:
    """Return the rules of GPT-2: weights from `N(0, 0.02²)`, smaller in layers that add to the residual stream.

    Each of the `L` blocks has two projections that add to the residual stream. Their kernels get
    the standard deviation `0.02 / sqrt(2 L)`. Position embeddings get 0.01, as in OpenAI's code,
    and biases are 0. The rules are for transformers that normalize at the start of each branch.

    Args:
        layers: The number of blocks, or a built model to count them in. With a model, rules that
            match none of its weights are left out.

    Returns:
        A dict of rules for `keras_initx.initialize`.

    Raises:
        TypeError: If `layers` is neither a model nor an integer.
        ValueError: If it is not positive, or is a model with other layer names.

    Example:
        >>> from keras_initx import recipes
        >>> recipes.gpt2(12)["*/attention_output/kernel"].stddev == 0.02 / 24**0.5
        True

    Reference:
        Radford, Wu, Child, Luan, Amodei and Sutskever, "Language models are unsupervised multitask learners", OpenAI
        2019, section 2.3, and `src/model.py` of its code.
    """
    residual = 0.02 / math.sqrt(2 * count_of("layers", layers, _ATTENTION_OUTPUT, _FEEDFORWARD_OUTPUT))
    recipe: Recipe = {
        _ATTENTION_OUTPUT: RandomNormal(stddev=residual),
        _FEEDFORWARD_OUTPUT: RandomNormal(stddev=residual),
        "*kernel": RandomNormal(stddev=0.02),
        "*position_embedding/*": RandomNormal(stddev=0.01),
        "*embeddings": RandomNormal(stddev=0.02),
        "*bias": "zeros",
    }
    return for_model(recipe, layers)


def t_fixup(layers: keras.Model | int, *, part: Part = "encoder") -> Recipe:
    """Return the rules of T-Fixup for transformers without layer normalization and without warmup.

    Value and output kernels of the attention and both kernels of the feed-forward network get
    Glorot normal weights times `0.67 N^(-1/4)` in an encoder and `(9 N)^(-1/4)` in a decoder, where
    `N` is the number of blocks. Query and key kernels get Glorot normal weights. Token embeddings
    get `N(0, 1 / d)` times `(9 N)^(-1/4)`, where `d` is their size; the authors' code multiplies
    them by `sqrt(d)` at lookup.

    The model must have no normalization layers; the rules do not remove them.

    Args:
        layers: See `gpt2`.
        part: `"encoder"` or `"decoder"`. For a model with both, combine the rules of both and
            prefix the patterns with the name of the part.

    Returns:
        A dict of rules for `keras_initx.initialize`.

    Raises:
        TypeError: If `layers` is neither a model nor an integer.
        ValueError: If it is not positive, is a model with other layer names, or `part` is invalid.

    Example:
        >>> from keras_initx import recipes
        >>> round(recipes.t_fixup(6)["*/value/kernel"].factor, 4)
        0.4281

    Reference:
        Huang, Perez, Ba and Volkovs, "Improving transformer optimization through better initialization", ICML 2020,
        section 3.2.
    """
    check_choice("part", part, get_args(Part))
    blocks = count_of("layers", layers, *_VALUES)
    embedded = (9 * blocks) ** -0.25
    factor = 0.67 * blocks**-0.25 if part == "encoder" else embedded
    recipe: Recipe = {
        **{pattern: Scaled(_glorot(), factor) for pattern in _VALUES},
        "*kernel": _glorot(),
        "*token_embedding/embeddings": Scaled(VarianceScaling(1.0, "fan_out", "untruncated_normal"), embedded),
        "*bias": "zeros",
    }
    return for_model(recipe, layers)


def deepnorm(layers: keras.Model | int) -> Recipe:
    """Return the rules of DeepNorm for encoder-only or decoder-only transformers that normalize after each sum.

    Value and output kernels of the attention and both kernels of the feed-forward network get
    Glorot normal weights times `beta = (8 L)^(-1/4)`, where `L` is the number of blocks. Query and
    key kernels get Glorot normal weights.

    DeepNorm also needs a change to the architecture, which you make in the model: `norm(alpha * x +
    branch(x))` with `alpha = (2 L)^(1/4)` instead of `norm(x + branch(x))`. Without it the weights
    are too small.

    Args:
        layers: See `gpt2`.

    Returns:
        A dict of rules for `keras_initx.initialize`.

    Raises:
        TypeError: If `layers` is neither a model nor an integer.
        ValueError: If it is not positive, or is a model with other layer names.

    Example:
        >>> from keras_initx import recipes
        >>> recipes.deepnorm(2)["*/value/kernel"].factor
        0.5

    Reference:
        Wang, Ma, Dong, Huang, Zhang and Wei, "DeepNet: scaling transformers to 1,000 layers", arXiv:2203.00555,
        2022, figure 2.
    """
    blocks = count_of("layers", layers, *_VALUES)
    recipe: Recipe = {
        **{pattern: Scaled(_glorot(), (8 * blocks) ** -0.25) for pattern in _VALUES},
        "*/query/kernel": _glorot(),
        "*/key/kernel": _glorot(),
    }
    return for_model(recipe, layers)


_PATCHES = "*patch_embedding/kernel"


def vit_timm(model: keras.Model) -> Recipe:
    """Return timm's rules for vision transformers: weights from `N(0, 0.02²)`, biases 0.

    timm truncates its normal distribution at 2, which is 100 standard deviations, so it is not
    truncated here. Position embeddings get the same distribution, and the class token gets `N(0,
    1e-6²)`. The patch embedding kernel gets torch's default for convolutions, `U(-1 / sqrt(fan_in),
    1 / sqrt(fan_in))`.

    Args:
        model: A built model. Rules that match none of its weights are left out.

    Returns:
        A dict of rules for `keras_initx.initialize`.

    Raises:
        TypeError: If `model` is not a Keras model.
        ValueError: If it is not built.

    Example:
        >>> from keras_initx import recipes
        >>> tokens = keras.Input((16, 8))
        >>> attention = keras.layers.MultiHeadAttention(2, 4, name="mha")(tokens, tokens)
        >>> list(recipes.vit_timm(keras.Model(tokens, attention)))
        ['*kernel', '*bias']

    Reference:
        Wightman, "PyTorch image models" (timm), `init_weights_vit_timm` in `vision_transformer.py`.
    """
    recipe: Recipe = {
        _PATCHES: VarianceScaling(1 / 3, "fan_in", "uniform"),
        "*kernel": RandomNormal(stddev=0.02),
        "*position_embedding/*": RandomNormal(stddev=0.02),
        "*class_token": RandomNormal(stddev=1e-6),
        "*bias": "zeros",
    }
    return for_model(recipe, check_model("model", model))


def vit_jax(model: keras.Model) -> Recipe:
    """Return the original authors' rules for vision transformers: Glorot uniform weights, head 0.

    The patch embedding kernel gets LeCun normal weights, biases of the feed-forward network get
    `N(0, 1e-6²)`, all other biases are 0, position embeddings get `N(0, 0.02²)`, and the class
    token is 0. The head is the layer `predictions`.

    Args:
        model: See `vit_timm`.

    Returns:
        A dict of rules for `keras_initx.initialize`.

    Raises:
        TypeError: If `model` is not a Keras model.
        ValueError: If it is not built.

    Example:
        >>> from keras_initx import recipes
        >>> tokens = keras.Input((16, 8))
        >>> attention = keras.layers.MultiHeadAttention(2, 4, name="mha")(tokens, tokens)
        >>> model = keras.Model(tokens, keras.layers.Dense(3, name="predictions")(attention))
        >>> recipes.vit_jax(model)["*predictions/kernel"]
        'zeros'

    Reference:
        Dosovitskiy and others, "An image is worth 16x16 words: transformers for image recognition at scale", ICLR 2021,
        by its code. Wightman, "PyTorch image models" (timm), `init_weights_vit_jax` in `vision_transformer.py`.
    """
    recipe: Recipe = {
        "*predictions/kernel": "zeros",
        _PATCHES: "initx.lecun_normal",
        "*kernel": "initx.glorot_uniform",
        "*position_embedding/*": RandomNormal(stddev=0.02),
        "*class_token": "zeros",
        "*mlp/*bias": RandomNormal(stddev=1e-6),
        "*bias": "zeros",
    }
    return for_model(recipe, check_model("model", model))
