"""Recipes for image networks: vision transformers and convolutional networks."""

import math

import keras

from keras_initx._typing import InitializerLike
from keras_initx.initializers._random import RandomNormal
from keras_initx.initializers._variance import VarianceScaling
from keras_initx.recipes._features import Feature, is_depthwise_kernel
from keras_initx.recipes._frameworks import glorot_of_keras, torch_bias, torch_kernel
from keras_initx.recipes._parts import Part, Roles
from keras_initx.recipes._recipe import Computed, Recipe, RoleTable, truncated_normal

_VISION_TRANSFORMER = (
    "a vision transformer, with attention over the patches of an image and no embedding of tokens "
    "or labels"
)


def _by_fan_out(scale: float = 2.0) -> VarianceScaling:
    return VarianceScaling(scale, "fan_out", "untruncated_normal")


def _torch_bias(part: Part, roles: Roles) -> InitializerLike | None:
    return torch_bias(part.kernel)


def _vit_timm() -> RoleTable:
    """Return timm's rules for vision transformers: normal weights.

    Use it to start a vision transformer as in timm. timm truncates its normal distribution at 2,
    which is 100 standard deviations, so the recipe does not truncate. The patch embedding gets
    torch's default for convolutions.

    Example:
        >>> from keras_initx import recipes
        >>> tokens = keras.Input((16, 8))
        >>> attention = keras.layers.MultiHeadAttention(2, 4, name="mha")(tokens, tokens)
        >>> recipes.vit_timm(keras.Model(tokens, attention)).by_path["mha/query/kernel"]
        RandomNormal(stddev=0.02)

    Reference:
        Wightman, "PyTorch image models" (timm), `init_weights_vit_timm` in `vision_transformer.py`.
    """
    return {
        "patches": torch_kernel(),
        "patch bias": Computed("`U(-1 / sqrt(fan_in), 1 / sqrt(fan_in))`", _torch_bias),
        "positions": RandomNormal(stddev=0.02),
        "class": RandomNormal(stddev=1e-6),
        "kernel": RandomNormal(stddev=0.02),
        "bias": "zeros",
    }


vit_timm: Recipe = Recipe(
    "vit_timm",
    table=_vit_timm,
    kind=_VISION_TRANSFORMER,
    sources="Wightman, timm, `init_weights_vit_timm`",
    needs=(Feature.ATTENTION,),
    refuses=(Feature.EMBEDDING,),
)


def _vit_jax() -> RoleTable:
    """Return the original authors' rules for vision transformers: Glorot uniform weights, head 0.

    Use it to start a vision transformer as in the paper.

    Example:
        >>> from keras_initx import recipes
        >>> tokens = keras.Input((16, 8))
        >>> attention = keras.layers.MultiHeadAttention(2, 4, name="mha")(tokens, tokens)
        >>> recipes.vit_jax(keras.Model(tokens, attention)).by_path["mha/query/kernel"]
        'initx.glorot_uniform'

    Reference:
        Dosovitskiy and others, "An image is worth 16x16 words: transformers for image recognition
        at scale", ICLR 2021, by its code. Wightman, "PyTorch image models" (timm),
        `init_weights_vit_jax` in `vision_transformer.py`.
    """
    return {
        "last": "zeros",
        **dict.fromkeys(("patches", "pre-logits"), "initx.lecun_normal"),
        "positions": RandomNormal(stddev=0.02),
        "class": "zeros",
        "inner bias": RandomNormal(stddev=1e-6),
        "kernel": "initx.glorot_uniform",
        "bias": "zeros",
    }


vit_jax: Recipe = Recipe(
    "vit_jax",
    table=_vit_jax,
    kind=_VISION_TRANSFORMER,
    sources="Dosovitskiy and others, 2021, by its code",
    needs=(Feature.ATTENTION,),
    refuses=(Feature.EMBEDDING,),
)


def _convnext() -> RoleTable:
    """Return the rules of ConvNeXt: normal kernels.

    The authors truncate their normal distribution at 2, which is 100 standard deviations, so the
    recipe does not truncate. Layers initialize their own normalizations and layer scales. In
    `keras.applications` a layer scale starts at 1e-6, as in the authors' code. The authors' factor
    for the head, `head_init_scale`, is 1 unless you train a classifier on learned features.

    Example:
        >>> from keras_initx import recipes
        >>> depthwise = keras.layers.Conv2D(4, 7, padding="same", groups=4)
        >>> parts = [depthwise, keras.layers.LayerNormalization(), keras.layers.Dense(16)]
        >>> recipes.convnext(keras.Sequential([keras.Input((8, 8, 4)), *parts]))
        conv2d/kernel: RandomNormal(stddev=0.02)
        conv2d/bias: zeros
        dense/kernel: RandomNormal(stddev=0.02)
        dense/bias: zeros

    Reference:
        Liu, Mao, Wu, Feichtenhofer, Darrell and Xie, "A ConvNet for the 2020s", CVPR 2022, and
        `models/convnext.py` of its code.
    """
    return {"kernel": RandomNormal(stddev=0.02), "bias": "zeros"}


convnext: Recipe = Recipe(
    "convnext",
    table=_convnext,
    kind="a network of depthwise convolutions with layer normalization",
    sources="Liu and others, 2022, by its code",
    needs=(Feature.DEPTHWISE, Feature.LAYER_NORMALIZATION),
)


def _is_dense(part: Part) -> bool:
    return isinstance(part.weight.layer, keras.layers.Dense)


def _efficientnet() -> RoleTable:
    """Return the rules of EfficientNet and EfficientNetV2: He by fan-out, and a uniform head.

    The fan-out of a depthwise kernel is the size of its window, as in the authors' code;
    torchvision multiplies it by the number of channels.

    The networks of `keras.applications` have these sizes by default. Keras truncates the normal
    distribution, and the authors do not.

    Example:
        >>> from keras_initx import recipes
        >>> depthwise = keras.layers.DepthwiseConv2D(3)
        >>> head = keras.layers.Dense(8, name="predictions")
        >>> parts = [depthwise, keras.layers.BatchNormalization(), head]
        >>> model = keras.Sequential([keras.Input((8, 8, 4)), *parts])
        >>> recipes.efficientnet(model).by_path["predictions/kernel"]
        VarianceScaling(scale=0.3333333333333333, mode='fan_out', distribution='uniform')

    Reference:
        Tan and Le, "EfficientNet: rethinking model scaling for convolutional neural networks", ICML
        2019, by `efficientnet_model.py` of its code. Tan and Le, "EfficientNetV2: smaller models
        and faster training", ICML 2021.
    """
    head = VarianceScaling(1 / 3, "fan_out", "uniform")
    by_fan_out = _by_fan_out()
    kernel = Computed(
        "`N(0, 2 / fan_out)`, of dense layers of `n` units `U(-1 / sqrt(n), 1 / sqrt(n))`",
        lambda part, roles: head if _is_dense(part) else by_fan_out,
    )
    return {"kernel": kernel, "bias": "zeros"}


efficientnet: Recipe = Recipe(
    "efficientnet",
    table=_efficientnet,
    kind="a network of depthwise convolutions with batch normalization, as in EfficientNet",
    sources="Tan and Le, 2019 and 2021, by their code",
    needs=(Feature.DEPTHWISE, Feature.BATCH_NORMALIZATION),
)


def _mobilenet() -> RoleTable:
    """Return the rules of MobileNet, versions 1 to 3: truncated normal kernels.

    The authors draw convolutions, depthwise convolutions and the head from `N(0, 0.09²)`, truncated
    at two standard deviations. torchvision uses He by fan-out for convolutions and `N(0, 0.01²)`
    for the head.

    Example:
        >>> from keras_initx import recipes
        >>> depthwise = keras.layers.DepthwiseConv2D(3)
        >>> parts = [depthwise, keras.layers.BatchNormalization()]
        >>> model = keras.Sequential([keras.Input((8, 8, 4)), *parts])
        >>> round(recipes.mobilenet(model).by_path["depthwise_conv2d/kernel"].stddev, 4)
        0.0792

    Reference:
        Howard and others, "MobileNets: efficient convolutional neural networks for mobile vision
        applications", arXiv:1704.04861, 2017. Sandler and others, "MobileNetV2: inverted residuals
        and linear bottlenecks", CVPR 2018. Howard and others, "Searching for MobileNetV3", ICCV
        2019. All by their code in TF-Slim.
    """
    return {"kernel": truncated_normal(0.09, 2.0), "bias": "zeros"}


mobilenet: Recipe = Recipe(
    "mobilenet",
    table=_mobilenet,
    kind="a network of depthwise convolutions with batch normalization, as in MobileNet",
    sources="Howard and others, 2017 and 2019; Sandler and others, 2018, by their code",
    needs=(Feature.DEPTHWISE, Feature.BATCH_NORMALIZATION),
)


def _choose_like_torchvision(part: Part, roles: Roles) -> VarianceScaling:
    """Choose He normal by a fan-out of all units, of all groups or of all channels."""
    weight = part.weight
    if _is_dense(part):
        return torch_kernel()
    if weight.fans is None or len(weight.shape) < 3:
        return _by_fan_out()
    units = math.prod(weight.shape)
    if not is_depthwise_kernel(weight) or weight.groups != (1, 1):
        assert weight.axes is not None
        units = math.prod(weight.shape[axis] for axis in weight.axes[1])
    fraction = weight.fans[1] / units
    if fraction < 1:
        return _by_fan_out(2 * fraction)
    return _by_fan_out()


def _choose_like_keras(part: Part, roles: Roles) -> InitializerLike:
    return glorot_of_keras(part.weight)


def _resnet(source: str) -> RoleTable:
    """Return the rules of ResNet: He normal kernels by fan-out, and a uniform head.

    The normal distribution is not truncated. Fan-out counts all units, including grouped
    convolutions as in ResNeXt. Dense layers get torch's default; in the code for Torch that
    torchvision ports, the biases of the head are 0. The paper refers to He's paper, which leaves
    the choice between fan-in and fan-out open.

    timm also starts each branch at 0. If you want this, put `zero_residual` first:
    `["zero_residual", "resnet"]`.

    `keras.applications` and KerasHub give all kernels Keras' default. The first ResNet50 of Keras,
    until 2018, had `he_normal`.

    Example:
        >>> from keras_initx import recipes
        >>> model = keras.applications.ResNet50(weights=None, include_top=False)
        >>> recipes.resnet(model).by_path["conv1_conv/kernel"]
        VarianceScaling(scale=2.0, mode='fan_out', distribution='untruncated_normal')

    Reference:
        He, Zhang, Ren and Sun, "Deep residual learning for image recognition", CVPR 2016. Goyal and
        others, "Accurate, large minibatch SGD: training ImageNet in 1 hour", arXiv:1706.02677,
        2017, section 5.1, for branches that start at 0. `models/resnet.lua` of fb.resnet.torch,
        `resnet.py` of torchvision.
    """
    if source == "keras":
        return {
            "kernel": Computed(
                "`initx.glorot_uniform` by the fans that Keras takes", _choose_like_keras
            ),
            "bias": "zeros",
        }
    return {
        "kernel": Computed(
            "`N(0, 2 / fan_out)`, of dense layers `U(-1 / sqrt(fan_in), 1 / sqrt(fan_in))`",
            _choose_like_torchvision,
        ),
        "bias": Computed(
            "`zeros`, of dense layers `U(-1 / sqrt(fan_in), 1 / sqrt(fan_in))`",
            lambda part, roles: _torch_bias(part, roles) if _is_dense(part) else "zeros",
        ),
    }


resnet: Recipe = Recipe(
    "resnet",
    table=_resnet,
    kind="a residual network of convolutions with normalization",
    sources={
        "torchvision": "He and others, 2016, by torchvision: He by fan-out",
        "keras": "`keras.applications` and KerasHub: Glorot uniform by the fans that Keras takes",
    },
    needs=(Feature.CONVOLUTIONS, Feature.NORMALIZATION, Feature.ADDED),
    refuses=(
        Feature.ATTENTION,
        Feature.SEPARABLE,
        Feature.DEPTHWISE,
        Feature.CONCATENATED,
    ),
)
