"""Recipes refuse models that they do not fit, and tell an encoder from its decoder."""

import math

import keras
import pytest
from modes import needs_axes, to_numpy

from keras_initx import initialize, recipes
from keras_initx.structure import find_weights

pytestmark = pytest.mark.once

layers = keras.layers
WIDTH = 32


@pytest.fixture(scope="module")
def densenet():
    return keras.applications.DenseNet121(weights=None, input_shape=(32, 32, 3), include_top=False)


@pytest.fixture(scope="module")
def resnet():
    return keras.applications.ResNet50(weights=None, input_shape=(32, 32, 3), include_top=False)


@pytest.mark.parametrize("recipe", [recipes.zero_residual, lambda model: recipes.fixup(model, strict=False)])
def test_concatenated_branches_are_refused(densenet, recipe):
    message = r"adds its branches.*'densenet121' with 58 concatenated branches, that of 'conv2_block1_2_conv' first"
    with pytest.raises(ValueError, match=message):
        recipe(densenet)


def joined(merge, *, nested=False):
    """Return a network of one block, whose branch is normalized and activated before it is merged."""
    x = inputs = keras.Input((4, 4, 8))
    for place in (1, 2):
        x = layers.Conv2D(8, 1, name=f"stack_block1_{place}_conv")(x)
    x = keras.ops.relu(layers.BatchNormalization()(x))
    backbone = keras.Model(inputs, merge([inputs, x]))
    return keras.Sequential([inputs, backbone]) if nested else backbone


@pytest.mark.parametrize("nested", [False, True])
def test_what_merges_a_branch_is_found_behind_other_layers(nested):
    assert recipes.zero_residual(joined(layers.Add(), nested=nested))
    for merge in (layers.Concatenate(), keras.ops.concatenate):
        with pytest.raises(ValueError, match=r"1 concatenated branches"):
            recipes.zero_residual(joined(merge, nested=nested))


def test_a_branch_may_be_concatenated_after_it_is_added():
    x = inputs = keras.Input((4, 4, 8))
    for place in (1, 2):
        x = layers.Conv2D(8, 1, name=f"stack_block1_{place}_conv")(x)
    x = layers.Add()([inputs, x])
    assert recipes.zero_residual(keras.Model(inputs, layers.Concatenate()([inputs, x])))


def test_fixup_refuses_normalization(resnet):
    message = r"without normalization layers: .*`zero_residual`.*'resnet50' with 53 of them, 'conv1_bn', 'conv2"
    with pytest.raises(ValueError, match=message):
        recipes.fixup(resnet)
    assert recipes.fixup(resnet, strict=False)["*_block*_3_conv/kernel"] == "zeros"


class MyScaleNorm(layers.Layer):
    """A normalization of one's own, as in KerasHub."""

    def call(self, x):
        return x / keras.ops.std(x)


def blocks(prefix, count, tokens, memory=None, *, norm=None):
    """Return tokens after blocks whose layers have KerasHub's names."""
    for block in range(count):
        for kind, other in (("self_attention", tokens), ("cross_attention", memory)):
            if other is not None:
                attention = layers.MultiHeadAttention(2, WIDTH // 2, name=f"{prefix}_{block}_{kind}")
                tokens = layers.Add()([tokens, attention(tokens, tokens if kind == "self_attention" else other)])
        hidden = layers.Dense(2 * WIDTH, name="feedforward_intermediate_dense")
        inner = [keras.Input((6, WIDTH)), hidden, layers.Dense(WIDTH, name="feedforward_output_dense")]
        tokens = layers.Add()([tokens, keras.Sequential(inner, name=f"{prefix}_{block}")(tokens)])
        if norm is not None:
            tokens = norm(name=f"{prefix}_{block}_norm")(tokens)
    return tokens


def encoder(norm=None):
    tokens = keras.Input((6, WIDTH))
    return keras.Model(tokens, blocks("block", 2, tokens, norm=norm))


def encoder_decoder(first="encoder", second="decoder"):
    ids = keras.Input((6,)), keras.Input((6,))
    embedded = [
        keras.Sequential([keras.Input((6,)), layers.Embedding(400, WIDTH, name="token_embedding")], name=name)(one)
        for name, one in zip(("encoder", "decoder"), ids, strict=True)
    ]
    memory = blocks(first, 2, embedded[0])
    return keras.Model(ids, blocks(second, 3, embedded[1], memory))


@pytest.mark.parametrize("norm", [layers.LayerNormalization, layers.RMSNormalization, MyScaleNorm])
def test_t_fixup_refuses_normalization(norm):
    model = encoder(norm)
    with pytest.raises(ValueError, match=r"`deepnorm`.*with 2 of them, 'block_0_norm', 'block_1_norm'"):
        recipes.t_fixup(model)
    assert repr(recipes.t_fixup(model, strict=False)) == repr(recipes.t_fixup(encoder()))
    with pytest.raises(TypeError, match="`strict`"):
        recipes.t_fixup(model, strict=0)


def test_spectral_normalization_is_no_normalization_layer():
    x = inputs = keras.Input((4, 4, 8))
    for place in (1, 2):
        x = layers.Conv2D(8, 1, name=f"stack_block1_{place}_conv")(x)
    x = layers.GlobalAveragePooling2D()(layers.Add()([inputs, x]))
    model = keras.Model(inputs, layers.SpectralNormalization(layers.Dense(3, name="predictions"))(x))
    assert recipes.fixup(model)["*predictions/kernel"] == "zeros"


def test_preprocessing_is_no_normalization_layer():
    inputs = keras.Input((6, WIDTH))
    x = layers.Normalization(mean=0.0, variance=1.0)(inputs)
    assert recipes.t_fixup(keras.Model(inputs, blocks("block", 2, x)))


ENDS = ("/value/kernel", "/attention_output/kernel", "feedforward_intermediate_dense/kernel", "output_dense/kernel")


@needs_axes
@pytest.mark.parametrize(
    ("recipe", "factors"),
    [
        (recipes.t_fixup, (0.67 * 2**-0.25, 27**-0.25)),
        (recipes.deepnorm, (0.87 * (2**4 * 3) ** (-1 / 16), 36**-0.25)),
    ],
)
def test_an_encoder_and_its_decoder_have_the_factors_of_the_paper(recipe, factors):
    model = encoder_decoder()
    initialize(model, recipe(model), seed=0)
    stds = {weight.path: float(to_numpy(weight.variable.value).std()) for weight in find_weights(model)}
    for part, factor in zip(("encoder", "decoder"), factors, strict=True):
        for end in ENDS:
            found = [std for path, std in stds.items() if path.startswith(part) and path.endswith(end)]
            glorot = math.sqrt(2 / (3 * WIDTH) if "dense" in end else 1 / WIDTH)
            assert len(found) == {"encoder": 2, "decoder": 3 if "dense" in end else 6}[part]
            assert sum(found) / len(found) == pytest.approx(factor * glorot, rel=0.05)
        queries = [std for path, std in stds.items() if path.startswith(part) and path.endswith("/query/kernel")]
        assert sum(queries) / len(queries) == pytest.approx(math.sqrt(1 / WIDTH), rel=0.05)
    if recipe is recipes.t_fixup:
        for part, count in (("encoder", 2), ("decoder", 3)):
            expected = (9 * count) ** -0.25 / math.sqrt(WIDTH)
            assert stds[f"{part}/token_embedding/embeddings"] == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("recipe", [recipes.t_fixup, recipes.deepnorm])
def test_a_pair_of_numbers_gives_the_rules_of_the_model(recipe):
    asked, told = recipe(encoder_decoder()), recipe((2, 3))
    assert {pattern: repr(value) for pattern, value in asked.items()} == {
        pattern: repr(value) for pattern, value in told.items() if pattern in asked
    }


def test_an_encoder_stays_one_whatever_part_a_single_stack_would_be():
    assert repr(recipes.t_fixup((2, 3), part="decoder")) == repr(recipes.t_fixup((2, 3)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: recipes.gpt2(encoder_decoder()), r"without cross-attention.*'decoder_0_cross_attention/query/kernel'"),
        (lambda: recipes.t_fixup(encoder_decoder("first", "second")), r"contain 'decoder'.*'second_0_cross_attention"),
        (lambda: recipes.deepnorm(encoder_decoder("a_decoder", "b_decoder")), r"contain 'decoder'"),
        (lambda: recipes.deepnorm((2, 0)), r"`layers` must be a positive integer. Received: layers=0"),
    ],
)
def test_an_encoder_decoder_that_cannot_be_told_apart_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


class Block(layers.Layer):
    """A layer that says where its block normalizes, as those of KerasHub do."""

    def __init__(self, normalize_first):
        super().__init__(name="transformer_layer_0")
        self.normalize_first = normalize_first

    def call(self, x):
        return x


def normalized(is_first, *, crossing=False):
    """Return a transformer that says where it normalizes."""
    tokens = keras.Input((6, WIDTH))
    x = Block(is_first)(tokens)
    return keras.Model(tokens, blocks("decoder", 1, x, x if crossing else None))


def normalized_embeddings():
    """Return a transformer that only shows it by its embeddings, as DeBERTa."""
    tokens = keras.Input((6, WIDTH))
    return keras.Model(tokens, blocks("block", 1, layers.LayerNormalization(name="embeddings_layer_norm")(tokens)))


@pytest.mark.parametrize("recipe", [recipes.gpt2, recipes.zero_residual])
def test_a_transformer_that_normalizes_last_is_refused(recipe):
    assert recipe(normalized(is_first=True))
    message = r"before each branch, .*; for one .* use `bert`.*'transformer_layer_0' \(normalize_first=False\)"
    with pytest.raises(ValueError, match=message):
        recipe(normalized(is_first=False))
    with pytest.raises(ValueError, match=r"use `bert`.* with 'embeddings_layer_norm'"):
        recipe(normalized_embeddings())


def test_another_recipe_is_named_for_a_decoder_that_normalizes_last():
    with pytest.raises(ValueError, match=r"use `deepnorm`\. Received"):
        recipes.zero_residual(normalized(is_first=False, crossing=True))


def test_deepnorm_refuses_a_transformer_that_normalizes_first_and_one_with_gates():
    assert recipes.deepnorm(normalized(is_first=False))
    assert recipes.deepnorm(normalized_embeddings())
    with pytest.raises(ValueError, match=r"after each sum, .*; for one .* use `gpt2`.*\(normalize_first=True\)"):
        recipes.deepnorm(normalized(is_first=True))
    x = tokens = keras.Input((6, WIDTH))
    x = layers.Dense(WIDTH, name="feedforward_gate_dense")(blocks("block", 1, x))
    with pytest.raises(ValueError, match=r"for one with gates use `llama`.*'feedforward_gate_dense/kernel'"):
        recipes.deepnorm(keras.Model(tokens, x))
