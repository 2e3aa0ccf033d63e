"""A fan is wrong for some layers and axes alone."""

import keras
import pytest
from judged import IMAGES, found
from keras import layers

import keras_initx


@pytest.mark.parametrize(
    ("layer", "axes"),
    [
        (layers.DepthwiseConv2D(3, depthwise_initializer="he_normal"), "input_axes=[0, 1], output_axes=[0, 1, 3]"),
        (layers.SeparableConv2D(8, 3), "input_axes=[0, 1], output_axes=[0, 1, 3]"),
        (
            layers.Conv2DTranspose(8, 3, kernel_initializer=keras_initx.HeNormal()),
            "input_axes=[0, 1, 3], output_axes=[0, 1, 2]",
        ),
    ],
    ids=["depthwise", "separable", "transposed"],
)
def test_wrong_fan(layer, axes):
    verdicts = found(keras.Sequential([keras.Input((8, 8, 64)), layer]), IMAGES)
    assert list(verdicts) == ["wrong fan"]
    assert verdicts["wrong fan"].layers == (layer.name,)
    assert axes in verdicts["wrong fan"].remedy.text


@pytest.mark.parametrize(
    "layer",
    [
        layers.DepthwiseConv2D(3, depthwise_initializer=keras_initx.HeNormal(input_axes=[0, 1])),
        layers.DepthwiseConv2D(3, depthwise_initializer="random_normal"),
        layers.Conv2DTranspose(8, 3, kernel_initializer=keras_initx.HeNormal(input_axes=[0, 1, 3])),
        # A unit sums a quarter of the inputs: both readings of He are right.
        layers.Conv2DTranspose(16, 4, 2, kernel_initializer="he_normal"),
        layers.Conv2DTranspose(16, 4, 2, kernel_initializer=keras_initx.HeNormal(input_axes=[0, 1, 3])),
        layers.Conv2DTranspose(8, 3),  # Glorot's mean of inputs and outputs is the same
        layers.Conv2D(8, 3, groups=4, kernel_initializer="he_normal"),
        # Those without a scale say nothing of a standard deviation.
        layers.Conv2DTranspose(8, 3, kernel_initializer=keras_initx.Sparse()),
    ],
    ids=["depthwise", "given", "transposed", "strided", "strided, axes", "glorot", "grouped", "sparse"],
)
def test_right_fan(layer):
    assert found(keras.Sequential([keras.Input((8, 8, 64)), layer]), IMAGES) == {}
