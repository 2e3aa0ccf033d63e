"""Recipes for vision transformers."""

import keras

from keras_initx.initializers import RandomNormal, VarianceScaling
from keras_initx.models._weights import check_model
from keras_initx.recipes._asked import Recipe, for_model

_HEAD = "*predictions/kernel"
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
        _HEAD: "zeros",
        _PATCHES: "initx.lecun_normal",
        "*kernel": "initx.glorot_uniform",
        "*position_embedding/*": RandomNormal(stddev=0.02),
        "*class_token": "zeros",
        "*mlp/*bias": RandomNormal(stddev=1e-6),
        "*bias": "zeros",
    }
    return for_model(recipe, check_model("model", model))
