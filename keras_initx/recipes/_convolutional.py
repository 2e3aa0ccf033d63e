"""Recipes for convolutional networks of images: ResNet, VGG, DenseNet and Xception."""

import math
from typing import Literal

import keras

from keras_initx._checks import check_flag
from keras_initx._typing import InitializerLike
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
    network_of,
    weights_of_torch,
)
from keras_initx.recipes._networks import zero_residual
from keras_initx.recipes._recipe import Recipe, recipe
from keras_initx.structure import ModelWeight, find_weights

__all__ = ["densenet", "resnet", "vgg", "xception"]

# The default of torch for linear layers, `U(-1 / sqrt(fan_in), 1 / sqrt(fan_in))`.
_TORCH_DENSE = VarianceScaling(1 / 3, "fan_in", "uniform")
_HE_OUT = VarianceScaling(2.0, "fan_out", "untruncated_normal")
_HE_IN = VarianceScaling(2.0, "fan_in", "untruncated_normal")


def _is_resnet(network: Network) -> bool:
    if not network.is_convolutional or network.concatenated or not network.norms:
        return False
    return bool(network.added) or not network.is_known


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
            names of torchvision or timm.
        source: Whose numbers: `"torchvision"` or `"keras"`.
        zero_init_residual: Whether to start each residual branch at 0, as `zero_residual` does.
            timm does, torchvision does not.

    Raises:
        ValueError: If `zero_init_residual`, and `zero_residual` refuses the model.

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
    network = network_of("model", model)
    rules: Recipe = {}
    if zero_init_residual:
        rules = _zero_branches(network)
    if source == "keras":
        return rules | _glorot_by_shape(network)
    rules |= _head(network, _TORCH_DENSE, uniform_biases=True)
    return rules | _he_by_fan_out(network)


def _zero_branches(network: Network) -> Recipe:
    if isinstance(network.weights, keras.Model):
        return zero_residual(network.weights)
    for last in (3, 2):
        pattern = f"*layer*.bn{last}.weight"
        if network.has(pattern):
            return {pattern: "zeros"}
    raise ValueError(
        "`zero_init_residual` requires arrays with the names of torchvision, such as "
        f"'layer1.0.bn3.weight'. Received: a dict with {next(iter(network.shapes))!r}"
    )


@recipe(
    kind="a network of convolutions without skip connections",
    sources={
        "torchvision": "Simonyan and Zisserman, 2015, by torchvision: He by fan-out, dense layers "
        "0.01",
        "paper": "the same paper, section 3.1: every kernel 0.1",
    },
    layers=lambda network: (
        network.is_convolutional and not network.concatenated and not network.adds
    ),
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
        model: A built model, or a dict from names to arrays, such as a state dict of torch.
        source: Whose numbers: `"torchvision"` or `"paper"`.

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
    network = network_of("model", model)
    if source == "paper":
        return _everywhere(network, RandomNormal(stddev=0.1))
    rules = _head(network, RandomNormal(stddev=0.01))
    return rules | _he_by_fan_out(network)


def _is_densenet(network: Network) -> bool:
    if not network.is_convolutional or network.adds:
        return False
    if network.concatenated:
        return bool(network.dense) and not network.enlarging
    return bool(network.norms) and not network.is_known


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
            names of torchvision or timm.
        source: Whose numbers: `"authors"` or `"torchvision"`. By default those of the authors for
            a model, those of torchvision for a dict.

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
    network = network_of("model", model)
    rules = _head(network, _TORCH_DENSE)
    if source == "authors":
        return rules | _he_by_fan_out(network)
    return rules | _everywhere(network, _HE_IN)


@recipe(
    kind="a network of separable convolutions",
    sources={
        "keras": "Chollet, 2017, by `keras.applications`: Glorot uniform by the fans of the shape",
        "timm": "Wightman, timm: He by fan-out",
    },
    layers=lambda network: network.separable and not network.attention and not network.concatenated,
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
            names of timm.
        source: Whose numbers: `"keras"`, only for a model, or `"timm"`. By default `"keras"` for a
            model, `"timm"` for a dict.

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
    network = network_of("model", model)
    if source == "keras":
        return _glorot_by_shape(network)
    rules = _head(network, _TORCH_DENSE, uniform_biases=True)
    return rules | _he_by_fan_out(network)


def _head(network: Network, kernel: InitializerLike, *, uniform_biases: bool = False) -> Recipe:
    """Return rules for the dense layers.

    Args:
        network: What a model or a dict of arrays consists of.
        kernel: The initializer of the kernels.
        uniform_biases: Whether biases are `U(-1 / sqrt(fan_in), 1 / sqrt(fan_in))`.
    """
    inputs = {}  # their number, by the path of the kernel
    if isinstance(network.weights, keras.Model):
        for weight in find_weights(network.weights):
            if isinstance(weight.layer, keras.layers.Dense) and weight.name == "kernel":
                inputs[weight.path] = weight.shape[0]
    else:
        for path in weights_of_torch(network.shapes, (2,)):
            inputs[path] = network.shapes[path][1]
    rules: Recipe = {}
    for path, count in inputs.items():
        rules[path] = kernel
        bias = path.removesuffix("kernel").removesuffix("weight") + "bias"
        if uniform_biases and bias in network.shapes:
            rules[bias] = RandomUniform(-(count**-0.5), count**-0.5)
    return rules


def _everywhere(network: Network, kernel: InitializerLike) -> Recipe:
    """Return rules that give one initializer to all kernels, and the usual ones to the rest."""
    if isinstance(network.weights, keras.Model):
        return {"*kernel": kernel, "*bias": "zeros"}
    rules: Recipe = dict.fromkeys(weights_of_torch(network.shapes, (1,)), "ones")
    rules |= {
        "*.weight": kernel,
        "*.bias": "zeros",
        "*.running_mean": "zeros",
        "*.running_var": "ones",
    }
    return rules


def _he_by_fan_out(network: Network) -> Recipe:
    """Return rules for He normal kernels by the fan-out of torch, which counts all units."""
    rules: Recipe = {}
    if isinstance(network.weights, keras.Model):
        for weight in find_weights(network.weights):
            if weight.fans is None or len(weight.shape) < 3:
                continue
            # Those of all groups, or of all channels.
            fraction = weight.fans[1] / _all_units(weight)
            if fraction < 1:
                rules[weight.path] = VarianceScaling(2 * fraction, "fan_out", "untruncated_normal")
    return rules | _everywhere(network, _HE_OUT)


def _all_units(weight: ModelWeight) -> int:
    """Return the number of places in the window of a kernel times that of all its units."""
    if is_depthwise_kernel(weight) and weight.groups == (1, 1):
        return math.prod(weight.shape)
    assert weight.axes is not None
    return math.prod(weight.shape[axis] for axis in weight.axes[1])


def _glorot_by_shape(network: Network) -> Recipe:
    """Return rules for Glorot uniform kernels by the fans of the shape, as Keras computes them."""
    rules: Recipe = {}
    if not isinstance(network.weights, keras.Model):
        raise ValueError(
            "`source` must be another one for a dict of arrays, whose axes are not those of Keras. "
            "Received: source='keras'"
        )
    for weight in find_weights(network.weights):
        if weight.fans is not None and weight.fans != fans(weight.shape):
            inputs, units = default_axes(len(weight.shape))
            rules[weight.path] = VarianceScaling(
                1.0, "fan_avg", "uniform", input_axes=list(inputs), output_axes=list(units)
            )
    return rules | _everywhere(network, "initx.glorot_uniform")
