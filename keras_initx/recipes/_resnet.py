"""The recipe for ResNet."""

import math
from collections.abc import Sequence
from typing import Literal

import keras

from keras_initx._checks import check_flag
from keras_initx.initializers import RandomUniform, VarianceScaling, default_axes, fans
from keras_initx.recipes._network import Network, is_depthwise_kernel
from keras_initx.recipes._networks import zero_residual
from keras_initx.recipes._recipe import Recipe, recipe
from keras_initx.structure import ModelWeight, find_weights

__all__ = ["resnet"]


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
    model: keras.Model,
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
        model: A built model.
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
    rules: Recipe = {}
    if zero_init_residual:
        rules = zero_residual(model)
    weights = find_weights(model)
    kernels = _of_keras(weights) if source == "keras" else _of_torchvision(weights)
    return rules | kernels | {"*bias": "zeros"}


def _of_torchvision(weights: Sequence[ModelWeight]) -> Recipe:
    """Return rules for He normal kernels by a fan-out of all units, and for torch's dense layers.

    The default of torch for these is `U(-1 / sqrt(fan_in), 1 / sqrt(fan_in))`, also for biases.
    """
    paths = {weight.path for weight in weights}
    rules: Recipe = {}
    for weight in weights:
        if isinstance(weight.layer, keras.layers.Dense) and weight.name == "kernel":
            rules[weight.path] = VarianceScaling(1 / 3, "fan_in", "uniform")
            limit = weight.shape[0] ** -0.5
            bias = weight.path.removesuffix("kernel") + "bias"
            if bias in paths:
                rules[bias] = RandomUniform(-limit, limit)
    for weight in weights:
        if weight.fans is None or len(weight.shape) < 3:
            continue
        # Those of all groups, or of all channels.
        fraction = weight.fans[1] / _all_units(weight)
        if fraction < 1:
            rules[weight.path] = VarianceScaling(2 * fraction, "fan_out", "untruncated_normal")
    rules["*kernel"] = VarianceScaling(2.0, "fan_out", "untruncated_normal")
    return rules


def _all_units(weight: ModelWeight) -> int:
    """Return the number of places in the window of a kernel times that of all its units."""
    if is_depthwise_kernel(weight) and weight.groups == (1, 1):
        return math.prod(weight.shape)
    assert weight.axes is not None
    return math.prod(weight.shape[axis] for axis in weight.axes[1])


def _of_keras(weights: Sequence[ModelWeight]) -> Recipe:
    """Return rules for Glorot uniform kernels by the fans of the shape, as Keras computes them."""
    rules: Recipe = {}
    for weight in weights:
        if weight.fans is not None and weight.fans != fans(weight.shape):
            inputs, units = default_axes(len(weight.shape))
            rules[weight.path] = VarianceScaling(
                1.0, "fan_avg", "uniform", input_axes=list(inputs), output_axes=list(units)
            )
    rules["*kernel"] = "initx.glorot_uniform"
    return rules
