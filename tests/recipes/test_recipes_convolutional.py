"""Recipes for convolutional networks: whose fans they use, that an audit agrees, and which networks are for whom."""

import re
from collections.abc import Mapping

import keras
import numpy as np
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


def dense(**options):
    return joined(lambda tensors: layers.Concatenate()(tensors), **options)


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


def xception_of_torch():
    """Return the state dict of a block of timm's Xception, with its draws."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    nn = torch.nn
    pointwise = nn.Conv2d(64, 48, 1, bias=False)
    parts = {"conv1": nn.Conv2d(1, 64, 3), "conv1.depth": nn.Conv2d(64, 64, 5, groups=64), "pointwise": pointwise}
    found = {}
    for name, part in parts.items():
        nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
        found[f"block1.rep.0.{name}.weight"] = part.weight.detach()
    return found


def state_dict(*, block=3, groups=4, mode="fan_out"):
    """Return the state dict of a small network of torch, with the names and the draws of torchvision."""
    torch = pytest.importorskip("torch")
    nn = torch.nn
    torch.manual_seed(0)
    parts = {"conv1": nn.Conv2d(3, 32, 7, bias=False), "bn1": nn.BatchNorm2d(32), "fc": nn.Linear(32, 100)}
    for number in range(2):
        for place in range(1, block + 1):
            convolution = nn.Conv2d(32, 32, 3 if place == 2 else 1, groups=groups if place == 2 else 1, bias=False)
            parts[f"layer1.{number}.conv{place}"] = convolution
            parts[f"layer1.{number}.bn{place}"] = nn.BatchNorm2d(32)
    found = {}
    for name, part in parts.items():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode=mode, nonlinearity="relu")
        found |= {f"{name}.{key}": array for key, array in part.state_dict().items()}
    return found


def deviations(weights, rules):
    """Return the weights that are not as the rules say, with the verdicts."""
    return {row.path: row.verdict for row in audit(weights, rules).problems}


MODELS = {
    "resnet": (residual, recipes.resnet),
    "resnet of groups": (lambda: residual(groups=4), recipes.resnet),
    "resnet with a transposed kernel": (enlarging, recipes.resnet),
    "resnet of Keras": (
        lambda: residual(groups=4),
        lambda model: recipes.resnet(model, source="keras", zero_init_residual=True),
    ),
    "vgg": (plain, recipes.vgg),
    "vgg of the paper": (plain, lambda model: recipes.vgg(model, source="paper")),
    "densenet": (dense, recipes.densenet),
    "densenet of torchvision": (dense, lambda model: recipes.densenet(model, source="torchvision")),
    "xception": (separable, recipes.xception),
    "xception of timm": (separable, lambda model: recipes.xception(model, source="timm")),
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


@pytest.mark.parametrize("groups", [1, 4])
def test_the_draws_of_torch_are_as_the_rules_say(groups):
    arrays = state_dict(groups=groups)
    report = audit(arrays, recipes.resnet(arrays))
    assert report.ok
    assert {row.reason for row in report.not_compared} == {"int64"}  # the numbers of batches


def test_depthwise_kernels_of_torch_are_as_timm_draws_them():
    arrays = xception_of_torch()
    assert audit(arrays, recipes.xception(arrays)).ok


def test_kernels_of_torch_by_another_fan_are_found():
    arrays = state_dict(mode="fan_in")
    assert deviations(arrays, recipes.resnet(arrays)) == {
        "conv1.weight": "scale",
        "layer1.0.conv2.weight": "scale",
        "layer1.1.conv2.weight": "scale",
    }


@pytest.mark.parametrize("block", [2, 3])
def test_branches_of_torch_start_at_zero(block):
    arrays = state_dict(block=block)
    rules = recipes.resnet(arrays, zero_init_residual=True)
    last = {f"layer1.{number}.bn{block}.weight": "constant" for number in range(2)}
    assert deviations(arrays, rules).keys() == last.keys()


def test_branches_of_a_model_start_at_zero():
    model = residual()
    initialize(model, recipes.resnet(model, zero_init_residual=True), seed=0)
    norms = [layer for layer in model.layers if layer.name.endswith("_bn")]
    ends = [norm.name for norm in norms if not to_numpy(norm.gamma).any()]
    assert ends == ["conv2_block1_2_bn", "conv2_block2_2_bn"]


@pytest.mark.parametrize("build", [separable, lambda: residual(groups=4)], ids=["separable", "groups"])
def test_what_keras_draws_is_as_keras_says(build):
    keras.utils.set_random_seed(3)
    model = build()
    recipe = recipes.xception if build is separable else recipes.resnet
    assert audit(model, recipe(model, source="keras")).ok
    other = "timm" if build is separable else "torchvision"
    kernels = {path for path, verdict in deviations(model, recipe(model, source=other)).items() if verdict == "scale"}
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


def named(*names):
    """Return a dict of arrays with the names of torch, all kernels of convolutions."""
    return {name: np.ones((2, 2, 3, 3), "float32") for name in names}


def grey():
    """Return the state dict of a network whose images have one channel, and a kernel of one without a window."""
    arrays = state_dict()
    return arrays | {name: arrays[name][:, :1] for name in ("conv1.weight", "layer1.0.conv1.weight")}


MERGED = "concatenated branches, "
# How a network is built, the recipes for it in their order, and what the others say of it.
NETWORKS = {
    "residual": (residual, ["resnet"], "added branches, 'add"),
    "sums of operations": (lambda: joined(lambda tensors: tensors[0] + tensors[1]), ["resnet"], "added branches"),
    "normalized by a layer of one's own": (lambda: residual(norm=ScaleNorm), ["resnet"], "added branches, 'add"),
    "not normalized": (lambda: residual(norm=None), ["fixup"], "added branches and no normalization"),
    "dense": (dense, ["densenet"], f"{MERGED}'concatenate"),
    "dense by operations": (
        lambda: joined(lambda tensors: keras.ops.concatenate(tensors, -1)),
        ["densenet"],
        MERGED,
    ),
    "concatenated, but not with its input": (
        lambda: joined(lambda tensors: keras.ops.concatenate([2 * tensors[0], tensors[1]], -1)),
        [],
        MERGED,
    ),
    "U-Net": (encoder_decoder, [], MERGED),
    "added and concatenated": (added_and_concatenated, [], MERGED),
    "sequence": (plain, ["vgg"], "neither added nor concatenated branches"),
    "several channels in a group": (lambda: plain(layers.Conv2D(32, 3, groups=16)), ["vgg"], "neither added"),
    "one channel": (lambda: keras.Sequential([keras.Input((8, 8, 4)), layers.Conv2D(1, 3)]), ["vgg"], "neither"),
    "sums that no layer shows": (
        lambda: keras.Sequential([keras.Input((8, 8, 16)), Block(), layers.Flatten(), layers.Dense(4)]),
        ["resnet"],
        "in the `call` of a layer",
    ),
    "separable": (separable, ["xception"], "separable convolutions, 'conv2_block1_1_conv/depthwise_kernel' first"),
    "separable and dense": (lambda: dense(convolution=layers.SeparableConv2D), [], "separable convolutions"),
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
    # Arrays.
    "torchvision": (state_dict, ["resnet"], "added branches, 'layer1"),
    "torchvision, grey": (grey, ["resnet"], "added branches, 'layer1"),
    "depthwise of torch": (lambda: state_dict(groups=32), [], r"depthwise convolutions, 'layer1\.0\.conv2"),
    "VGG of torch": (lambda: named("features.0.weight", "features.2.weight"), ["vgg"], "neither added"),
    "DenseNet of torch": (
        lambda: named("features.conv0.weight", "features.denseblock1.denselayer1.conv1.weight"),
        ["densenet"],
        MERGED,
    ),
    "names of no network": (lambda: named("conv1.weight"), [], r"names of no network that is known, 'conv1\.weight'"),
    "ViT of torch": (  # the recipes for it take no arrays
        lambda: {"patch_embed.proj.weight": np.ones((8, 3, 4, 4)), "blocks.0.attn.qkv.weight": np.ones((24, 8))},
        [],
        "attention",
    ),
    "GPT-2 of torch": (lambda: {"h.0.attn.c_attn.weight": np.ones((4, 12))}, ["gpt2"], "attention, 'h"),
}


@pytest.mark.parametrize("row", NETWORKS)
def test_a_network_is_taken_by_the_recipes_for_it_and_the_others_name_them(row):
    build, fitting, evidence = NETWORKS[row]
    weights = build()
    instead = "write your own rules"
    if fitting:
        instead = f"use {' or '.join(f'`{name}`' for name in fitting)}, or {instead}"
    for name, about in ABOUT.items():
        recipe = getattr(recipes, name)
        if not about.refuses or (isinstance(weights, dict) and Mapping not in about.types):
            continue
        if name in fitting:
            assert recipe(weights)
            continue
        received = evidence if about.layers is not None else "and \\d+ other weights"
        with pytest.raises(ValueError, match=rf"must be {re.escape(about.kind)}; otherwise {instead}\. .* {received}"):
            recipe(weights)


def test_a_dict_has_the_numbers_of_torchvision_for_densenet():
    rules = recipes.densenet(named("denseblock1.denselayer1.conv1.weight"))
    assert (rules["*.weight"].mode, rules["*.weight"].distribution) == ("fan_in", "untruncated_normal")


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: recipes.resnet(3), TypeError, "`model` must be a Keras model or a dict from names"),
        (lambda: recipes.resnet({}), ValueError, "`model` must have weights"),
        (lambda: recipes.resnet(residual(), source="timm"), ValueError, "`source` must be one of"),
        (lambda: recipes.resnet(residual(), zero_init_residual=1), TypeError, "`zero_init_residual`"),
    ],
)
def test_what_is_no_network(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_the_rules_of_keras_are_none_for_the_axes_of_torch():
    arrays = named("conv1.weight", "layer1.0.conv1.weight") | {"bn1.running_var": np.ones(2)}
    with pytest.raises(ValueError, match="`source` must be another one for a dict of arrays"):
        recipes.resnet(arrays, source="keras")
    del arrays["layer1.0.conv1.weight"]
    arrays |= named("encoder.stages.0.layers.0.layer.0.convolution.weight")  # Hugging Face's
    with pytest.raises(ValueError, match="`zero_init_residual` requires arrays with the names of torchvision"):
        recipes.resnet(arrays, zero_init_residual=True)
