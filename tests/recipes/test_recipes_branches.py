"""Weights that scale branches start as their papers say, whatever they are called and however deep the network is."""

import keras
import numpy as np
import pytest
from modes import to_numpy

from keras_initx import audit, initialize, recipes
from keras_initx.structure import find_weights

pytestmark = pytest.mark.once

layers = keras.layers
WIDTH = 4


class LayerScale(layers.Layer):
    """A vector with a weight of no name, as in `keras.applications`."""

    def build(self, shape):
        self.gamma = self.add_weight(shape=(shape[-1],), initializer="ones")

    def call(self, x):
        return x * self.gamma


class ReZero(layers.Layer):
    """A dense layer with a bias and a scalar that multiplies both."""

    def build(self, shape):
        self.dense = layers.Dense(shape[-1], bias_initializer="ones", name="dense")
        self.dense.build(shape)
        self.scalar = self.add_weight(shape=(), initializer="ones", name="scalar")

    def call(self, x):
        return x + self.scalar * self.dense(x)


class Block(layers.Layer):
    """The two branches of a block of a transformer, each with a scale."""

    def build(self, shape):
        self.attention = layers.Dense(shape[-1], name="attention")
        self.mlp = layers.Dense(shape[-1], name="mlp")
        self.scales = [LayerScale(name="first"), LayerScale(name="second")]
        for layer in (self.attention, self.mlp, *self.scales):
            layer.build(shape)

    def call(self, x):
        x = x + self.scales[0](self.attention(x))
        return x + self.scales[1](self.mlp(x))


class Parallel(layers.Layer):
    """Four branches of a block, each a scale alone."""

    def build(self, shape):
        self.scales = [LayerScale(name=f"scale_{number}") for number in range(4)]
        for layer in self.scales:
            layer.build(shape)

    def call(self, x):
        return x + sum(layer(x) for layer in self.scales)


def stacked(parts):
    return keras.Sequential([keras.Input((3, WIDTH)), *parts])


def transformer(depth):
    return stacked([Block(name=f"block_{number}") for number in range(depth)])


def convnext():
    parts = [layers.Conv2D(WIDTH, 3, groups=WIDTH), layers.LayerNormalization(), LayerScale(name="scale")]
    return keras.Sequential([keras.Input((8, 8, WIDTH)), *parts])


def diffusion():
    """Return a network with a modulation of two dense layers and a final layer, whose weights are ones."""

    def dense(name):
        return layers.Dense(WIDTH, name=name, kernel_initializer="ones", bias_initializer="ones")

    tokens = keras.Input((3, WIDTH))
    x = layers.MultiHeadAttention(2, 2, name="attention")(tokens, tokens)
    modulation = keras.Sequential([tokens, dense("first"), dense("last")], name="adaLN_modulation")
    x = layers.Add()([tokens, layers.Multiply()([x, modulation(tokens)])])
    final = keras.Sequential([tokens, dense("shift"), dense("linear")], name="final_layer")
    return keras.Model(tokens, final(x))


def values_after(model, rules):
    initialize(model, rules, seed=0)
    return {weight.path: to_numpy(weight.variable.value) for weight in find_weights(model)}


def constants(rules):
    """Return the constants of layer scales in rules."""
    return {value["config"]["value"] for value in rules.values() if isinstance(value, dict)}


def flat(depth):
    """Return a network whose layer scales have automatic names."""
    return stacked([LayerScale() for _ in range(2 * depth)])


def parallel(depth):
    return stacked([Parallel(name=f"block_{number}") for number in range(depth)])


@pytest.mark.parametrize(
    ("build", "depth", "constant"),
    [
        (parallel, 10, 0.1),
        (flat, 18, 0.1),
        (flat, 19, 1e-5),
        (flat, 24, 1e-5),
        (flat, 25, 1e-6),
    ],
)
def test_layer_scales_of_a_transformer_follow_its_depth(build, depth, constant):
    model = build(depth)
    rules = recipes.branch_scales(model)
    assert len(rules) == len(find_weights(model))
    assert constants(rules) == {constant}


def test_layer_scales_are_set_and_nothing_else():
    model = transformer(2)
    initialize(model, seed=0)
    before = values_after(model, {"*bias": "ones"})
    rules = recipes.branch_scales(model)
    assert not audit(model, rules).ok
    after = values_after(model, {**rules, "*kernel": None, "*bias": None})
    for path, value in after.items():
        expected = np.full(WIDTH, 0.1, "float32") if path in rules else before[path]
        np.testing.assert_array_equal(value, expected)
    assert {row.path.rsplit("/")[-1] for row in audit(model, rules).problems} == {"bias"}  # they are ones


def test_with_depthwise_convolutions_they_are_those_of_convnext():
    assert constants(recipes.branch_scales(convnext())) == {1e-6}
    assert constants(recipes.branch_scales(convnext(), layer_scale=1e-5)) == {1e-5}


def test_the_scalar_of_a_branch_starts_at_zero_but_not_its_other_weights():
    model = stacked([ReZero(name="block")])
    assert recipes.branch_scales(model) == {"block/scalar": "zeros"}
    found = values_after(model, recipes.branch_scales(model))
    assert found["block/scalar"] == 0
    assert found["block/dense/kernel"].any()
    x = np.ones((1, 3, WIDTH), "float32")
    np.testing.assert_array_equal(to_numpy(model(x)), x)


def test_the_last_layer_of_a_modulation_and_the_final_layer_start_at_zero():
    found = values_after(diffusion(), recipes.branch_scales(diffusion()))
    zero = {path for path, value in found.items() if not value.any() and "attention" not in path}
    assert zero == {
        *("adaLN_modulation/last/kernel", "adaLN_modulation/last/bias"),
        *("final_layer/shift/kernel", "final_layer/shift/bias"),
        *("final_layer/linear/kernel", "final_layer/linear/bias"),
    }


# The names of the code of the authors, of torchvision, timm and Hugging Face: weights with a rule, and others.
NAMES = {
    "CaiT": (
        {f"blocks.{number}.gamma_{branch}": (8,) for number in range(24) for branch in (1, 2)}
        | {f"blocks_token_only.{number}.gamma_{branch}": (8,) for number in range(2) for branch in (1, 2)},
        {"blocks.0.attn.qkv.weight": (24, 8), "blocks.0.norm1.weight": (8,)},
        1e-5,
    ),
    "ViT of timm": ({"blocks.0.ls1.gamma": (8,)}, {"blocks.0.attn.qkv.bias": (24,)}, 0.1),
    "DINOv2": ({"encoder.layer.0.layer_scale1.lambda1": (8,)}, {"encoder.layer.0.norm1.bias": (8,)}, 0.1),
    "ConvNeXt": (
        {"stages.0.0.gamma": (8,)},
        {"stem.weight": (8, 3, 4, 4), "stages.0.0.dwconv.weight": (8, 1, 7, 7), "stages.0.0.grn.gamma": (1, 1, 1, 32)},
        1e-6,
    ),
    "ConvNeXt of torchvision": (
        {"features.1.0.layer_scale": (8, 1, 1)},
        {
            "features.0.0.weight": (8, 3, 4, 4),
            "features.1.0.block.0.weight": (8, 1, 7, 7),
            "layer_scale.weight": (8, 8),
            "layer_scale.bias": (8,),
        },
        1e-6,
    ),
    "NFNet of timm": ({"stages.0.0.skipinit_gain": ()}, {"stages.0.0.conv1.gain": (8, 1, 1, 1)}, None),
    "ReZero": (
        {"layers.0.resweight": (1,)},
        {"layers.0.linear1.bias": (1,), "rezero.weight": (8, 8), "rezero.bias": (1,)},
        None,
    ),
    "DiT": (
        {
            "blocks.0.adaLN_modulation.1.weight": (48, 8),
            "blocks.0.adaLN_modulation.1.bias": (48,),
            "final_layer.linear.weight": (16, 8),
            "final_layer.linear.bias": (16,),
        },
        {"blocks.0.attn.qkv.weight": (24, 8), "blocks.0.attn.qkv.bias": (24,), "t_embedder.mlp.0.weight": (8, 8)},
        None,
    ),
    "names of TensorFlow": ({"layers.0.ls1.gamma": (8,)}, {"embeddings.LayerNorm.gamma": (8,)}, 0.1),
}


@pytest.mark.parametrize("row", NAMES)
def test_names_of_torch(row):
    scaling, others, constant = NAMES[row]
    rules = recipes.branch_scales({name: np.zeros(shape) for name, shape in {**others, **scaling}.items()})
    assert rules.keys() == scaling.keys()
    assert constants(rules) == ({constant} if constant else set())


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: recipes.branch_scales(3), TypeError, "`model` must be a Keras model or a dict"),
        (
            lambda: recipes.branch_scales(transformer(1), layer_scale=0),
            ValueError,
            "`layer_scale` must be a positive",
        ),
        (
            lambda: recipes.branch_scales(stacked([layers.Dense(4, name="mine")])),
            ValueError,
            "whose branches a weight scales, .* with no residual branch in its graph",
        ),
        # Without attention, as in StyleGAN, a modulation gates no branch.
        (
            lambda: recipes.branch_scales(stacked([layers.Dense(4, name="modulation")])),
            ValueError,
            "whose branches a weight scales, .* with no residual branch in its graph",
        ),
    ],
)
def test_what_has_no_such_weights_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
