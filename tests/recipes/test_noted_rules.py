"""The rules that a recipe returns: its patterns, and one dict of them with those of a user, which win in front."""

import copy
import json
import pickle

import keras
import pytest
from modes import to_numpy
from recipe_rows import ROWS, Mixer, mean, stds, transformer

from keras_initx import initialize, recipes
from keras_initx.recipes._named import RECIPES
from keras_initx.structure._patterns import matches_path
from keras_initx.structure._weights import find_weights

layers = keras.layers
MERGED = {"{**}": lambda own, rules: {**own, **rules}, "|": lambda own, rules: own | rules}


def drawn(model, rules):
    """Return the values that a model gets by rules, by path."""
    initialize(model, rules, seed=0)
    return {weight.path: to_numpy(weight.variable.value) for weight in find_weights(model)}


@pytest.mark.parametrize("form", MERGED)
@pytest.mark.parametrize("name", RECIPES)
def test_a_rule_in_front_wins_over_the_same_of_every_recipe(name, form):
    model = ROWS[name].model()
    rules = getattr(recipes, name)(model)
    own = dict.fromkeys(map(str, rules), "ones")
    values = drawn(model, MERGED[form](own, rules))
    matched = {path for path in values if any(matches_path(rule, path) for rule in own)}
    assert matched
    assert {path for path in matched if (values[path] != 1).any()} == set()


@pytest.mark.every_backend
@pytest.mark.parametrize("form", MERGED)
def test_the_rule_of_the_page_wins_and_the_others_stay(form):
    model = ROWS["resnet"].model()
    expected = drawn(model, "resnet")
    values = drawn(model, MERGED[form]({"head/kernel": "zeros"}, recipes.resnet(model)))
    assert expected["head/kernel"].any()
    assert not values.pop("head/kernel").any()
    assert all((values[path] == expected[path]).all() for path in values)


@pytest.mark.parametrize("form", MERGED)
def test_of_two_recipes_the_one_in_front_wins(form):
    model = transformer()
    rules = MERGED[form](recipes.zero_residual(model), recipes.gpt2(model))
    values = drawn(model, rules)
    assert not values["block_0_attention/attention_output/kernel"].any()
    assert values["block_0_attention/query/kernel"].std() == pytest.approx(0.02, rel=0.1)


@pytest.mark.parametrize("form", MERGED)
def test_a_rule_behind_replaces_the_same_of_the_recipe_and_no_other(form):
    model = transformer()
    values = drawn(model, MERGED[form](recipes.gpt2(model), {"*kernel": "ones", "*embeddings": "ones", "*": "zeros"}))
    assert (values["block_0_attention/query/kernel"] == 1).all()
    assert (values["token_embedding/embeddings"] == 1).all()
    assert values["block_0_attention/attention_output/kernel"].std() == pytest.approx(0.02 / 6**0.5, rel=0.1)


CHANGES = {
    "assigned": lambda rules: rules.__setitem__("*kernel", "ones"),
    "updated": lambda rules: rules.update({"*kernel": "ones"}),
    "joined": lambda rules: rules.__ior__({"*kernel": "ones"}),
    "removed": lambda rules: (rules.pop("*kernel"), rules.__delitem__("*bias"), rules.update({"*": "ones"})),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_rules_of_a_recipe_are_changed_by_their_texts(change):
    model = ROWS["selu"].model()
    rules = recipes.selu(model)
    CHANGES[change](rules)
    assert (drawn(model, rules)["first/kernel"] == 1).all()


def test_the_rules_of_a_recipe_are_read_as_a_dict_of_texts():
    rules = recipes.selu(ROWS["selu"].model())
    assert isinstance(rules, dict)
    assert repr(rules) == "{'*kernel': 'initx.lecun_normal', '*bias': 'zeros'}" == repr(rules.copy())
    assert rules == rules.copy() == {"*bias": "zeros", "*kernel": "initx.lecun_normal"} == rules
    assert rules != {"*bias": "zeros"}
    assert rules.keys() == {"*kernel", "*bias"}
    assert list(rules) == ["*kernel", "*bias"]
    assert ("*bias" in rules, rules["*bias"], rules.get("*bias"), rules.setdefault("*bias")) == (True, *["zeros"] * 3)
    assert ("*" in rules, rules.get("*", 1), rules.pop("*", 2)) == (False, 1, 2)
    with pytest.raises(KeyError, match=r"\*"):
        rules["*"]
    assert json.loads(json.dumps(rules)) == rules == (rules | {"*bias": "zeros"})


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda rules: pickle.loads(pickle.dumps(rules))])
def test_copies_have_the_same_rules_behind_those_of_a_user(copied):
    model = ROWS["selu"].model()
    rules = copied(recipes.selu(model))
    assert rules == recipes.selu(model)
    assert (drawn(model, {"*kernel": "ones", **rules})["first/kernel"] == 1).all()


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
