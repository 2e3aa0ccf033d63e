"""Recipes for networks of images: vision transformers and convolutional networks."""

import functools
import glob
from typing import Any

import keras
import numpy as np

from keras_initx._typing import Array, DType, Seed, Shape
from keras_initx.initializers import RandomInitializer, RandomNormal, RandomUniform, TruncatedNormal, VarianceScaling
from keras_initx.models._lora import principal_factors
from keras_initx.models._weights import check_model, find_weights
from keras_initx.recipes._fit import Recipe, check_depthwise, for_model, matched, matching
from keras_initx.sampling import Draw, Stream
from keras_initx.sampling._conversion import truncated_quantiles
from keras_initx.sampling._namespace import HOST

__all__ = ["convnext", "efficientnet", "mimetic", "mobilenet", "vit_jax", "vit_timm"]

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


def mimetic(model: keras.Model) -> Recipe:
    """Return rules for the attention layers of a vision transformer, after the patterns of trained ones.

    In each head, the product of the query kernel and the transposed key kernel is close to `0.7 I +
    0.7 Z`, so that a position attends to those like it. The product of the value and output kernels
    is `0.4 Z - 0.4 I`. The entries of `Z` are from `N(0, 1 / d)`, where `d` is the size of the
    embeddings. Each product is drawn and split in equal parts by its singular value decomposition,
    of which a head keeps the largest values, as many as its size.

    The four kernels of a layer depend on each other: `initialize` gives them one seed, derived from
    the path of the layer. They agree between backends within 1e-5. Combine them with the rules of
    another recipe, which come after. The authors start position embeddings as sines and cosines,
    which the model must do itself. In models of text they found other patterns, so these rules are
    not for them.

    Args:
        model: A built model.

    Returns:
        A dict of rules for `keras_initx.initialize`.

    Raises:
        TypeError: If `model` is not a Keras model.
        ValueError: If it is not built, or an attention layer has no kernels `query`, `key`, `value`
            and `attention_output` of matching sizes, as that of grouped queries.

    Example:
        >>> from keras_initx import initialize, recipes
        >>> tokens = keras.Input((16, 8))
        >>> attention = keras.layers.MultiHeadAttention(2, 4, name="mha")(tokens, tokens)
        >>> model = keras.Model(tokens, attention)
        >>> plan = initialize(model, {**recipes.mimetic(model), **recipes.vit_jax(model)}, seed=0)
        >>> len({weight.seed for weight in plan.weights if weight.fan_in})
        1

    Reference:
        Trockman and Kolter, "Mimetic initialization of self-attention layers", ICML 2023.
    """
    patterns = [f"*/{part}/kernel" for part in _PARTS]
    shapes = {weight.path: weight.shape for weight in find_weights(check_model("model", model))}
    for path in matched("model", model, *patterns, otherwise="write your own rules"):
        layer, (heads, width, size) = path.removesuffix(f"{_PARTS[-1]}/kernel"), shapes[path]
        if heads * width > size or any(
            shapes.get(f"{layer}{part}/kernel") != (size, heads, width) for part in _PARTS[:3]
        ):
            raise ValueError(
                "`model` must have attention layers with as many heads of one size for queries, keys and values, "
                f"together no larger than the embeddings. Received: model={model.name!r} with {path!r}"
            )
    return {pattern: MimeticKernel(part) for pattern, part in zip(patterns, _PARTS, strict=True)}


_PARTS = "query", "key", "value", "attention_output"


class MimeticKernel(RandomInitializer):
    """One of the four kernels of an attention layer, which have one seed because two make a product."""

    has_seed_of_layer = True

    def __init__(self, part: str, *, seed: Seed = None) -> None:
        super().__init__(seed=seed)
        self.part = part

    def _values(self, shape: Shape, dtype: DType) -> Array:
        is_output, attends = self.part == _PARTS[3], self.part in _PARTS[:2]
        heads, width, size = shape if is_output else (*shape[1:], shape[0])
        count = heads if attends else 1
        factors = _mimetic_factors(self.seed, count, size, heads * width // count, attends)
        kernel = np.reshape(factors[self.part in _PARTS[1::2]].transpose(1, 0, 2), (size, heads, width))
        return kernel.transpose(1, 2, 0) if is_output else kernel

    def _is_exact(self) -> bool:
        return False


@functools.lru_cache(maxsize=2)  # for the other kernel of the product
def _mimetic_factors(seed: Any, count: int, size: int, rank: int, attends: bool) -> tuple[Array, Array]:
    """Return `count` pairs of matrices with `rank` columns, of which `a @ b.T` is a multiple of `I`, plus noise."""
    multiple, draw = (0.7, Draw.VALUES) if attends else (-0.4, Draw.FRAME)
    noise = Stream((seed, 0), xp=HOST).normal(draw, (count, size, size), "float64") / size**0.5
    first, second = principal_factors(abs(multiple) * noise + multiple * np.eye(size), rank)
    return first, np.swapaxes(second, 1, 2)


def convnext(model: keras.Model) -> Recipe:
    """Return the rules of ConvNeXt: all kernels from `N(0, 0.02²)`, biases 0.

    The authors truncate their normal distribution at 2, which is 100 standard deviations, so it is
    not truncated here. Normalizations and layer scales are initialized by their own layers; in
    `keras.applications` a layer scale starts at 1e-6, as in the authors' code. The authors' factor
    for the head, `head_init_scale`, is 1 unless a classifier is trained on learned features.

    Args:
        model: A built model.

    Returns:
        A dict of rules for `keras_initx.initialize`.

    Raises:
        TypeError: If `model` is not a Keras model.
        ValueError: If it is not built, or lacks depthwise convolutions or layer normalization.

    Example:
        >>> from keras_initx import recipes
        >>> depthwise = keras.layers.Conv2D(4, 7, padding="same", groups=4)
        >>> parts = [keras.Input((8, 8, 4)), depthwise, keras.layers.LayerNormalization(), keras.layers.Dense(16)]
        >>> recipes.convnext(keras.Sequential(parts))
        {'*kernel': RandomNormal(mean=0.0, stddev=0.02, seed=None), '*bias': 'zeros'}

    Reference:
        Liu, Mao, Wu, Feichtenhofer, Darrell and Xie, "A ConvNet for the 2020s", CVPR 2022, and `models/convnext.py` of
        its code.
    """
    check_depthwise("model", model, keras.layers.LayerNormalization)
    return for_model({"*kernel": RandomNormal(stddev=0.02), "*bias": "zeros"}, model)


def efficientnet(model: keras.Model) -> Recipe:
    """Return the rules of EfficientNet and EfficientNetV2: He by fan-out for convolutions, a uniform head.

    Kernels of convolutions get `N(0, 2 / fan_out)`. The fan-out of a depthwise kernel is the size of
    its window, as in the authors' code; torchvision multiplies it by the number of channels. Kernels
    of dense layers of `n` units get `U(-1 / sqrt(n), 1 / sqrt(n))`, and biases are 0.

    The networks of `keras.applications` have these sizes by default; their normal distribution is
    truncated, that of the authors is not.

    Args:
        model: A built model.

    Returns:
        A dict of rules for `keras_initx.initialize`.

    Raises:
        TypeError: If `model` is not a Keras model.
        ValueError: If it is not built, or lacks depthwise convolutions or batch normalization.

    Example:
        >>> from keras_initx import recipes
        >>> depthwise = keras.layers.DepthwiseConv2D(3)
        >>> head = keras.layers.Dense(8, name="predictions")
        >>> model = keras.Sequential([keras.Input((8, 8, 4)), depthwise, keras.layers.BatchNormalization(), head])
        >>> list(recipes.efficientnet(model))
        ['predictions/kernel', '*kernel', '*bias']

    Reference:
        Tan and Le, "EfficientNet: rethinking model scaling for convolutional neural networks", ICML 2019, by
        `efficientnet_model.py` of its code. Tan and Le, "EfficientNetV2: smaller models and faster training", ICML
        2021.
    """
    check_depthwise("model", model, keras.layers.BatchNormalization)
    dense = [weight for weight in find_weights(model) if isinstance(weight.layer, keras.layers.Dense)]
    recipe: Recipe = {
        **{glob.escape(w.path): VarianceScaling(1 / 3, "fan_out", "uniform") for w in dense if w.name == "kernel"},
        "*kernel": VarianceScaling(2.0, "fan_out", "untruncated_normal"),
        "*bias": "zeros",
    }
    return for_model(recipe, model)


def mobilenet(model: keras.Model) -> Recipe:
    """Return the rules of MobileNet, versions 1 to 3: all kernels from one truncated normal distribution, biases 0.

    It is `N(0, 0.09²)`, truncated at two standard deviations, which leaves a standard deviation of
    0.079. The authors' code has it for convolutions, depthwise convolutions and the head.
    torchvision uses He by fan-out for convolutions and `N(0, 0.01²)` for the head.

    Args:
        model: A built model.

    Returns:
        A dict of rules for `keras_initx.initialize`.

    Raises:
        TypeError: If `model` is not a Keras model.
        ValueError: If it is not built, or lacks depthwise convolutions or batch normalization.

    Example:
        >>> from keras_initx import recipes
        >>> depthwise = keras.layers.DepthwiseConv2D(3)
        >>> model = keras.Sequential([keras.Input((8, 8, 4)), depthwise, keras.layers.BatchNormalization()])
        >>> round(recipes.mobilenet(model)["*kernel"].stddev, 4)
        0.0792

    Reference:
        Howard and others, "MobileNets: efficient convolutional neural networks for mobile vision applications",
        arXiv:1704.04861, 2017. Sandler and others, "MobileNetV2: inverted residuals and linear bottlenecks", CVPR
        2018. Howard and others, "Searching for MobileNetV3", ICCV 2019. All by their code in TF-Slim.
    """
    check_depthwise("model", model, keras.layers.BatchNormalization)
    stddev = 0.09 * truncated_quantiles(-2.0, 2.0).stddev
    return for_model({"*kernel": TruncatedNormal(stddev=stddev), "*bias": "zeros"}, model)
