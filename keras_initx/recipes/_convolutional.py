"""Recipes for convolutional networks of images: ResNet, VGG, DenseNet and Xception."""

import math
from collections.abc import Mapping
from typing import Literal

import keras

from keras_initx._checks import check_flag
from keras_initx._typing import InitializerLike, Shape
from keras_initx.initializers import (
    RandomNormal,
    RandomUniform,
    VarianceScaling,
    default_axes,
    fans,
)
from keras_initx.recipes._network import (
    Network,
    Weights,
    is_depthwise_kernel,
    named_shapes,
    weights_of_torch,
)
from keras_initx.recipes._networks import zero_residual
from keras_initx.recipes._recipe import Recipe, recipe
from keras_initx.structure import ModelWeight, find_weights, matching_paths

__all__ = ["densenet", "resnet", "vgg", "xception"]

# The default of torch for linear layers, `U(-1 / sqrt(fan_in), 1 / sqrt(fan_in))`.
_TORCH_DENSE = VarianceScaling(1 / 3, "fan_in", "uniform")
_HE_OUT = VarianceScaling(2.0, "fan_out", "untruncated_normal")
_HE_IN = VarianceScaling(2.0, "fan_in", "untruncated_normal")


def _is_resnet(network: Network) -> bool:
    parts = network.parts
    if not parts.is_convolutional or parts.concatenated or not parts.norms:
        return False
    return bool(parts.added) or not parts.is_known


@recipe(
    kind="a residual network of convolutions with normalization",
    sources={
        "torchvision": "He and others, 2016, by torchvision: He by fan-out",
        "keras": "`keras.applications` and KerasHub: Glorot uniform by the fans of the shape",
    },
    layers=_is_resnet,
)
def resnet(
    model: Weights,
    *,
    source: Literal["torchvision", "keras"] = "torchvision",
    zero_init_residual: bool = False,
) -> Recipe:
    """Return the rules of ResNet: He normal kernels by fan-out, and a uniform head.

    Kernels of convolutions get `N(0, 2 / fan_out)`, not truncated, where fan-out counts all units,
    also of grouped convolutions as in ResNeXt. Kernels and biases of dense layers get `U(-1 /
    sqrt(fan_in), 1 / sqrt(fan_in))`, the default of torch. All other biases are 0. These are the
    numbers of torchvision; in the code for Torch that it repeats the biases of the head are 0. The
    paper refers to He's, which leaves the choice between fan-in and fan-out open.

    `keras.applications` and KerasHub give all kernels Keras' default, Glorot uniform by the fans of
    the shape: `source="keras"`. The first ResNet50 of Keras, until 2018, had `he_normal`.

    Args:
        model: A built model, or a dict from names to arrays, such as a state dict of torch with the
            names of torchvision or timm. Rules that match none of its weights are left out.
        source: Whose numbers: `"torchvision"` or `"keras"`.
        zero_init_residual: Whether to start each residual branch at 0, as `zero_residual` does.
            timm does, torchvision does not.

    Returns:
        A dict of rules for `keras_initx.initialize` and `keras_initx.audit`.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If the model is not built, is another kind of network, or has other layer names
            and `zero_init_residual`; or if `source` is invalid.

    Example:
        >>> from keras_initx import recipes
        >>> model = keras.applications.ResNet50(weights=None, include_top=False)
        >>> recipes.resnet(model, zero_init_residual=True).keys()
        dict_keys(['*_block*_3_bn/gamma', '*kernel', '*bias'])

    Reference:
        He, Zhang, Ren and Sun, "Deep residual learning for image recognition", CVPR 2016. Goyal and
        others, "Accurate, large minibatch SGD: training ImageNet in 1 hour", arXiv:1706.02677,
        2017, section 5.1, for branches that start at 0. `models/resnet.lua` of fb.resnet.torch,
        `resnet.py` of torchvision.
    """
    check_flag("zero_init_residual", zero_init_residual)
    shapes = named_shapes("model", model)
    rules: Recipe = {}
    if zero_init_residual:
        rules = _zero_branches(model, shapes)
    if source == "keras":
        return rules | _glorot_by_shape(model, shapes)
    rules |= _head(model, shapes, _TORCH_DENSE, uniform_biases=True)
    return rules | _he_by_fan_out(model, shapes)


def _zero_branches(model: Weights, shapes: Mapping[str, Shape]) -> Recipe:
    if isinstance(model, keras.Model):
        return zero_residual(model)
    for last in (3, 2):
        pattern = f"*layer*.bn{last}.weight"
        if matching_paths(pattern, shapes):
            return {pattern: "zeros"}
    raise ValueError(
        "`zero_init_residual` requires arrays with the names of torchvision, such as "
        f"'layer1.0.bn3.weight'. Received: a dict with {next(iter(shapes))!r}"
    )


def _is_vgg(network: Network) -> bool:
    parts = network.parts
    return parts.is_convolutional and not parts.concatenated and not parts.added


@recipe(
    kind="a network of convolutions without skip connections",
    sources={
        "torchvision": "Simonyan and Zisserman, 2015, by torchvision: He by fan-out, dense layers "
        "0.01",
        "paper": "the same paper, section 3.1: every kernel 0.1",
    },
    layers=_is_vgg,
)
def vgg(model: Weights, *, source: Literal["torchvision", "paper"] = "torchvision") -> Recipe:
    """Return the rules of VGG: He normal kernels, and dense layers from `N(0, 0.01²)`.

    In torchvision, kernels of convolutions get `N(0, 2 / fan_out)`, those of dense layers `N(0,
    0.01²)`, and biases are 0.

    In the paper, all kernels get a normal distribution of mean 0 and variance 0.01, so a standard
    deviation of 0.1, and biases are 0: `source="paper"`. So were the 11 layers of its network A.
    Deeper networks then started from its first four convolutions and its dense layers after
    training. The authors later found Glorot's weights to do without that.

    Args:
        model: A built model, or a dict from names to arrays, such as a state dict of torch. Rules
            that match none of its weights are left out.
        source: Whose numbers: `"torchvision"` or `"paper"`.

    Returns:
        A dict of rules for `keras_initx.initialize` and `keras_initx.audit`.

    Raises:
        TypeError: If `model` is neither a Keras model nor a dict.
        ValueError: If it is not built or is another kind of network, or `source` is invalid.

    Example:
        >>> from keras_initx import recipes
        >>> parts = [keras.layers.Conv2D(8, 3), keras.layers.Flatten(), keras.layers.Dense(4)]
        >>> model = keras.Sequential([keras.Input((8, 8, 3)), *parts])
        >>> recipes.vgg(model, source="paper")["*kernel"]
        RandomNormal(stddev=0.1)

    Reference:
        Simonyan and Zisserman, "Very deep convolutional networks for large-scale image
        recognition", ICLR 2015, section 3.1. `vgg.py` of torchvision.
    """
    shapes = named_shapes("model", model)
    if source == "paper":
        return _everywhere(model, shapes, RandomNormal(stddev=0.1))
    rules = _head(model, shapes, RandomNormal(stddev=0.01))
    return rules | _he_by_fan_out(model, shapes)


def _is_densenet(network: Network) -> bool:
    parts = network.parts
    if not parts.is_convolutional or parts.added:
        return False
    if parts.concatenated:
        return bool(parts.dense) and not parts.enlarging
    return bool(parts.norms) and not parts.is_known


@recipe(
    kind="a network of convolutions with normalization, whose branches are concatenated",
    sources={
        "authors": "Huang and others, 2017, by its code: He by fan-out",
        "torchvision": "torchvision: He by fan-in",
    },
    layers=_is_densenet,
)
def densenet(model: Weights, *, source: Literal["authors", "torchvision"] | None = None) -> Recipe:
    """Return the rules of DenseNet: He normal kernels, and a uniform head.

    Kernels of convolutions get `N(0, 2 / fan_out)` in the authors' code and `N(0, 2 / fan_in)` in
    torchvision; the paper refers to He's. In both, kernels of dense layers get `U(-1 /
    sqrt(fan_in), 1 / sqrt(fan_in))`, the default of torch, and all biases are 0.

    Args:
        model: A built model, or a dict from names to arrays, such as a state dict of torch with the
            names of torchvision or timm. Rules that match none of its weights are left out.
        source: Whose numbers: `"authors"` or `"torchvision"`. By default those of the authors for
            a model, those of torchvision for a dict.

    Returns:
        A dict of rules for `keras_initx.initialize` and `keras_initx.audit`.

    Raises:
        TypeError: If `model` is neither a Keras model nor a dict.
        ValueError: If it is not built or is another kind of network, or `source` is invalid.

    Example:
        >>> from keras_initx import recipes
        >>> model = keras.applications.DenseNet121(weights=None, include_top=False)
        >>> recipes.densenet(model)["*kernel"].mode
        'fan_out'

    Reference:
        Huang, Liu, van der Maaten and Weinberger, "Densely connected convolutional networks", CVPR
        2017, and `models/densenet.lua` of its code. `densenet.py` of torchvision.
    """
    if source is None:
        source = "authors" if isinstance(model, keras.Model) else "torchvision"
    shapes = named_shapes("model", model)
    rules = _head(model, shapes, _TORCH_DENSE)
    if source == "authors":
        return rules | _he_by_fan_out(model, shapes)
    return rules | _everywhere(model, shapes, _HE_IN)


def _is_xception(network: Network) -> bool:
    parts = network.parts
    return bool(parts.separable) and not parts.attention and not parts.concatenated


@recipe(
    kind="a network of separable convolutions",
    sources={
        "keras": "Chollet, 2017, by `keras.applications`: Glorot uniform by the fans of the shape",
        "timm": "Wightman, timm: He by fan-out",
    },
    layers=_is_xception,
)
def xception(model: Weights, *, source: Literal["keras", "timm"] | None = None) -> Recipe:
    """Return the rules of Xception: Glorot uniform kernels in Keras, He normal ones in timm.

    The paper does not say how weights start. Its author's code is that of `keras.applications`,
    where all kernels get Keras' default, Glorot uniform by the fans of the shape, and biases are 0.
    For the `(height, width, channels, 1)` of a depthwise kernel these are `height * width *
    channels` and `height * width`.

    In timm, kernels of convolutions get `N(0, 2 / fan_out)`; the fan-out of a depthwise kernel is
    `height * width * channels` there. Kernels and biases of dense layers get `U(-1 / sqrt(fan_in),
    1 / sqrt(fan_in))`, the default of torch.

    Args:
        model: A built model, or a dict from names to arrays, such as a state dict of torch with the
            names of timm. Rules that match none of its weights are left out.
        source: Whose numbers: `"keras"`, only for a model, or `"timm"`. By default `"keras"` for a
            model, `"timm"` for a dict.

    Returns:
        A dict of rules for `keras_initx.initialize` and `keras_initx.audit`.

    Raises:
        TypeError: If `model` is neither a Keras model nor a dict.
        ValueError: If it is not built or is another kind of network, or `source` is invalid.

    Example:
        >>> from keras_initx import recipes
        >>> model = keras.applications.Xception(weights=None, include_top=False)
        >>> recipes.xception(model)["block2_sepconv1/depthwise_kernel"].output_axes
        [0, 1, 3]

    Reference:
        Chollet, "Xception: deep learning with depthwise separable convolutions", CVPR 2017, and
        `xception.py` of `keras.applications`. Wightman, "PyTorch image models" (timm),
        `xception.py`.
    """
    if source is None:
        source = "keras" if isinstance(model, keras.Model) else "timm"
    shapes = named_shapes("model", model)
    if source == "keras":
        return _glorot_by_shape(model, shapes)
    rules = _head(model, shapes, _TORCH_DENSE, uniform_biases=True)
    return rules | _he_by_fan_out(model, shapes)


def _head(
    model: Weights,
    shapes: Mapping[str, Shape],
    kernel: InitializerLike,
    *,
    uniform_biases: bool = False,
) -> Recipe:
    """Return rules for the dense layers.

    Args:
        model: A model or a dict of arrays.
        shapes: The shapes of its weights.
        kernel: The initializer of the kernels.
        uniform_biases: Whether biases are `U(-1 / sqrt(fan_in), 1 / sqrt(fan_in))`.
    """
    inputs = {}  # their number, by the path of the kernel
    if isinstance(model, keras.Model):
        for weight in find_weights(model):
            if isinstance(weight.layer, keras.layers.Dense) and weight.name == "kernel":
                inputs[weight.path] = weight.shape[0]
    else:
        for path in weights_of_torch(shapes, (2,)):
            inputs[path] = shapes[path][1]
    rules: Recipe = {}
    for path, count in inputs.items():
        rules[path] = kernel
        bias = path.removesuffix("kernel").removesuffix("weight") + "bias"
        if uniform_biases and bias in shapes:
            rules[bias] = RandomUniform(-(count**-0.5), count**-0.5)
    return rules


def _everywhere(model: Weights, shapes: Mapping[str, Shape], kernel: InitializerLike) -> Recipe:
    """Return rules that give one initializer to all kernels, and the usual ones to the rest."""
    if isinstance(model, keras.Model):
        return {"*kernel": kernel, "*bias": "zeros"}
    rules: Recipe = dict.fromkeys(weights_of_torch(shapes, (1,)), "ones")
    rules |= {
        "*.weight": kernel,
        "*.bias": "zeros",
        "*.running_mean": "zeros",
        "*.running_var": "ones",
    }
    return rules


def _he_by_fan_out(model: Weights, shapes: Mapping[str, Shape]) -> Recipe:
    """Return rules for He normal kernels by the fan-out of torch, which counts all units."""
    rules: Recipe = {}
    if isinstance(model, keras.Model):
        for weight in find_weights(model):
            if weight.fans is None or len(weight.shape) < 3:
                continue
            # Those of all groups, or of all channels.
            fraction = weight.fans[1] / _all_units(weight)
            if fraction < 1:
                rules[weight.path] = VarianceScaling(2 * fraction, "fan_out", "untruncated_normal")
    return rules | _everywhere(model, shapes, _HE_OUT)


def _all_units(weight: ModelWeight) -> int:
    """Return the number of places in the window of a kernel times that of all its units."""
    if is_depthwise_kernel(weight) and weight.groups == (1, 1):
        return math.prod(weight.shape)
    assert weight.axes is not None
    return math.prod(weight.shape[axis] for axis in weight.axes[1])


def _glorot_by_shape(model: Weights, shapes: Mapping[str, Shape]) -> Recipe:
    """Return rules for Glorot uniform kernels by the fans of the shape, as Keras computes them."""
    rules: Recipe = {}
    if not isinstance(model, keras.Model):
        raise ValueError(
            "`source` must be another one for a dict of arrays, whose axes are not those of Keras. "
            "Received: source='keras'"
        )
    for weight in find_weights(model):
        if weight.fans is not None and weight.fans != fans(weight.shape):
            inputs, units = default_axes(len(weight.shape))
            rules[weight.path] = VarianceScaling(
                1.0, "fan_avg", "uniform", input_axes=list(inputs), output_axes=list(units)
            )
    return rules | _everywhere(model, shapes, "initx.glorot_uniform")
