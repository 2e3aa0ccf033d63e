"""Recipes give weights the sizes that their papers say, in models that are asked for their depth or told it."""

import math
import pathlib
from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
import pytest
from modes import needs_axes, to_numpy
from text_models import HIDDEN, bert, llama, mixture, whisper
from text_models import WIDTH as TEXT

import keras_initx
from keras_initx import initialize, recipes
from keras_initx.recipes._named import RECIPES
from keras_initx.structure import find_weights

layers = keras.layers
BLOCKS, WIDTH = 3, 32


def transformer():
    """Return a small transformer whose layers have KerasHub's names."""
    tokens = keras.Input((6,))
    x = layers.Embedding(400, WIDTH, name="token_embedding")(tokens)
    for number in range(BLOCKS):
        attention = layers.MultiHeadAttention(2, WIDTH // 2, name=f"block_{number}_attention")
        x = layers.Add()([x, attention(x, x)])
        hidden = layers.Dense(2 * WIDTH, "gelu", name="feedforward_intermediate_dense")
        out = layers.Dense(WIDTH, name="feedforward_output_dense")
        inner = keras.Sequential([keras.Input((6, WIDTH)), hidden, out], name=f"block_{number}")
        x = layers.Add()([x, inner(x)])
    return keras.Model(tokens, layers.Dense(4, name="predictions")(x))


def residual(normalized):
    """Return a small residual network whose layers have the names of `keras.applications`."""
    inputs = keras.Input((4, 4, 8))
    x = inputs
    for block in range(4):
        branch = x
        for place in (1, 2, 3):
            name = f"conv2_block{block}_{place}"
            branch = layers.Conv2D(8, 3, padding="same", name=f"{name}_conv")(branch)
            if normalized:
                branch = layers.BatchNormalization(name=f"{name}_bn")(branch)
        x = layers.Add()([x, branch])
    return keras.Model(inputs, layers.Dense(3, name="predictions")(layers.GlobalAveragePooling2D()(x)))


def with_positions():
    """Return the transformer with a position embedding."""
    tokens = keras.Input((6,))
    positions = layers.Embedding(1000, 4, name="position_embedding")(tokens)
    return keras.Model(tokens, layers.Add()([transformer()(tokens), positions]))


def vision():
    """Return a small vision transformer whose layers have KerasHub's names."""
    patches = keras.Input((8, 8, 3))
    x = layers.Conv2D(WIDTH, 2, 2, name="patch_embedding")(patches)
    x = layers.Reshape((16, WIDTH))(x)
    x = layers.MultiHeadAttention(2, 16, name="mha")(x, x)
    mlp = [keras.Input((16, WIDTH)), layers.Dense(64, name="dense"), layers.Dense(WIDTH, name="dense_1")]
    x = keras.Sequential(mlp, name="mlp")(x)
    return keras.Model(patches, layers.Dense(5, name="predictions")(x))


def separable(depthwise, norm):
    """Return a network of a depthwise and an ordinary convolution, with a head of 40 classes."""
    parts = [depthwise, norm(), layers.Conv2D(96, 3, name="conv"), layers.GlobalAveragePooling2D()]
    return keras.Sequential([keras.Input((8, 8, 64)), *parts, layers.Dense(40, name="head")])


def convnext():
    depthwise = layers.Conv2D(64, 5, groups=64, name="depthwise")
    return separable(depthwise, layers.LayerNormalization)


def mobilenet():
    return separable(layers.DepthwiseConv2D(5, name="depthwise"), layers.BatchNormalization)


def convolutions(groups=1):
    """Return a residual network of a convolution, with a head of 40 classes."""
    inputs = keras.Input((8, 8, 64))
    x = layers.BatchNormalization()(layers.Conv2D(64, 3, padding="same", groups=groups, name="conv")(inputs))
    x = layers.GlobalAveragePooling2D()(layers.Add()([inputs, x]))
    return keras.Model(inputs, layers.Dense(40, name="head")(x))


def gemma():
    """Return a part of a Gemma whose layers have KerasHub's names, before a layer of another name."""
    block = keras.Sequential([keras.Input((6, WIDTH)), layers.Dense(64, name="ffw_gating")], name="decoder_block_0")
    embedding = layers.Embedding(400, WIDTH, name="token_embedding")
    return keras.Sequential([keras.Input((6,)), embedding, block, layers.Dense(50, name="other")])


class Tokens(layers.Embedding):
    """An embedding with another table for the logits, as in KerasHub."""

    def build(self, shape):
        super().build(shape)
        self.reverse = self.add_weight((self.output_dim, self.input_dim), name="reverse_embeddings")


def t5():
    """Return a part of a T5 with 4 heads of 12 units whose layers have KerasHub's names."""
    ids, places = keras.Input((6,)), keras.Input((6, 6))
    names = {"value_projector": 48, "output_projector": WIDTH, "query_projector": 48}
    x = Tokens(400, WIDTH, name="token_embedding")(ids)
    for name, units in names.items():
        x = layers.Dense(units, name=name, use_bias=False)(x)
    return keras.Model([ids, places], [x, layers.Embedding(32, 4, name="self_attention")(places)])


def recurrent(cell=layers.SimpleRNN):
    return keras.Sequential([keras.Input((5, 4)), cell(8), layers.Dense(2, name="logits")])


def wide(width=64, initializer="glorot_uniform"):
    hidden = [layers.Dense(width, "selu", name=name, kernel_initializer=initializer) for name in ("first", "second")]
    last = layers.Dense(3, name="last", kernel_initializer=initializer)
    return keras.Sequential([keras.Input((8,)), *hidden, last])


def stds(model, recipe):
    """Return the standard deviation of each weight after `initialize`, those of one kind together."""
    initialize(model, recipe, seed=0)
    return {weight.path: float(to_numpy(weight.variable.value).std()) for weight in find_weights(model)}


def mean(found, end):
    values = [value for path, value in found.items() if path.endswith(end)]
    assert values
    return sum(values) / len(values)


def scaled_by_depth(factor):
    """Return the standard deviations of the kernels that T-Fixup and DeepNorm scale, and of those that they do not."""
    square, wide = math.sqrt(1 / WIDTH), math.sqrt(2 / (3 * WIDTH))
    return {
        **dict.fromkeys(("/value/kernel", "/attention_output/kernel"), factor * square),
        **dict.fromkeys(("/feedforward_intermediate_dense/kernel", "/feedforward_output_dense/kernel"), factor * wide),
        "/query/kernel": square,
    }


# A recipe and what is special in its row, a model, the rules for it, the mean standard deviation of the weights with
# each end, and its relative tolerance: 3,000 values and more are off by 4 % once in a thousand draws.
class Mixer(keras.Layer):
    """The weights of Mamba 2 that no layer of Keras has."""

    def build(self, shape):
        self.decay = self.add_weight(shape=(shape[-1],), initializer="zeros", name="A_log")
        self.step = self.add_weight(shape=(shape[-1],), initializer="zeros", name="dt_bias")
        self.skip = self.add_weight(shape=(shape[-1],), initializer="zeros", name="D")

    def call(self, x):
        step = keras.ops.softplus(self.step)
        return x * keras.ops.exp(-keras.ops.exp(self.decay) * step) + self.skip * x


def mixer():
    parts = [layers.Embedding(50, 4000, name="tokens"), Mixer(name="mixer"), layers.Dense(4, name="logits")]
    return keras.Sequential([keras.Input((6,)), *parts])


def adapted():
    parts = [layers.Embedding(400, 50, name="tokens"), layers.Dense(400, name="inner"), layers.Dense(4, name="logits")]
    model = keras.Sequential([keras.Input((6,)), *parts])
    for part in model.layers[:2]:
        part.enable_lora(20)
    return model


class Row(NamedTuple):
    """What a recipe gives a model.

    Attributes:
        model: Function that returns the model.
        recipe: The recipe, with its arguments.
        stddevs: Standard deviations of weights, by the ends of their names.
        tolerance: How far off they may be, as a share.
    """

    model: Callable
    recipe: Callable
    stddevs: dict[str, float]
    tolerance: float


ROWS = {
    # The deviations of log U(1, 16), and of the inverse softplus of exp U(log 0.001, log 0.1).
    "state_space": Row(
        model=mixer, recipe=recipes.state_space, stddevs={"A_log": 0.6735, "dt_bias": 1.342, "D": 0}, tolerance=0.03
    ),
    "lora": Row(
        model=adapted,
        recipe=recipes.lora,
        stddevs={"lora_kernel_a": 1 / (3 * 50) ** 0.5, "lora_embeddings_a": 1 / (3 * 400) ** 0.5, "_b": 0},
        tolerance=0.03,
    ),
    "gpt2": Row(
        model=transformer,
        recipe=recipes.gpt2,
        stddevs={
            **dict.fromkeys(
                ("/attention_output/kernel", "/feedforward_output_dense/kernel"), 0.02 / (2 * BLOCKS) ** 0.5
            ),
            **dict.fromkeys(("/query/kernel", "/value/kernel", "/feedforward_intermediate_dense/kernel"), 0.02),
            "embeddings": 0.02,
            "bias": 0,
        },
        tolerance=0.05,
    ),
    "llama": Row(
        model=llama, recipe=recipes.llama, stddevs={"kernel": 0.02, "embeddings": 0.02, "bias": 0}, tolerance=0.05
    ),
    "llama with experts": Row(
        model=mixture,
        recipe=recipes.llama,
        stddevs={
            **dict.fromkeys(("/query/kernel", "expert_feedforward_output_dense", "feedforward_gate_dense/kernel"), 0.02)
        },
        tolerance=0.05,
    ),
    "bert": Row(
        model=bert,
        recipe=recipes.bert,
        stddevs={"kernel": 0.02 * 0.8796, "embeddings": 0.02 * 0.8796, "bias": 0},
        tolerance=0.05,
    ),
    "bert of transformers": Row(
        model=bert,
        recipe=lambda model: recipes.bert(model, source="transformers"),
        stddevs={"kernel": 0.02, "embeddings": 0.02, "bias": 0},
        tolerance=0.05,
    ),
    "whisper": Row(
        model=whisper,
        recipe=recipes.whisper,
        stddevs={
            "conv_layer_1/kernel": 30**-0.5,
            "/query/kernel": TEXT**-0.5,
            "feedforward_output_dense/kernel": HIDDEN**-0.5,
            "token_embedding/embeddings": 0.02,
            "bias": 0,
        },
        tolerance=0.06,
    ),
    "whisper of transformers": Row(
        model=whisper,
        recipe=lambda model: recipes.whisper(model, source="transformers"),
        stddevs={"kernel": 0.02, "token_embedding/embeddings": 0.02, "bias": 0},
        tolerance=0.06,
    ),
    "gpt2 positions": Row(
        model=with_positions, recipe=recipes.gpt2, stddevs={"position_embedding/embeddings": 0.01}, tolerance=0.05
    ),
    "gpt2 positions of transformers": Row(
        model=with_positions,
        recipe=lambda model: recipes.gpt2(model, source="transformers"),
        stddevs={"position_embedding/embeddings": 0.02},
        tolerance=0.05,
    ),
    "t_fixup": Row(
        model=transformer,
        recipe=recipes.t_fixup,
        stddevs=scaled_by_depth(0.67 * BLOCKS**-0.25),
        tolerance=0.05,
    ),
    "t_fixup embeddings": Row(
        model=transformer,
        recipe=recipes.t_fixup,
        stddevs={"token_embedding/embeddings": (9 * BLOCKS) ** -0.25 / math.sqrt(WIDTH)},
        tolerance=0.05,
    ),
    "deepnorm": Row(
        model=transformer, recipe=recipes.deepnorm, stddevs=scaled_by_depth((8 * BLOCKS) ** -0.25), tolerance=0.05
    ),
    "fixup": Row(
        model=lambda: residual(normalized=False),
        recipe=recipes.fixup,
        stddevs={
            **dict.fromkeys(("_1_conv/kernel", "_2_conv/kernel"), math.sqrt(2 / 72) * 4 ** (-1 / 4)),
            **dict.fromkeys(("_3_conv/kernel", "predictions/kernel"), 0),
        },
        tolerance=0.05,
    ),
    "zero_residual": Row(
        model=lambda: residual(normalized=True), recipe=recipes.zero_residual, stddevs={"_3_bn/gamma": 0}, tolerance=0
    ),
    "vit_timm": Row(
        model=vision,
        recipe=recipes.vit_timm,
        stddevs={
            "mlp/dense/kernel": 0.02,
            **dict.fromkeys(("mlp/dense/bias", "mha/query/bias", "predictions/bias"), 0),
        },
        tolerance=0.06,
    ),
    "vit_timm patches": Row(
        model=vision, recipe=recipes.vit_timm, stddevs={"patch_embedding/kernel": math.sqrt(1 / 3 / 12)}, tolerance=0.1
    ),
    "vit_timm patch biases": Row(
        model=vision, recipe=recipes.vit_timm, stddevs={"patch_embedding/bias": math.sqrt(1 / 3 / 12)}, tolerance=0.25
    ),
    "vit_jax": Row(
        model=vision,
        recipe=recipes.vit_jax,
        stddevs={"mlp/dense/kernel": math.sqrt(2 / 96), "predictions/kernel": 0, "mha/query/bias": 0},
        tolerance=0.06,
    ),
    "vit_jax patches": Row(
        model=vision, recipe=recipes.vit_jax, stddevs={"patch_embedding/kernel": math.sqrt(1 / 12)}, tolerance=0.1
    ),
    "vit_jax biases": Row(model=vision, recipe=recipes.vit_jax, stddevs={"mlp/dense/bias": 1e-6}, tolerance=0.35),
    "gemma": Row(
        model=gemma,
        recipe=recipes.gemma,
        stddevs={**dict.fromkeys(("ffw_gating/kernel", "embeddings"), 0.01), "other/kernel": math.sqrt(2 / 114)},
        tolerance=0.05,
    ),
    "gemma of transformers": Row(
        model=gemma,
        recipe=lambda model: recipes.gemma(model, source="transformers"),
        stddevs=dict.fromkeys(("ffw_gating/kernel", "embeddings"), 0.02),
        tolerance=0.05,
    ),
    "t5": Row(
        model=t5,
        recipe=recipes.t5,
        stddevs={
            "query_projector/kernel": (WIDTH * 12) ** -0.5,
            "value_projector/kernel": WIDTH**-0.5,
            "output_projector/kernel": 48**-0.5,
            "token_embedding/embeddings": 1,
            "token_embedding/reverse_embeddings": WIDTH**-0.5,
        },
        tolerance=0.05,
    ),
    "t5 position biases": Row(
        model=t5, recipe=recipes.t5, stddevs={"self_attention/embeddings": WIDTH**-0.5}, tolerance=0.15
    ),
    "convnext": Row(
        model=convnext,
        recipe=recipes.convnext,
        stddevs={**dict.fromkeys(("depthwise/kernel", "conv/kernel", "head/kernel"), 0.02), "bias": 0},
        tolerance=0.05,
    ),
    "efficientnet": Row(
        model=mobilenet,
        recipe=recipes.efficientnet,
        stddevs={
            "depthwise/kernel": math.sqrt(2 / 25),
            "conv/kernel": math.sqrt(2 / (9 * 96)),
            "head/kernel": math.sqrt(1 / 3 / 40),
            "bias": 0,
        },
        tolerance=0.05,
    ),
    "mobilenet": Row(
        model=mobilenet,
        recipe=recipes.mobilenet,
        stddevs={**dict.fromkeys(("depthwise/kernel", "conv/kernel", "head/kernel"), 0.09 * 0.8796), "bias": 0},
        tolerance=0.05,
    ),
    "resnet": Row(
        model=convolutions,
        recipe=recipes.resnet,
        stddevs={"conv/kernel": math.sqrt(2 / (9 * 64)), "head/kernel": math.sqrt(1 / 3 / 64), "conv/bias": 0},
        tolerance=0.05,
    ),
    "resnet groups": Row(
        model=lambda: convolutions(4),
        recipe=recipes.resnet,
        stddevs={"conv/kernel": math.sqrt(2 / (9 * 64))},
        tolerance=0.05,
    ),
    "resnet biases": Row(
        model=convolutions, recipe=recipes.resnet, stddevs={"head/bias": math.sqrt(1 / 3 / 64)}, tolerance=0.3
    ),
    "selu": Row(model=wide, recipe=recipes.selu, stddevs={"second/kernel": 1 / 8, "bias": 0}, tolerance=0.05),
    "orthogonal_rnn": Row(
        model=lambda: recurrent(layers.LSTM),
        recipe=recipes.orthogonal_rnn,
        stddevs={"recurrent_kernel": 8**-0.5},
        tolerance=0.05,
    ),
    "spectral": Row(model=wide, recipe=recipes.spectral, stddevs={"second/kernel": 1 / 8, "bias": 0}, tolerance=0.05),
}
WITH_AXES = ("t_fixup", "deepnorm")


@pytest.mark.parametrize("row", [pytest.param(row, marks=needs_axes if row in WITH_AXES else ()) for row in ROWS])
def test_weights_have_the_sizes_of_the_source(row):
    model = ROWS[row].model()
    found = stds(model, ROWS[row].recipe(model))
    for end, std in ROWS[row].stddevs.items():
        assert mean(found, end) == pytest.approx(std, rel=ROWS[row].tolerance, abs=0), end


def test_each_recipe_has_a_row_and_its_name():
    assert {row.split()[0] for row in ROWS} == RECIPES.keys()
    assert all(recipes.recipe_of(name) is getattr(recipes, name) for name in RECIPES)


def selu_network():
    hidden = layers.Dense(64, "selu", name="hidden")
    model = keras.Sequential([keras.Input((32,)), hidden, layers.Dense(2, name="out")])
    initialize(model, seed=3)
    return model


# The functions that take rules, each as one of a model and rules.
TAKERS = {
    "initialize": lambda model, rules: initialize(model, rules, seed=0),
    "audit": lambda model, rules: keras_initx.audit(model, rules, seed=0),
}


@pytest.mark.parametrize("take", TAKERS.values(), ids=TAKERS)
def test_a_recipe_is_given_as_its_rules_a_function_or_a_name(take):
    found = []
    for rules in recipes.selu(selu_network()), recipes.selu, "selu", lambda model: recipes.selu(model):
        model = selu_network()
        result = take(model, rules)
        found.append([to_numpy(variable) for variable in model.weights])
        found[-1].append([getattr(row, "verdict", "") for row in getattr(result, "weights", [])])
    for others in found[1:]:
        for one, other in zip(found[0], others, strict=True):
            np.testing.assert_array_equal(one, other)
    is_audit = take is TAKERS["audit"]
    assert np.array_equal(found[0][0], to_numpy(selu_network().weights[0])) == is_audit
    if take is TAKERS["initialize"]:
        assert keras_initx.audit(model, "selu", seed=0).summary == "4 of 4 weights are as selu says."


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("slu", r"must be a dict .*, or a recipe\. Received: \w+='slu'; did you mean 'selu'\?"),
        ("GPT", r"Received: \w+='GPT'; did you mean 'gpt2'\?"),
        ("bart:transformers", r"Received: \w+='bart:transformers'; did you mean 'bert'"),
        ("he_normal", r"must be a dict from conditions to initializers, such as {'\*kernel': 'he_normal'}"),
        ("selu:paper", r"`source` is for recipes with several, and 'selu' has one"),
        ("bert:google", r"`source` must be one of \('bert', 'transformers'\)"),
        ("bert", r"`model` must be an encoder"),
    ],
)
def test_a_name_that_is_no_recipe_for_the_model_is_refused(given, message):
    model = selu_network()
    before = [to_numpy(variable) for variable in model.weights]
    with pytest.raises(ValueError, match=message):
        initialize(model, given)
    for old, new in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(old, to_numpy(new))


@pytest.mark.parametrize(
    "given", [keras.initializers.HeNormal(), keras.initializers.HeNormal, ["selu"], lambda model: 3]
)
def test_what_gives_no_rules_is_refused(given):
    with pytest.raises(TypeError, match="must be a dict from conditions"):
        initialize(selu_network(), given)


def test_a_source_is_named_behind_a_colon():
    plans = []
    for rules in "bert:transformers", recipes.bert(bert(), source="transformers"), "bert":
        plan = initialize(bert(), rules, seed=0, dry_run=True)
        plans.append([weight.initializer for weight in plan.weights])
    assert plans[0] == plans[1] != plans[2]


def test_a_plan_in_a_file_that_is_called_like_a_recipe_has_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    initialize(selu_network(), {"*": "zeros"}, seed=0).save("selu")
    for given, expected in (("selu", "LecunNormal()"), ("./selu", "Zeros()"), (pathlib.Path("selu"), "Zeros()")):
        assert initialize(selu_network(), given, dry_run=True).weights[0].initializer == expected


def test_fixup_scales_by_fan_out_as_the_code_of_its_authors():
    inputs = keras.Input((4, 4, 64))
    branch = layers.Conv2D(16, 1, name="stack_block1_1_conv")(inputs)
    branch = layers.Conv2D(256, 3, padding="same", name="stack_block1_2_conv")(branch)
    x = layers.Add()([layers.Conv2D(256, 1, name="stack_block1_0_conv")(inputs), branch])
    model = keras.Model(inputs, layers.Dense(128, name="logits")(x))
    found = stds(model, recipes.fixup(model))
    assert found["stack_block1_1_conv/kernel"] == pytest.approx(math.sqrt(2 / 16), rel=0.06)
    assert found["stack_block1_0_conv/kernel"] == pytest.approx(math.sqrt(2 / 256), rel=0.03)
    assert found["logits/kernel"] == pytest.approx(math.sqrt(2 / 256), rel=0.03)


@pytest.mark.parametrize("name", ["kernel_net", "net[0]"])
def test_timms_patch_biases_may_be_in_a_layer_of_any_name(name):
    patches = layers.Conv2D(4, 2, 2, name="patch_embedding")
    embedding = keras.Sequential([patches], name=name)
    attention = layers.Dense(4, name="attention")
    model = keras.Sequential([keras.Input((8, 8, 3)), embedding, attention])
    initialize(model, recipes.vit_timm(model), seed=0)
    assert to_numpy(patches.bias).any()


@pytest.mark.parametrize(
    ("recipe", "expected"), [(recipes.spectral, "Orthogonal"), (recipes.efficientnet, "VarianceScaling")]
)
def test_layers_may_have_brackets_in_their_names(recipe, expected):
    parts = [layers.DepthwiseConv2D(3), layers.BatchNormalization(), layers.Dense(2, name="head[0]")]
    model = keras.Sequential([keras.Input((4, 4, 3)), *parts])
    plan = initialize(model, recipe(model), seed=0)
    found = {weight.path: str(weight.initializer) for weight in plan.weights}
    assert found["head[0]/kernel"].startswith(f"{expected}(")
    assert found["head[0]/bias"] == "Zeros()"


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (lambda: residual(normalized=True), {"conv*_block*_3_bn/gamma"}),
        (lambda: residual(normalized=False), {"conv*_block*_3_conv/kernel"}),
        (transformer, {"*/attention_output/kernel", "*/feedforward_output_dense/kernel"}),
    ],
    ids=["normalized", "plain", "transformer"],
)
def test_blocks_start_as_the_identity(build, expected):
    model = build()
    recipe = recipes.zero_residual(model)
    assert recipe.keys() == expected
    initialize(model, recipe, seed=0)
    x = np.random.default_rng(0).integers(1, 9, (2, *model.input_shape[1:])).astype("float32")
    # What the last layer would get if there were no blocks.
    first = model.get_layer("token_embedding")(x) if build is transformer else x.mean(axis=(1, 2))
    np.testing.assert_allclose(to_numpy(model(x)), to_numpy(model.get_layer("predictions")(first)), rtol=1e-4)


@pytest.mark.parametrize(("cell", "gates"), [(layers.LSTM, 4), (layers.GRU, 3), (layers.SimpleRNN, 1)])
def test_recurrent_kernels_are_orthogonal_for_each_gate(cell, gates):
    model = recurrent(cell)
    initialize(model, recipes.orthogonal_rnn(model), seed=0)
    values = {weight.name: to_numpy(weight.variable.value) for weight in find_weights(model)[:3]}
    for gate in np.split(values["recurrent_kernel"], gates, axis=1):
        np.testing.assert_allclose(gate.T @ gate, np.eye(8), atol=1e-5)
    forget = values["bias"][..., 8:16] if cell is layers.LSTM else np.ones(1)
    assert (forget == 1).all()
    assert values["bias"].sum() == (8 if cell is layers.LSTM else 0)


def test_a_recipe_can_be_changed():
    model = transformer()
    rules = recipes.gpt2(model)
    first = {"block_0_*/attention_output/kernel": "zeros", **rules, "*kernel": "initx.he_normal"}
    found = stds(model, first)
    assert found["block_0_attention/attention_output/kernel"] == 0
    assert found["block_1_attention/attention_output/kernel"] > 0
    assert mean(found, "/query/kernel") > 0.1


def test_a_pattern_says_the_whole_name_where_no_other_ends_so():
    model = keras.Sequential([keras.Input((6, 8)), Mixer(name="a"), Mixer(name="b")])
    assert [pattern for pattern in recipes.state_space(model) if pattern.endswith("bias")] == ["*dt_bias"]


PLAIN = keras.Sequential([keras.Input((4,)), layers.Dense(4, name="mine")])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: recipes.gpt2(PLAIN), ValueError, r"`model` must be a GPT-2, .* with no attended"),
        (lambda: recipes.gpt2(transformer(), source="nanogpt"), ValueError, r"`source` must be one of"),
        (lambda: recipes.gpt2(12), TypeError, r"`model` must be a Keras model. Received: model=12"),
        (lambda: recipes.fixup(PLAIN), ValueError, r"`model` must be a residual network .* no residual branch"),
        (lambda: recipes.gemma(PLAIN), ValueError, r"`model` must be a decoder .* as in Gemma; .* no gate; no tokens"),
        (
            lambda: recipes.selu(keras.Sequential([keras.Input((4,)), layers.Dense(2, "relu", name="act")])),
            ValueError,
            r"`model` must be a network with the activation `selu`; .* with ReLU .*'act'",
        ),
        (lambda: recipes.spectral(keras.Sequential()), ValueError, r"`model` must be built"),
    ],
)
def test_what_does_not_fit_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_transformer_with_one_of_the_names_starts_all_its_branches_at_zero():
    tokens = keras.Input((6, WIDTH))
    x = layers.Add()([tokens, layers.MultiHeadAttention(2, 16, name="attention")(tokens, tokens)])
    x = layers.Add()([x, layers.Dense(WIDTH, name="mine")(x)])
    rules = recipes.zero_residual(keras.Model(tokens, x))
    assert rules == {"attention/attention_output/kernel": "zeros", "mine/kernel": "zeros"}


def test_lora_leaves_all_but_the_factors_and_names_two_zeros():
    model = adapted()
    kernel = to_numpy(model.layers[1].weights[0])
    plan = initialize(model, "lora", seed=0)
    assert [row.path for row in plan.weights if row.initializer == "Zeros()"] == [
        "tokens/lora_embeddings_b",
        "inner/lora_kernel_b",
    ]
    np.testing.assert_array_equal(to_numpy(model.layers[1].weights[0]), kernel)
    assert keras_initx.audit(model, "lora").ok
    factor = model.layers[1].lora_kernel_a
    factor.assign(np.zeros(factor.shape))
    assert keras_initx.audit(model, "lora").problems[0].evidence == "all are 0 where they are drawn"


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_state_spaces_are_finite_in_16_bits_also_with_rates_from_0(dtype):
    layer = Mixer(dtype=dtype, name="mixer")
    model = keras.Sequential([keras.Input((60_000,), dtype=dtype), layer])
    initialize(model, "state_space:gated_delta", seed=0)
    assert bool(keras.ops.all(keras.ops.isfinite(layer.decay)))
    assert keras_initx.audit(model, "state_space:gated_delta").ok
