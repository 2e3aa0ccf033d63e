"""Recipes for networks of images: vision transformers and convolutional networks."""

import keras

from keras_initx.initializers import RandomNormal, RandomUniform, VarianceScaling
from keras_initx.recipes._blocks import matching
from keras_initx.recipes._network import Network, network_of
from keras_initx.recipes._parts import Parts
from keras_initx.recipes._recipe import Recipe, recipe, truncated_normal
from keras_initx.structure import find_weights

__all__ = ["convnext", "efficientnet", "mobilenet", "vit_jax", "vit_timm"]

_PATCHES = "*patch_embedding/kernel"
# The first blocks of EfficientNet in KerasHub and `keras.applications`, as `block1a_dwconv`.
_EFFICIENTNET = "*block?a_*"
_VISION_TRANSFORMER = (
    "a vision transformer, with attention over the patches of an image and no embedding of tokens"
)


@recipe(
    kind=_VISION_TRANSFORMER,
    sources="Wightman, timm, `init_weights_vit_timm`",
    layers=lambda network: network.is_vision_transformer,
)
def vit_timm(model: keras.Model) -> Recipe:
    """Return timm's rules for vision transformers: weights from `N(0, 0.02²)`, biases 0.

    timm truncates its normal distribution at 2, which is 100 standard deviations, so it is not
    truncated here. Position embeddings get the same distribution, and the class token gets `N(0,
    1e-6²)`. The patch embedding gets torch's default for convolutions, `U(-1 / sqrt(fan_in), 1 /
    sqrt(fan_in))`, for its kernel and its bias. In a residual model without the names of KerasHub,
    the first kernels and the embedding of positions are found in its graph.

    Args:
        model: A built model.

    Example:
        >>> from keras_initx import recipes
        >>> tokens = keras.Input((16, 8))
        >>> attention = keras.layers.MultiHeadAttention(2, 4, name="mha")(tokens, tokens)
        >>> list(recipes.vit_timm(keras.Model(tokens, attention)))
        ['*kernel', '*bias']

    Reference:
        Wightman, "PyTorch image models" (timm), `init_weights_vit_timm` in `vision_transformer.py`.
    """
    parts = _unnamed(model)
    rules: Recipe = {}
    projection = VarianceScaling(1 / 3, "fan_in", "uniform")
    patches = matching(model, _PATCHES)
    if parts is not None:
        patches = parts.kernels_in(parts.found.inputs)
        rules |= {weight.path: projection for weight in patches}
        rules |= dict.fromkeys(parts.positions, RandomNormal(stddev=0.02))
    rules |= {
        _PATCHES: projection,
        "*kernel": RandomNormal(stddev=0.02),
        "*position_embedding/*": RandomNormal(stddev=0.02),
        "*class_token": RandomNormal(stddev=1e-6),
    }
    for weight in patches:
        if weight.fans is not None:
            fan_in = weight.fans[0]
            limit = fan_in**-0.5
            bias = weight.path.removesuffix("kernel") + "bias"
            rules[bias] = RandomUniform(-limit, limit)
    rules["*bias"] = "zeros"
    return rules if parts is None else parts.recognized(rules)


@recipe(
    kind=_VISION_TRANSFORMER,
    sources="Dosovitskiy and others, 2021, by its code",
    layers=lambda network: network.is_vision_transformer,
)
def vit_jax(model: keras.Model) -> Recipe:
    """Return the original authors' rules for vision transformers: Glorot uniform weights, head 0.

    The patch embedding kernel gets LeCun normal weights, biases of the feed-forward network get
    `N(0, 1e-6²)`, all other biases are 0, position embeddings get `N(0, 0.02²)`, and the class
    token is 0. The head is the layer `predictions`. In a residual model without the names of
    KerasHub, the first kernels, the embedding of positions, the feed-forward networks and the head,
    which is the last kernel, are found in its graph.

    Args:
        model: See `vit_timm`.

    Example:
        >>> from keras_initx import recipes
        >>> tokens = keras.Input((16, 8))
        >>> attention = keras.layers.MultiHeadAttention(2, 4, name="mha")(tokens, tokens)
        >>> model = keras.Model(tokens, keras.layers.Dense(3, name="predictions")(attention))
        >>> recipes.vit_jax(model)["*predictions/kernel"]
        'zeros'

    Reference:
        Dosovitskiy and others, "An image is worth 16x16 words: transformers for image recognition
        at scale", ICLR 2021, by its code. Wightman, "PyTorch image models" (timm),
        `init_weights_vit_jax` in `vision_transformer.py`.
    """
    parts = _unnamed(model)
    rules: Recipe = {}
    small = RandomNormal(stddev=1e-6)
    if parts is not None:
        rules |= {weight.path: "zeros" for weight in parts.kernels_in(parts.found.outputs)}
        patches = parts.kernels_in(parts.found.inputs)
        rules |= {weight.path: "initx.lecun_normal" for weight in patches}
        rules |= dict.fromkeys(parts.positions, RandomNormal(stddev=0.02))
        rules |= dict.fromkeys(parts.feedforward_biases, small)
    rules |= {
        "*predictions/kernel": "zeros",
        _PATCHES: "initx.lecun_normal",
        "*kernel": "initx.glorot_uniform",
        "*position_embedding/*": RandomNormal(stddev=0.02),
        "*class_token": "zeros",
        "*mlp/*bias": small,
        "*bias": "zeros",
    }
    return rules if parts is None else parts.recognized(rules)


def _unnamed(model: keras.Model) -> Parts | None:
    """Return the parts of a model without the names of KerasHub, if its graph shows them."""
    network = network_of("model", model)
    found = network.architecture
    if network.has(_PATCHES) or found.hidden or not found.branches:
        return None
    return Parts("model", network, _VISION_TRANSFORMER)


@recipe(
    kind="a network of depthwise convolutions with layer normalization",
    sources="Liu and others, 2022, by its code",
    layers=lambda network: network.depthwise and network.layer_norms,
)
def convnext(model: keras.Model) -> Recipe:
    """Return the rules of ConvNeXt: all kernels from `N(0, 0.02²)`, biases 0.

    The authors truncate their normal distribution at 2, which is 100 standard deviations, so it is
    not truncated here. Normalizations and layer scales are initialized by their own layers; in
    `keras.applications` a layer scale starts at 1e-6, as in the authors' code. The authors' factor
    for the head, `head_init_scale`, is 1 unless a classifier is trained on learned features.

    Args:
        model: A built model.

    Example:
        >>> from keras_initx import recipes
        >>> depthwise = keras.layers.Conv2D(4, 7, padding="same", groups=4)
        >>> parts = [depthwise, keras.layers.LayerNormalization(), keras.layers.Dense(16)]
        >>> recipes.convnext(keras.Sequential([keras.Input((8, 8, 4)), *parts]))
        {'*kernel': RandomNormal(stddev=0.02), '*bias': 'zeros'}

    Reference:
        Liu, Mao, Wu, Feichtenhofer, Darrell and Xie, "A ConvNet for the 2020s", CVPR 2022, and
        `models/convnext.py` of its code.
    """
    return {"*kernel": RandomNormal(stddev=0.02), "*bias": "zeros"}


def _is_efficientnet(network: Network) -> bool:
    if not network.depthwise or not network.batch_norms:
        return False
    # EfficientNet-Lite has the activation of MobileNet, under the names of EfficientNet.
    return network.has(_EFFICIENTNET) or not {"hard_silu", "relu6"} & network.activations


@recipe(
    kind="a network of depthwise convolutions with batch normalization, without hard SiLU and "
    "ReLU6 as in MobileNet",
    sources="Tan and Le, 2019 and 2021, by their code",
    layers=_is_efficientnet,
)
def efficientnet(model: keras.Model) -> Recipe:
    """Return the rules of EfficientNet and EfficientNetV2: He by fan-out, and a uniform head.

    Kernels of convolutions get `N(0, 2 / fan_out)`. The fan-out of a depthwise kernel is the size
    of its window, as in the authors' code; torchvision multiplies it by the number of channels.
    Kernels of dense layers of `n` units get `U(-1 / sqrt(n), 1 / sqrt(n))`, and biases are 0.

    The networks of `keras.applications` have these sizes by default; their normal distribution is
    truncated, that of the authors is not.

    Args:
        model: A built model.

    Example:
        >>> from keras_initx import recipes
        >>> depthwise = keras.layers.DepthwiseConv2D(3)
        >>> head = keras.layers.Dense(8, name="predictions")
        >>> parts = [depthwise, keras.layers.BatchNormalization(), head]
        >>> model = keras.Sequential([keras.Input((8, 8, 4)), *parts])
        >>> list(recipes.efficientnet(model))
        ['predictions/kernel', '*kernel', '*bias']

    Reference:
        Tan and Le, "EfficientNet: rethinking model scaling for convolutional neural networks", ICML
        2019, by `efficientnet_model.py` of its code. Tan and Le, "EfficientNetV2: smaller models
        and faster training", ICML 2021.
    """
    rules: Recipe = {}
    for weight in find_weights(model):
        if isinstance(weight.layer, keras.layers.Dense) and weight.name == "kernel":
            rules[weight.path] = VarianceScaling(1 / 3, "fan_out", "uniform")
    rules["*kernel"] = VarianceScaling(2.0, "fan_out", "untruncated_normal")
    rules["*bias"] = "zeros"
    return rules


@recipe(
    kind="a network of depthwise convolutions with batch normalization, without SiLU as in "
    "EfficientNet",
    sources="Howard and others, 2017 and 2019; Sandler and others, 2018, by their code",
    layers=lambda network: (
        network.depthwise and network.batch_norms and "silu" not in network.activations
    ),
)
def mobilenet(model: keras.Model) -> Recipe:
    """Return the rules of MobileNet, versions 1 to 3: truncated normal kernels, biases 0.

    All kernels are from `N(0, 0.09²)`, truncated at two standard deviations, which leaves a
    standard deviation of 0.079. The authors' code has it for convolutions, depthwise convolutions
    and the head. torchvision uses He by fan-out for convolutions and `N(0, 0.01²)` for the head.

    Args:
        model: A built model.

    Example:
        >>> from keras_initx import recipes
        >>> depthwise = keras.layers.DepthwiseConv2D(3)
        >>> parts = [depthwise, keras.layers.BatchNormalization()]
        >>> model = keras.Sequential([keras.Input((8, 8, 4)), *parts])
        >>> round(recipes.mobilenet(model)["*kernel"].stddev, 4)
        0.0792

    Reference:
        Howard and others, "MobileNets: efficient convolutional neural networks for mobile vision
        applications", arXiv:1704.04861, 2017. Sandler and others, "MobileNetV2: inverted residuals
        and linear bottlenecks", CVPR 2018. Howard and others, "Searching for MobileNetV3", ICCV
        2019. All by their code in TF-Slim.
    """
    return {"*kernel": truncated_normal(0.09, 2.0), "*bias": "zeros"}
