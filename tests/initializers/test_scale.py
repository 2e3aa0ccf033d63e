"""Fans are those of the layers, counted by running them; axes make a matrix or are refused."""

import keras
import numpy as np
import pytest
from cases import FIRST_CASES, for_each
from modes import to_numpy

from keras_initx import Sparse
from keras_initx.initializers._scale import AxesInitializer, fans

layers = keras.layers
ONES = {"kernel_initializer": "ones", "use_bias": False}

# A layer of ones, the shape of its input, and the axes that its kernel needs to be told.
LAYERS = {
    "Dense": (lambda: layers.Dense(7, **ONES), (5,), {}),
    "Conv2D": (lambda: layers.Conv2D(7, (3, 2), **ONES), (9, 9, 5), {}),
    "Conv2DTranspose": (
        lambda: layers.Conv2DTranspose(7, (3, 2), **ONES),
        (9, 9, 5),
        {"input_axes": [0, 1, 3], "output_axes": [0, 1, 2]},
    ),
    "DepthwiseConv2D": (
        lambda: layers.DepthwiseConv2D((3, 2), depth_multiplier=2, depthwise_initializer="ones", use_bias=False),
        (9, 9, 5),
        {"input_axes": [0, 1], "output_axes": [0, 1, 3]},
    ),
    "EinsumDense": (
        lambda: layers.EinsumDense("abc,bcde->ade", (3, 4), kernel_initializer="ones"),
        (5, 2),
        {"input_axes": [0, 1], "output_axes": [2, 3]},
    ),
}


def counted(layer, shape):
    """Return the most inputs that an output of a layer of ones adds up, and the outputs of one input."""
    one = np.zeros((1, *shape), "float32")
    one[(0, *(length // 2 for length in shape))] = 1
    return float(to_numpy(layer(np.ones_like(one))).max()), float(to_numpy(layer(one)).sum())


@pytest.mark.parametrize("name", LAYERS)
def test_fans_are_those_of_the_layer(name):
    make, shape, axes = LAYERS[name]
    layer = make()
    assert counted(layer, shape) == fans(tuple(layer.weights[0].shape), **axes)


def test_a_grouped_convolution_has_the_right_inputs_and_too_many_outputs():
    layer = layers.Conv2D(12, 3, groups=4, **ONES)
    fan_in, fan_out = counted(layer, (9, 9, 8))
    assert fans(tuple(layer.kernel.shape)) == (fan_in, 4 * fan_out)


@pytest.mark.parametrize(("shape", "expected"), [((), (1, 1)), ((6,), (6, 6)), ((0, 4), (0, 4)), ((2, 5), (2, 5))])
def test_small_shapes_as_in_keras(shape, expected):
    assert fans(shape) == expected


def test_one_of_the_axes_may_be_left_out():
    assert fans((3, 3, 16, 8), input_axes=[0, 1]) == (9, 72)
    assert fans((3, 3, 16, 8), output_axes=(-1,)) == (144, 8)


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({"input_axes": [3]}, r"`shape` must have every axis in `input_axes`, without repeats\. .*input_axes=\[3\]"),
        ({"output_axes": [1, -2]}, r"`shape` must have every axis in `output_axes`, without repeats\. .*=\[1, -2\]"),
        (
            {"input_axes": [0], "output_axes": [1]},
            r"axes listed exactly once, in `input_axes` or in `output_axes`\. "
            r"Received: shape=\(4, 5, 6\), input_axes=\[0\], output_axes=\[1\]",
        ),
        (
            {"input_axes": [0, 1], "output_axes": [-2, 2]},
            r"axes listed exactly once, in `input_axes` or in `output_axes`",
        ),
    ],
    ids=str,
)
def test_refuses_axes_that_do_not_make_a_matrix(axes, message):
    with pytest.raises(ValueError, match=message):
        Sparse(**axes)((4, 5, 6))


@for_each(cls for cls in FIRST_CASES if issubclass(cls, AxesInitializer))
def test_axes_are_in_the_config(cls):
    config = cls(input_axes=[0], output_axes=[1]).get_config()
    assert (config["input_axes"], config["output_axes"]) == ([0], [1])
