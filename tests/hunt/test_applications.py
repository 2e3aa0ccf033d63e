"""The recipes for models of `keras.applications`."""

import math

import keras
import numpy as np
import pytest
from modes import to_numpy
from zoo.applications import application

from keras_initx import initialize, recipes
from keras_initx.tools.audit._audit import audit_at

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
    assert audit_at(1e-4, model, "resnet").ok


@pytest.mark.parametrize(
    "name",
    ["VGG16", "DenseNet121", "InceptionResNetV2", "MobileNetV2"],
)
def test_resnets_recipe_refuses_other_networks(name):
    model = getattr(keras.applications, name)(weights=None, input_shape=(75, 75, 3), classes=10)
    with pytest.raises(ValueError, match="must be a residual network of convolutions with normalization"):
        recipes.resnet(model)
