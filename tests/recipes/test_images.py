"""Recipes for networks of images, beside their rows of the table."""

import keras
import pytest
from modes import to_numpy

from keras_initx import initialize, recipes

layers = keras.layers


@pytest.mark.parametrize("name", ["kernel_net", "net[0]"])
def test_timms_patch_biases_may_be_in_a_layer_of_any_name(name):
    patches = layers.Conv2D(4, 2, 2, name="patch_embedding")
    embedding = keras.Sequential([patches], name=name)
    attention = layers.Dense(4, name="attention")
    model = keras.Sequential([keras.Input((8, 8, 3)), embedding, attention])
    initialize(model, recipes.vit_timm(model), seed=0)
    assert to_numpy(patches.bias).any()
