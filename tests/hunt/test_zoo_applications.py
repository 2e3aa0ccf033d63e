"""Models of `keras.applications`: the verdicts expected, nothing changed; and the recipes for them."""

import math

import keras
import numpy as np
import pytest
from modes import everywhere, to_numpy
from zoo import CLASSES, WRONG_FAN, assert_verdicts, normal, pixels, tokens

from keras_initx import audit, initialize, recipes


def application(name, x=normal, *, size=32, gradients=False):
    """Return a model of `keras.applications`; the larger ones without a backward pass, which takes long to compile."""
    model = getattr(keras.applications, name)(
        weights=None, input_shape=(size, size, 3), classes=10, classifier_activation=None
    )
    return model, x(8, size, size, 3), tokens(8, vocabulary=10) if gradients else None, CLASSES


ZOO = {
    "MobileNetV2": (lambda: application("MobileNetV2", gradients=True), WRONG_FAN),
    "MobileNetV2, pixels": (lambda: application("MobileNetV2", pixels), {*WRONG_FAN, ("unscaled inputs", "note")}),
    # Smaller images leave the last batch normalizations too few values to go by.
    "ResNet50": (lambda: application("ResNet50", size=64, gradients=True), set()),
    "EfficientNetB0": (lambda: application("EfficientNetB0", pixels), set()),
    # Without normalization Glorot's weights halve the variance in each of 15 layers.
    "VGG16": (lambda: application("VGG16"), {("vanishing", "warning")}),
}


# Larger ones take minutes to compile.
EVERYWHERE = ("MobileNetV2", "VGG16")


@pytest.mark.parametrize("name", everywhere(ZOO, EVERYWHERE))
def test_zoo(name):
    assert_verdicts(*ZOO[name])


SLIM = 0.09 * 0.8796  # TF-Slim truncates its normal distribution at two standard deviations.


def by_fan_out(shape):
    """Return the standard deviation in the code of EfficientNet, which takes the last axis for the filters."""
    return math.sqrt(1 / 3 / shape[1]) if len(shape) == 2 else math.sqrt(2 / math.prod((*shape[:2], shape[3])))


def assert_sizes(model, expected):
    """Check the standard deviation of each kernel, and that biases are 0."""
    for variable in model.trainable_variables:
        values = to_numpy(variable.value)
        if variable.path.endswith("kernel"):
            # Five standard errors of the standard deviation of normal values.
            tolerance = 5 / math.sqrt(2 * values.size)
            assert values.std() == pytest.approx(expected(values.shape), rel=tolerance), variable.path
        elif variable.path.endswith("bias"):
            assert not values.any()


@pytest.mark.parametrize(
    ("name", "recipe", "expected"),
    [
        ("ConvNeXtTiny", recipes.convnext, lambda shape: 0.02),
        ("EfficientNetB0", recipes.efficientnet, by_fan_out),
        ("MobileNetV2", recipes.mobilenet, lambda shape: SLIM),
        ("MobileNetV3Small", recipes.mobilenet, lambda shape: SLIM),
    ],
)
def test_each_kernel_has_the_size_of_the_source_and_nothing_else_changes(name, recipe, expected):
    model = application(name)[0]
    others = [variable for variable in model.variables if not variable.path.endswith(("kernel", "bias"))]
    before = [to_numpy(variable.value).copy() for variable in others]
    initialize(model, recipe(model), seed=0)
    assert_sizes(model, expected)
    for old, variable in zip(before, others, strict=True):
        np.testing.assert_array_equal(old, to_numpy(variable.value), err_msg=variable.path)


@pytest.mark.parametrize("name", ["ResNet50", "ResNet50V2"])
def test_resnets_recipe_takes_a_resnet(name):
    model = getattr(keras.applications, name)(weights=None, input_shape=(75, 75, 3), classes=10)
    initialize(model, "resnet", seed=0)
    assert audit(model, "resnet", alpha=1e-4).ok


@pytest.mark.parametrize(
    "name",
    ["VGG16", "DenseNet121", "InceptionResNetV2", "MobileNetV2"],
)
def test_resnets_recipe_refuses_other_networks(name):
    model = getattr(keras.applications, name)(weights=None, input_shape=(75, 75, 3), classes=10)
    with pytest.raises(ValueError, match="must be a residual network of convolutions with normalization"):
        recipes.resnet(model)
