"""Recipes for plain, recurrent and residual networks, beside their rows of the table."""

import math

import keras
import numpy as np
import pytest
from modes import to_numpy
from recipe_rows import WIDTH, recurrent, residual, stds, transformer

from keras_initx import initialize, recipes
from keras_initx.inspection._inventory import Inventory

layers = keras.layers


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


@pytest.mark.rare
@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (lambda: residual(normalized=True), {f"conv2_block{block}_3_bn/gamma" for block in range(4)}),
        (lambda: residual(normalized=False), {f"conv2_block{block}_3_conv/kernel" for block in range(4)}),
        (
            transformer,
            {f"block_{block}_attention/attention_output/kernel" for block in range(3)}
            | {f"block_{block}/feedforward_output_dense/kernel" for block in range(3)},
        ),
    ],
    ids=["normalized", "plain", "transformer"],
)
def test_blocks_start_as_the_identity(build, expected):
    model = build()
    recipe = recipes.zero_residual(model)
    assert recipe.by_path.keys() == expected
    initialize(model, recipe, seed=0)
    x = np.random.default_rng(0).integers(1, 9, (2, *model.input_shape[1:])).astype("float32")
    # What the last layer would get if there were no blocks.
    first = model.get_layer("token_embedding")(x) if build is transformer else x.mean(axis=(1, 2))
    np.testing.assert_allclose(to_numpy(model(x)), to_numpy(model.get_layer("predictions")(first)), rtol=1e-4)


@pytest.mark.parametrize(("cell", "gates"), [(layers.LSTM, 4), (layers.GRU, 3), (layers.SimpleRNN, 1)])
def test_recurrent_kernels_are_orthogonal_for_each_gate(cell, gates):
    model = recurrent(cell)
    initialize(model, recipes.orthogonal_rnn(model), seed=0)
    values = {weight.name: to_numpy(weight.variable.value) for weight in Inventory(model).weights[:3]}
    for gate in np.split(values["recurrent_kernel"], gates, axis=1):
        np.testing.assert_allclose(gate.T @ gate, np.eye(8), atol=1e-5)
    forget = values["bias"][..., 8:16] if cell is layers.LSTM else np.ones(1)
    assert (forget == 1).all()
    assert values["bias"].sum() == (8 if cell is layers.LSTM else 0)


def test_a_transformer_with_one_of_the_names_starts_all_its_branches_at_zero():
    tokens = keras.Input((6, WIDTH))
    x = layers.Add()([tokens, layers.MultiHeadAttention(2, 16, name="attention")(tokens, tokens)])
    x = layers.Add()([x, layers.Dense(WIDTH, name="mine")(x)])
    rules = recipes.zero_residual(keras.Model(tokens, x))
    assert rules.by_path == {"attention/attention_output/kernel": "zeros", "mine/kernel": "zeros"}
