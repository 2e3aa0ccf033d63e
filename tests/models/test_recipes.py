"""Recipes give weights the sizes that their papers say, in models that are asked for their depth or told it."""

import json
import math

import keras
import numpy as np
import pytest
from modes import needs_axes, to_numpy

from keras_initx import initialize, recipes
from keras_initx.models._weights import find_weights

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


def recurrent(cell):
    return keras.Sequential([keras.Input((5, 4)), cell(8), layers.Dense(2, name="logits")])


def stds(model, recipe):
    """Return the standard deviation of each weight after `initialize`, those of one kind together."""
    initialize(model, recipe, seed=0)
    return {weight.path: float(to_numpy(weight.variable.value).std()) for weight in find_weights(model)}


def mean(found, end):
    values = [value for path, value in found.items() if path.endswith(end)]
    assert values
    return sum(values) / len(values)


def test_gpt2_divides_by_the_root_of_all_projections():
    found = stds(transformer(), recipes.gpt2(transformer()))
    # Each has 3,000 values and more: a standard deviation is off by 4 % once in a thousand draws.
    for end in ("/attention_output/kernel", "/feedforward_output_dense/kernel"):
        assert mean(found, end) == pytest.approx(0.02 / math.sqrt(2 * BLOCKS), rel=0.05)
    for end in ("/query/kernel", "/value/kernel", "/feedforward_intermediate_dense/kernel", "embeddings"):
        assert mean(found, end) == pytest.approx(0.02, rel=0.05)
    assert mean(found, "bias") == 0


def test_gpt2_gives_position_embeddings_a_deviation_of_their_own():
    tokens = keras.Input((6,))
    positions = layers.Embedding(1000, 4, name="position_embedding")(tokens)
    model = keras.Model(tokens, layers.Add()([transformer()(tokens), positions]))
    assert stds(model, recipes.gpt2(model))["position_embedding/embeddings"] == pytest.approx(0.01, rel=0.05)


@pytest.mark.parametrize("recipe", [recipes.gpt2, recipes.t_fixup, recipes.deepnorm])
def test_a_model_and_its_number_of_blocks_give_the_same(recipe):
    asked, told = recipe(transformer()), recipe(BLOCKS)
    assert asked
    assert {pattern: repr(value) for pattern, value in asked.items()} == {
        pattern: repr(value) for pattern, value in told.items() if pattern in asked
    }
    # Nothing that the model lacks is left in, so nothing is refused.
    initialize(transformer(), asked, seed=0, dry_run=True)


@needs_axes
@pytest.mark.parametrize(
    ("recipe", "factor"),
    [
        (recipes.t_fixup(BLOCKS), 0.67 * BLOCKS**-0.25),
        (recipes.t_fixup(BLOCKS, part="decoder"), (9 * BLOCKS) ** -0.25),
        (recipes.deepnorm(BLOCKS), (8 * BLOCKS) ** -0.25),
    ],
    ids=["encoder", "decoder", "deepnorm"],
)
def test_values_and_what_follows_are_scaled_by_depth(recipe, factor):
    found = stds(transformer(), recipe)
    for end in ("/value/kernel", "/attention_output/kernel"):
        assert mean(found, end) == pytest.approx(factor * math.sqrt(1 / WIDTH), rel=0.05)
    for end in ("/feedforward_intermediate_dense/kernel", "/feedforward_output_dense/kernel"):
        assert mean(found, end) == pytest.approx(factor * math.sqrt(2 / (3 * WIDTH)), rel=0.05)
    assert mean(found, "/query/kernel") == pytest.approx(math.sqrt(1 / WIDTH), rel=0.05)


def test_t_fixup_scales_embeddings():
    found = stds(transformer(), recipes.t_fixup(transformer()))
    assert found["token_embedding/embeddings"] == pytest.approx((9 * BLOCKS) ** -0.25 / math.sqrt(WIDTH), rel=0.05)


def test_fixup_starts_branches_at_zero():
    model = residual(normalized=False)
    found = stds(model, recipes.fixup(model))
    he = math.sqrt(2 / 72)
    assert mean(found, "_3_conv/kernel") == found["predictions/kernel"] == 0
    for end in ("_1_conv/kernel", "_2_conv/kernel"):
        assert mean(found, end) == pytest.approx(he * 4 ** (-1 / 4), rel=0.05)
    assert repr(recipes.fixup(4, depth=3)) == repr(recipes.fixup(model))


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (lambda: residual(normalized=True), {"*_block*_3_bn/gamma"}),
        (lambda: residual(normalized=False), {"*_block*_3_conv/kernel"}),
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


def test_vit_of_timm_and_of_its_authors():
    patches = keras.Input((8, 8, 3))
    x = layers.Conv2D(WIDTH, 2, 2, name="patch_embedding")(patches)
    x = layers.Reshape((16, WIDTH))(x)
    x = layers.MultiHeadAttention(2, 16, name="mha")(x, x)
    mlp = [keras.Input((16, WIDTH)), layers.Dense(64, name="dense"), layers.Dense(WIDTH, name="dense_1")]
    x = keras.Sequential(mlp, name="mlp")(x)
    model = keras.Model(patches, layers.Dense(5, name="predictions")(x))
    timm = stds(model, recipes.vit_timm(model))
    assert mean(timm, "mlp/dense/kernel") == pytest.approx(0.02, rel=0.06)
    assert timm["patch_embedding/kernel"] == pytest.approx(math.sqrt(1 / 3 / 12), rel=0.1)
    assert mean(timm, "bias") == 0
    jax = stds(model, recipes.vit_jax(model))
    assert jax["predictions/kernel"] == jax["mha/query/bias"] == 0
    assert jax["patch_embedding/kernel"] == pytest.approx(math.sqrt(1 / 12), rel=0.1)
    assert jax["mlp/dense/kernel"] == pytest.approx(math.sqrt(2 / 96), rel=0.06)
    assert 0 < jax["mlp/dense/bias"] < 2e-6


def test_selu_keeps_mean_and_variance():
    model = keras.Sequential([keras.Input((64,)), *(layers.Dense(64, "selu") for _ in range(20))])
    initialize(model, recipes.selu(model), seed=0)
    outputs = to_numpy(model(np.random.default_rng(0).normal(size=(200, 64)).astype("float32")))
    assert abs(outputs.mean()) < 0.2
    assert outputs.std() == pytest.approx(1, abs=0.2)


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


PLAIN = keras.Sequential([keras.Input((4,)), layers.Dense(4, name="mine")])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: recipes.gpt2(PLAIN),
            ValueError,
            r"`layers` must be a model with weights that match '.*'mine/b",
        ),
        (lambda: recipes.gpt2(0), ValueError, r"`layers` must be a positive integer"),
        (lambda: recipes.deepnorm("bert"), TypeError, r"`layers` must be a positive integer"),
        (lambda: recipes.t_fixup(2, part="middle"), ValueError, r"`part` must be one of"),
        (lambda: recipes.fixup(8), ValueError, r"`depth` is required if `branches` is a number"),
        (lambda: recipes.fixup(8, depth=1), ValueError, r"`depth` must be at least 2. Received: depth=1"),
        (lambda: recipes.fixup(PLAIN), ValueError, r"`branches` must be a model with weights that match"),
        (lambda: recipes.zero_residual(PLAIN), ValueError, r"`model` must have branches.*'mine/kernel'"),
        (lambda: recipes.orthogonal_rnn(PLAIN), ValueError, r"`model` must have an LSTM, a GRU or"),
        (lambda: recipes.selu(3), TypeError, r"`model` must be a Keras model. Received: model=3"),
        (lambda: recipes.spectral(keras.Sequential()), ValueError, r"`model` must be built"),
        (lambda: recipes.mup(PLAIN, transformer()), ValueError, r"`base` must have the same weight paths as `model`"),
        (lambda: recipes.mup(PLAIN, PLAIN).learning_rates("lion"), ValueError, r"`optimizer` must be one of"),
    ],
)
def test_what_does_not_fit_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def wide(width, initializer="glorot_uniform"):
    hidden = [layers.Dense(width, "relu", name=name, kernel_initializer=initializer) for name in ("first", "second")]
    last = layers.Dense(3, name="last", kernel_initializer=initializer)
    return keras.Sequential([keras.Input((8,)), *hidden, last])


def test_mup_follows_its_table():
    table = recipes.mup(wide(64), wide(16))
    found = {weight.path: (weight.role, weight.std, weight.adam, weight.sgd) for weight in table.weights}
    assert found == {
        "first/kernel": ("input", 1, 1, 4),
        "first/bias": ("vector", 1, 1, 4),
        "second/kernel": ("hidden", 0.5, 0.25, 1),
        "second/bias": ("vector", 1, 1, 4),
        "last/kernel": ("output", 0.25, 0.25, 0.25),
        "last/bias": ("fixed", 1, 1, 1),
    }
    assert table.learning_rates("adam") == [1, 1, 0.25, 1, 0.25, 1]
    assert json.loads(table.to_json())["weights"][2]["role"] == "hidden"
    assert table.to_csv().startswith("path,shape,base_shape,role,std,adam,sgd\n")


def test_spectral_weights_follow_the_table_of_mup():
    plans = [initialize(model := wide(width), recipes.spectral(model), seed=0) for width in (64, 16)]
    expected = [{weight.path: weight.expected_std for weight in plan.weights} for plan in plans]
    for weight in recipes.mup(wide(64), wide(16)).weights:
        if weight.path.endswith("kernel"):
            assert expected[0][weight.path] == pytest.approx(weight.std * expected[1][weight.path])


X = np.random.default_rng(0).normal(1, size=(32, 8))


def check(initializer, *, widths=(16, 64), **options):
    def build(width):
        model = wide(width, initializer)
        model.compile(keras.optimizers.SGD(0.1), "mse")
        return model

    x = X.astype("float32")
    return recipes.coordinate_check(build, widths, x, x[:, :3], **options)


@pytest.fixture(scope="module")
def constant():
    return check(keras.initializers.Constant(0.1), steps=1)


def test_the_coordinate_check_finds_the_power_of_the_width(constant):
    assert constant.layers == ["first", "second", "last"]
    assert constant.sizes.shape == (2, 3, 2)
    np.testing.assert_allclose(constant.sizes[0, 0], np.sqrt(np.mean((0.1 * X.sum(axis=1)) ** 2)), rtol=1e-3)
    np.testing.assert_allclose(constant.exponents[0], [0, 1, 2], atol=0.01)
    assert (np.abs(constant.exponents[1] - constant.exponents[0]) > 0.1).any()
    assert "step 0  step 1" in str(constant)
    assert json.loads(constant.to_json())["widths"] == [16, 64]


def test_widths_may_be_an_array_of_numpy():
    found = check("ones", steps=1, widths=np.array([2, 4]))
    assert found.widths == [2, 4]
    assert json.loads(found.to_json())["widths"] == [2, 4]


@pytest.mark.once
def test_the_coordinate_check_is_drawn(constant, tmp_path):
    pytest.importorskip("matplotlib")
    constant.plot(tmp_path / "check.png")
    assert (tmp_path / "check.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"steps": 0}, ValueError, r"`steps` must be a positive integer"),
        ({"widths": [8, 8]}, ValueError, r"`widths` must have at least two different widths"),
        ({"widths": [8, 1.5]}, TypeError, r"`widths` must be a positive integer"),
        ({"build": lambda width: None}, TypeError, r"`build` must be a Keras model"),
    ],
)
def test_a_coordinate_check_that_cannot_be_made_is_refused(options, error, message):
    x = np.zeros((2, 8), "float32")
    with pytest.raises(error, match=message):
        recipes.coordinate_check(**{"build": wide, "widths": [8, 16], "x": x, "y": x, **options})
