"""The rules that a recipe returns: by path, printed as tables do, and no dict."""

import copy
import pickle

import keras
import pytest
from recipe_rows import ROWS, Mixer, residual

from keras_initx import initialize, recipes

layers = keras.layers


def test_weights_that_get_the_same_and_differ_in_numbers_are_one_line():
    model = residual(normalized=True)
    assert repr(recipes.zero_residual(model)) == "conv*_block*_*_bn/gamma (4): zeros"


def test_what_is_left_is_printed_with_the_reason():
    model = keras.Sequential([keras.Input((6, 8)), Mixer(name="a"), layers.Dense(2, "selu", name="b")])
    rules = recipes.selu(model)
    assert rules.left == ("a/A_log", "a/dt_bias", "a/D")
    assert str(rules).splitlines() == [
        *(f"{path}: left (the recipe does not know its role)" for path in rules.left),
        "b/kernel: initx.lecun_normal",
        "b/bias: zeros",
    ]


@pytest.mark.parametrize(
    "join", [lambda own, rules: {**own, **rules}, lambda own, rules: own | rules, lambda own, rules: rules | own]
)
def test_they_cannot_be_joined_with_a_dict_in_an_order_that_does_not_count(join):
    rules = recipes.selu(ROWS["selu"].model())
    with pytest.raises(TypeError):
        join({"*kernel": "zeros"}, rules)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda rules: pickle.loads(pickle.dumps(rules))])
def test_copies_say_the_same(copied):
    rules = recipes.selu(ROWS["selu"].model())
    assert copied(rules).by_path == rules.by_path


def test_they_are_for_the_model_that_they_were_made_for():
    rules = recipes.selu(ROWS["selu"].model())
    with pytest.raises(ValueError, match=r"`rules` must be rules that a recipe made for `model`.*'first/kernel'"):
        initialize(keras.Sequential([keras.Input((4,)), layers.Dense(2, name="other")]), rules)


@pytest.mark.parametrize(
    ("recipe", "expected"), [(recipes.spectral, "Orthogonal"), (recipes.efficientnet, "VarianceScaling")]
)
def test_layers_may_have_brackets_in_their_names(recipe, expected):
    parts = [layers.DepthwiseConv2D(3), layers.BatchNormalization(), layers.Dense(2, name="head[0]")]
    model = keras.Sequential([keras.Input((4, 4, 3)), *parts])
    plan = initialize(model, recipe(model), seed=0)
    found = {weight.path: str(weight.initializer) for weight in plan.rows}
    assert found["head[0]/kernel"].startswith(f"{expected}(")
    assert found["head[0]/bias"] == "Zeros()"
