"""Recipes give weights the sizes that their papers say, in models that are asked for their depth or told it."""

import math
import pathlib

import keras
import numpy as np
import pytest
from modes import needs_axes, to_numpy
from recipe_rows import ROWS, WIDTH, Mixer, adapted, recurrent, residual, transformer
from text_models import bert

import keras_initx
from keras_initx import initialize, recipes
from keras_initx.recipes._named import RECIPES
from keras_initx.structure import find_weights

layers = keras.layers


def stds(model, recipe):
    """Return the standard deviation of each weight after `initialize`, those of one kind together."""
    initialize(model, recipe, seed=0)
    return {weight.path: float(to_numpy(weight.variable.value).std()) for weight in find_weights(model)}


def mean(found, end):
    values = [value for path, value in found.items() if path.endswith(end)]
    assert values
    return sum(values) / len(values)


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
