"""Recipes for networks of images, beside their rows of the table."""

import keras
import pytest
from modes import to_numpy

from keras_initx import audit, initialize, recipes

layers, ops = keras.layers, keras.ops


@pytest.mark.parametrize("name", ["kernel_net", "net[0]"])
def test_timms_patch_biases_may_be_in_a_layer_of_any_name(name):
    patches = layers.Conv2D(4, 2, 2, name="patch_embedding")
    embedding = keras.Sequential([patches], name=name)
    attention = layers.Dense(4, name="attention")
    model = keras.Sequential([keras.Input((8, 8, 3)), embedding, attention])
    initialize(model, recipes.vit_timm(model), seed=0)
    assert to_numpy(patches.bias).any()


class ClassToken(layers.Layer):
    """The token of the class as timm calls it."""

    def build(self, shape):
        self.cls_token = self.add_weight((1, 1, shape[-1]), "ones")

    def call(self, x):
        return ops.concatenate([ops.broadcast_to(self.cls_token, (ops.shape(x)[0], 1, x.shape[-1])), x], 1)


@pytest.mark.release_backends
def test_the_token_of_the_class_and_the_layer_before_the_logits_are_known():
    image = keras.Input((4, 4, 3))
    x = layers.Reshape((4, 32))(layers.Conv2D(32, 2, 2, name="patch")(image))
    x = ClassToken(name="token")(x)
    y = layers.LayerNormalization()(x)
    x = x + layers.MultiHeadAttention(2, 16, name="mha")(y, y)
    y = layers.Dense(64, "gelu", name="up")(layers.LayerNormalization()(x))
    x = x + layers.Dense(32, name="down")(y)
    x = layers.Dense(48, "tanh", name="before")(layers.LayerNormalization()(x)[:, 0])
    model = keras.Model(image, layers.Dense(5, name="head")(x))
    rows = initialize(model, "vit_jax", seed=0).rows
    stds = {row.path: row.expected_std for row in rows}
    assert stds["before/kernel"] == pytest.approx(32**-0.5)
    zeros = {row.path for row in rows if row.initializer == "Zeros()"}
    assert {"before/bias", "head/kernel", "token/variable"} <= zeros
    assert stds["down/kernel"] == pytest.approx((2 / 96) ** 0.5)
    assert audit(model, "vit_jax").ok
    stds = {row.path: row.expected_std for row in initialize(model, "vit_timm", seed=0).rows}
    assert (stds["token/variable"], stds["before/kernel"]) == (1e-6, 0.02)


@pytest.mark.parametrize(("name", "kind"), [("mobilenet", "MobileNet"), ("efficientnet", "EfficientNet")])
def test_the_plan_says_which_models_a_recipe_is_for(name, kind):
    parts = [layers.DepthwiseConv2D(3), layers.BatchNormalization(), layers.Activation("silu")]
    plan = initialize(keras.Sequential([keras.Input((8, 8, 4)), *parts]), name, seed=0, dry_run=True)
    network = "a network of depthwise convolutions with batch normalization"
    assert plan.notes == (f"The recipe {name!r} is for {network}, as in {kind}.",)
