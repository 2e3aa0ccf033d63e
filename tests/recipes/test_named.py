"""A recipe is given by its name, or as a function."""

import pathlib

import keras
import numpy as np
import pytest
from modes import to_numpy
from recipe_rows import ROWS
from text_models import bert

import keras_initx
from keras_initx import initialize, recipes
from keras_initx.recipes._named import RECIPES, parse_recipe

layers = keras.layers


def test_each_recipe_has_a_row_and_its_name():
    assert {row.split()[0] for row in ROWS} == RECIPES.keys()
    assert all(parse_recipe(name) is getattr(recipes, name) for name in RECIPES)


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
        found[-1].append([getattr(row, "verdict", "") for row in getattr(result, "rows", [])])
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
        ("selu:paper", r"`source` must be left out: the recipe 'selu' has a single source"),
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


@pytest.mark.parametrize("given", [keras.initializers.HeNormal(), keras.initializers.HeNormal, 3, lambda model: 3])
def test_what_gives_no_rules_is_refused(given):
    with pytest.raises(TypeError, match="must be a dict from conditions"):
        initialize(selu_network(), given)


def test_a_source_is_named_behind_a_colon():
    plans = []
    for rules in "bert:transformers", recipes.bert(bert(), source="transformers"), "bert":
        plan = initialize(bert(), rules, seed=0, dry_run=True)
        plans.append([weight.initializer for weight in plan.rows])
    assert plans[0] == plans[1] != plans[2]


def test_a_plan_in_a_file_that_is_called_like_a_recipe_has_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    initialize(selu_network(), {"*": "zeros"}, seed=0).save("selu")
    for given, expected in (("selu", "LecunNormal()"), ("./selu", "Zeros()"), (pathlib.Path("selu"), "Zeros()")):
        assert initialize(selu_network(), given, dry_run=True).rows[0].initializer == expected
