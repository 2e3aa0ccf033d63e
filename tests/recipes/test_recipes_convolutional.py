"""Recipes for convolutional networks: whose fans they use, that an audit agrees, and which networks are for whom."""

import re

import keras
import pytest
import text_models
from modes import to_numpy

from keras_initx import audit, initialize, recipes
from keras_initx.recipes._recipe import ABOUT

pytestmark = pytest.mark.once

layers = keras.layers


def joined(merge, *, norm=layers.BatchNormalization, groups=1, convolution=layers.Conv2D):
    """Return a network of two blocks of two kernels, whose branches are merged with their inputs."""
    x = inputs = keras.Input((6, 6, 32))
    for block in (1, 2):
        branch = x
        for place in (1, 2):
            name = f"conv2_block{block}_{place}"
            options = {"groups": groups} if convolution is layers.Conv2D else {}
            branch = convolution(32, 3, padding="same", name=f"{name}_conv", **options)(branch)
            if norm is not None:
                branch = norm(name=f"{name}_bn")(branch)
        x = merge([x, branch])
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(16, name="predictions")(x))


def residual(**options):
    return joined(lambda tensors: layers.Add()(tensors), **options)


def dense():
    return joined(lambda tensors: layers.Concatenate()(tensors))


def separable():
    return residual(convolution=layers.SeparableConv2D)


def plain(*others):
    """Return a sequence of layers between two convolutions and a dense layer."""
    first, second = layers.Conv2D(32, 3, name="first"), layers.Conv2D(32, 3, name="second")
    parts = [first, *others, second, layers.Flatten(), layers.Dense(16, name="head")]
    return keras.Sequential([keras.Input((8, 8, 16)), *parts])


def enlarging():
    """Return a residual network that ends with a transposed convolution."""
    network = residual()
    x = layers.Conv2DTranspose(24, 3, name="larger")(network.layers[-3].output)
    return keras.Model(network.inputs, x)


def unit(width):
    """Return a network of a convolution that is depthwise by its groups."""
    return plain(layers.Conv2D(width, 3, padding="same", groups=width, name="grouped"), layers.BatchNormalization())


class Block(layers.Layer):
    """A block whose sum is in its `call`."""

    def __init__(self, **options):
        super().__init__(**options)
        self.convolution = layers.Conv2D(16, 3, padding="same", name="convolution")
        self.norm = layers.BatchNormalization(name="norm")

    def build(self, shape):
        self.convolution.build(shape)
        self.norm.build(shape)

    def call(self, x):
        return x + self.norm(self.convolution(x))


MODELS = {
    "resnet": (residual, recipes.resnet),
    "resnet of groups": (lambda: residual(groups=4), recipes.resnet),
    "resnet with a transposed kernel": (enlarging, recipes.resnet),
    "resnet of Keras": (
        lambda: residual(groups=4),
        lambda model: recipes.resnet(model, source="keras", zero_init_residual=True),
    ),
}


@pytest.mark.parametrize("row", MODELS)
def test_an_audit_raises_no_more_alarms_than_alpha_says(row):
    build, recipe = MODELS[row]
    model = build()
    rules = recipe(model)
    # By chance at most 2 % of pairs of seeds raise an alarm. These do not.
    for seed in (0, 1):
        initialize(model, rules, seed=seed)
        assert audit(model, rules, alpha=0.01).ok


@pytest.mark.parametrize(
    ("build", "kernel", "units"),
    [
        (residual, "conv2_block1_1_conv", 32),
        (lambda: residual(groups=4), "conv2_block1_1_conv", 32),  # those of all groups
        (enlarging, "larger", 24),
    ],
)
def test_all_units_count_as_the_fan_out(build, kernel, units):
    model = build()
    plan = initialize(model, recipes.resnet(model), seed=0, dry_run=True)
    found = {weight.path: weight.expected_std for weight in plan.weights}
    assert found[f"{kernel}/kernel"] == pytest.approx((2 / (9 * units)) ** 0.5)


def test_branches_of_a_model_start_at_zero():
    model = residual()
    initialize(model, recipes.resnet(model, zero_init_residual=True), seed=0)
    norms = [layer for layer in model.layers if layer.name.endswith("_bn")]
    ends = [norm.name for norm in norms if not to_numpy(norm.gamma).any()]
    assert ends == ["conv2_block1_2_bn", "conv2_block2_2_bn"]


def test_what_keras_draws_is_as_keras_says():
    keras.utils.set_random_seed(3)
    model = residual(groups=4)
    assert audit(model, recipes.resnet(model, source="keras")).ok
    off = audit(model, recipes.resnet(model)).problems
    kernels = {row.path for row in off if row.verdict == "scale"}
    assert len(kernels) >= 4


def encoder_decoder():
    """Return a part of a U-Net, in which an image of the encoder is concatenated with an enlarged one."""
    inputs = keras.Input((6, 6, 32))
    x = layers.BatchNormalization()(layers.Conv2D(32, 3, 2, name="conv")(inputs))
    x = layers.Conv2DTranspose(32, 4, 2)(x)
    return keras.Model(inputs, layers.Concatenate()([inputs, x]))


def added_and_concatenated():
    return joined(lambda tensors: layers.Conv2D(32, 1)(layers.Concatenate()([tensors[0], layers.Add()(tensors)])))


def convnext():
    return plain(layers.Conv2D(32, 3, padding="same", groups=32, name="grouped"), layers.LayerNormalization())


class ScaleNorm(layers.Layer):
    """A normalization of one's own, known by the name of its class."""

    def call(self, x):
        return x / (1 + keras.ops.std(x))


def activated(activation, name="depthwise"):
    """Return a network of a depthwise convolution with batch normalization and an activation."""
    depthwise = layers.DepthwiseConv2D(3, name=name)
    parts = [depthwise, layers.BatchNormalization(), layers.Activation(activation, name="act")]
    return keras.Sequential([keras.Input((8, 8, 4)), *parts])


MERGED = "concatenated branches, "
# How a network is built, the recipes for it in their order, and what the others say of it.
NETWORKS = {
    "residual": (residual, ["resnet"], "added branches, 'add"),
    "sums of operations": (lambda: joined(lambda tensors: tensors[0] + tensors[1]), ["resnet"], "added branches"),
    "normalized by a layer of one's own": (lambda: residual(norm=ScaleNorm), ["resnet"], "added branches, 'add"),
    "not normalized": (lambda: residual(norm=None), ["fixup"], "added branches and no normalization"),
    "dense": (dense, [], f"{MERGED}'concatenate"),
    "dense by operations": (lambda: joined(lambda tensors: keras.ops.concatenate(tensors, -1)), [], MERGED),
    "U-Net": (encoder_decoder, [], MERGED),
    "added and concatenated": (added_and_concatenated, [], MERGED),
    "sequence": (plain, [], "neither added nor concatenated branches"),
    "several channels in a group": (lambda: plain(layers.Conv2D(32, 3, groups=16)), [], "neither added"),
    "one channel": (lambda: keras.Sequential([keras.Input((8, 8, 4)), layers.Conv2D(1, 3)]), [], "neither"),
    "sums that no layer shows": (
        lambda: keras.Sequential([keras.Input((8, 8, 16)), Block(), layers.Flatten(), layers.Dense(4)]),
        ["resnet"],
        "in the `call` of a layer",
    ),
    "separable": (separable, [], "separable convolutions, 'conv2_block1_1_conv/depthwise_kernel' first"),
    "attention": (
        lambda: plain(layers.Conv2D(32, 1, name="attention")),
        ["vit_jax", "vit_timm"],
        "attention, 'attention' first",
    ),
    "depthwise": (lambda: unit(32), ["efficientnet", "mobilenet"], "depthwise convolutions, 'grouped/kernel' first"),
    "depthwise, SiLU": (lambda: activated("silu"), ["efficientnet"], "depthwise"),
    "depthwise, hard SiLU": (lambda: activated("hard_silu"), ["mobilenet"], "depthwise"),
    "depthwise, ReLU6": (lambda: activated("relu6", "block_1_depthwise"), ["mobilenet"], "depthwise"),
    "depthwise, ReLU of a limit": (lambda: activated(layers.ReLU(6.0)), ["mobilenet"], "depthwise"),
    "depthwise, ReLU": (lambda: activated(layers.ReLU()), ["efficientnet", "mobilenet"], "depthwise"),
    "EfficientNet-Lite": (lambda: activated("relu6", "block1a_dwconv"), ["efficientnet", "mobilenet"], "depthwise"),
    "ConvNeXt": (convnext, ["convnext"], "depthwise"),
    "dense layers": (
        lambda: keras.Sequential([keras.Input((4,)), layers.Dense(2)]),
        [],
        "neither convolutions nor attention",
    ),
    "BERT": (text_models.bert, ["bert"], "an embedding of tokens, 'token_embedding' first"),
    "Llama": (text_models.llama, ["llama"], "an embedding of tokens"),
    "Whisper": (text_models.whisper, ["whisper"], "an embedding of tokens"),
    "CLIP": (text_models.clip, ["clip"], "an embedding of tokens"),
    "LSTM": (lambda: keras.Sequential([keras.Input((5, 4)), layers.LSTM(8)]), ["orthogonal_rnn"], "neither"),
}


@pytest.mark.parametrize("row", NETWORKS)
def test_a_network_is_taken_by_the_recipes_for_it_and_the_others_name_them(row):
    build, fitting, evidence = NETWORKS[row]
    model = build()
    instead = "write your own rules"
    if fitting:
        instead = f"use {' or '.join(f'`{name}`' for name in fitting)}, or {instead}"
    for name, about in ABOUT.items():
        if not about.refuses:
            continue
        recipe = getattr(recipes, name)
        if name in fitting:
            assert recipe(model)
            continue
        received = evidence if about.layers is not None else "and \\d+ other weights"
        with pytest.raises(ValueError, match=rf"must be {re.escape(about.kind)}; otherwise {instead}\. .* {received}"):
            recipe(model)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: recipes.resnet(3), TypeError, "`model` must be a Keras model"),
        (lambda: recipes.resnet(residual(), source="timm"), ValueError, "`source` must be one of"),
        (lambda: recipes.resnet(residual(), zero_init_residual=1), TypeError, "`zero_init_residual`"),
    ],
)
def test_what_is_no_network(call, error, message):
    with pytest.raises(error, match=message):
        call()
