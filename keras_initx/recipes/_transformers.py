"""Recipes for transformers, of text and of images."""

import fnmatch
import math
from typing import Literal, TypeAlias, get_args

import keras

from keras_initx._checks import check_choice, check_count, check_flag
from keras_initx.initializers import RandomNormal, RandomUniform, Scaled, VarianceScaling
from keras_initx.models._weights import check_model
from keras_initx.recipes._fit import Recipe, check_not_normalized, count_of, for_model, matched, matching, paths

__all__ = ["deepnorm", "gpt2", "t_fixup", "vit_jax", "vit_timm"]

Part = Literal["encoder", "decoder"]
# A model, the number of its blocks, or those of its encoder and of its decoder.
Layers: TypeAlias = keras.Model | int | tuple[int, int]

# Layer names of KerasHub's transformers and Keras' attention layer.
_ATTENTION_OUTPUT = "*/attention_output/kernel"
_FEEDFORWARD_OUTPUT = "*/feedforward_output_dense/kernel"
_VALUES = ("*/value/kernel", _ATTENTION_OUTPUT, "*/feedforward_intermediate_dense/kernel", _FEEDFORWARD_OUTPUT)


# The decoder of an encoder-decoder.
_DECODER = "*decoder"


def _blocks(layers: Layers) -> tuple[int, int]:
    """Return the number of blocks of the only stack and 0, or those of an encoder and of a decoder.

    Raises:
        TypeError: If `layers` is neither a model nor one or two integers.
        ValueError: If it is not positive, or a model with other names.
    """
    if isinstance(layers, tuple) and len(layers) == 2:
        return int(check_count("layers", layers[0])), int(check_count("layers", layers[1]))
    if not isinstance(layers, keras.Model):
        return int(check_count("layers", layers)), 0
    outputs = matched("layers", layers, *_VALUES)
    decoder = len(fnmatch.filter(outputs, f"{_DECODER}*"))
    if 0 < decoder < len(outputs):
        return len(outputs) - decoder, decoder
    if crossing := _crosses(layers):
        raise ValueError(
            "`layers` must be a model with one stack of blocks, or with an encoder and a decoder where the paths of "
            "the decoder's weights, and only those, contain 'decoder'; otherwise pass the two numbers and edit the "
            f"patterns in the returned dict. Received: layers={layers.name!r} with {crossing[0]!r}"
        )
    return len(outputs), 0


def _crosses(model: keras.Model) -> list[str]:
    """Return the paths of the weights of cross-attention."""
    return fnmatch.filter(paths(model), "*cross_attention*")


def _values(factor: float, decoder_factor: float | None) -> Recipe:
    """Return rules for value and output kernels; those of a decoder beside an encoder come first."""
    decoder = {f"{_DECODER}{pattern}": decoder_factor for pattern in _VALUES} if decoder_factor else {}
    factors = {**decoder, **dict.fromkeys(_VALUES, factor)}
    return {pattern: Scaled(_glorot(), factor) for pattern, factor in factors.items()}


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
        ValueError: If it is not positive, or is a model with other layer names, or with an encoder
            and a decoder.

    Example:
        >>> from keras_initx import recipes
        >>> recipes.gpt2(12)["*/attention_output/kernel"].stddev == 0.02 / 24**0.5
        True

    Reference:
        Radford, Wu, Child, Luan, Amodei and Sutskever, "Language models are unsupervised multitask learners", OpenAI
        2019, section 2.3, and `src/model.py` of its code.
    """
    if isinstance(layers, keras.Model) and _crosses(layers):
        raise ValueError(
            "`layers` must be a model without cross-attention, for which GPT-2 has no rules: use `t_fixup` or "
            f"`deepnorm`. Received: layers={layers.name!r} with {_crosses(layers)[0]!r}"
        )
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


def t_fixup(layers: Layers, *, part: Part = "encoder", strict: bool = True) -> Recipe:
    """Return the rules of T-Fixup for transformers without layer normalization and without warmup.

    Value and output kernels of the attention and both kernels of the feed-forward network get
    Glorot normal weights times `0.67 N^(-1/4)` in an encoder of `N` blocks, and `(9 M)^(-1/4)` in a
    decoder of `M` blocks. Query and key kernels get Glorot normal weights. Token embeddings get
    `N(0, 1 / d)` times `(9 N)^(-1/4)`, where `d` is their size, those of a decoder with its own
    table `(9 M)^(-1/4)`.

    The factors are the paper's. The authors' code differs in two ways: query and key kernels are
    `sqrt(2)` times smaller, the default of the library that it extends, and it draws from uniform
    distributions. As there, the model must multiply the embeddings by `sqrt(d)` at lookup; those of
    KerasHub do not. It must have no normalization layers; the rules do not remove them.

    Args:
        layers: The number of blocks, or a pair of those of an encoder and of its decoder, or a
            built model to count them in. With a model, rules that match none of its weights are
            left out. In a model with both, the paths of the weights of the decoder, and of no
            others, must contain `decoder`.
        part: What a single stack of blocks is, `"encoder"` or `"decoder"`.
        strict: Whether to refuse a model with normalization layers.

    Returns:
        A dict of rules for `keras_initx.initialize`.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If `layers` is not positive, or is a model with other layer names or with
            normalization layers, or `part` is invalid.

    Example:
        >>> from keras_initx import recipes
        >>> round(recipes.t_fixup(6)["*/value/kernel"].factor, 4)
        0.4281
        >>> rules = recipes.t_fixup((3, 3))
        >>> round(rules["*/value/kernel"].factor, 4), round(rules["*decoder*/value/kernel"].factor, 4)
        (0.5091, 0.4387)

    Reference:
        Huang, Perez, Ba and Volkovs, "Improving transformer optimization through better initialization", ICML 2020,
        section 3.2.
    """
    check_choice("part", part, get_args(Part))
    check_flag("strict", strict)
    encoder, decoder = _blocks(layers)
    if strict:
        check_not_normalized("layers", layers, "`gpt2` or `deepnorm`")
    embedded = (9 * encoder) ** -0.25
    factor = embedded if part == "decoder" and not decoder else 0.67 * encoder**-0.25
    decoder_factor = (9 * decoder) ** -0.25 if decoder else None
    embedding = VarianceScaling(1.0, "fan_out", "untruncated_normal")
    own_table = {f"{_DECODER}*token_embedding/embeddings": Scaled(embedding, decoder_factor)} if decoder_factor else {}
    recipe: Recipe = {
        **_values(factor, decoder_factor),
        "*kernel": _glorot(),
        **own_table,
        "*token_embedding/embeddings": Scaled(embedding, embedded),
        "*bias": "zeros",
    }
    return for_model(recipe, layers)


def deepnorm(layers: Layers) -> Recipe:
    """Return the rules of DeepNorm for transformers that normalize after each sum.

    Value and output kernels of the attention and both kernels of the feed-forward network get
    Glorot normal weights times `beta`. Query and key kernels get Glorot normal weights.

    DeepNorm also needs a change to the architecture, which you make in the model: `norm(alpha * x +
    branch(x))` instead of `norm(x + branch(x))`. Without it the weights are too small.

    In one stack of `N` blocks, `alpha` is `(2 N)^(1/4)` and `beta` is `(8 N)^(-1/4)`. In an encoder
    of `N` blocks beside a decoder of `M`, they are `0.81 (N^4 M)^(1/16)` and `0.87 (N^4 M)^(-1/16)`;
    in that decoder, `(3 M)^(1/4)` and `(12 M)^(-1/4)`.

    These factors are the paper's. In its authors' later library, TorchScale, query, key and value kernels
    are `sqrt(2)` times smaller and drawn from uniform distributions.

    Args:
        layers: See `t_fixup`.

    Returns:
        A dict of rules for `keras_initx.initialize`.

    Raises:
        TypeError: If `layers` is neither a model nor one or two integers.
        ValueError: If it is not positive, or is a model with other layer names.

    Example:
        >>> from keras_initx import recipes
        >>> recipes.deepnorm(2)["*/value/kernel"].factor
        0.5
        >>> rules = recipes.deepnorm((3, 3))
        >>> round(rules["*/value/kernel"].factor, 4), round(rules["*decoder*/value/kernel"].factor, 4)
        (0.6172, 0.4082)

    Reference:
        Wang, Ma, Dong, Huang, Zhang and Wei, "DeepNet: scaling transformers to 1,000 layers", arXiv:2203.00555,
        2022, figure 2.
    """
    encoder, decoder = _blocks(layers)
    beta = 0.87 * (encoder**4 * decoder) ** (-1 / 16) if decoder else (8 * encoder) ** -0.25
    recipe: Recipe = {
        **_values(beta, (12 * decoder) ** -0.25 if decoder else None),
        "*/query/kernel": _glorot(),
        "*/key/kernel": _glorot(),
    }
    return for_model(recipe, layers)


_PATCHES = "*patch_embedding/kernel"


def vit_timm(model: keras.Model) -> Recipe:
    """Return timm's rules for vision transformers: weights from `N(0, 0.02²)`, biases 0.

    timm truncates its normal distribution at 2, which is 100 standard deviations, so it is not
    truncated here. Position embeddings get the same distribution, and the class token gets `N(0,
    1e-6²)`. The patch embedding gets torch's default for convolutions, `U(-1 / sqrt(fan_in), 1 /
    sqrt(fan_in))`, for its kernel and its bias.

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
    patches = matching(check_model("model", model), _PATCHES)
    limits = {weight.path.replace("kernel", "bias"): weight.fans[0] ** -0.5 for weight in patches if weight.fans}
    recipe: Recipe = {
        _PATCHES: VarianceScaling(1 / 3, "fan_in", "uniform"),
        "*kernel": RandomNormal(stddev=0.02),
        "*position_embedding/*": RandomNormal(stddev=0.02),
        "*class_token": RandomNormal(stddev=1e-6),
        **{path: RandomUniform(-limit, limit) for path, limit in limits.items()},
        "*bias": "zeros",
    }
    return for_model(recipe, model)


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
