"""Rules in a list: the first member that says something of a weight counts, and what is left is asked of the next."""

import json

import keras
import pytest
from modes import often, to_numpy
from recipe_rows import ROWS, Mixer, transformer

from keras_initx import audit, initialize, loading, recipes
from keras_initx.cli._main import main
from keras_initx.inspection._inventory import Inventory
from keras_initx.recipes._named import RECIPES

layers = keras.layers
HEAD = {"predictions/kernel": "zeros"}


def drawn(model, rules):
    """Return the values that a model gets by rules, by path."""
    initialize(model, rules, seed=0)
    return {weight.path: to_numpy(weight.variable.value) for weight in Inventory(model).weights}


@pytest.mark.rare
@pytest.mark.parametrize("name", RECIPES)
def test_a_rule_in_front_wins_over_every_recipe(name):
    values = drawn(ROWS[name].model(), [{"*": "ones"}, name])
    assert {path for path in values if (values[path] != 1).any()} == set()


FORMS = {
    "name": lambda model: "gpt2",
    "source": lambda model: "gpt2:openai",
    "recipe": lambda model: recipes.gpt2,
    "rules": recipes.gpt2,
    "function": lambda model: lambda one: recipes.gpt2(one),
    "function of a list": lambda model: lambda one: [HEAD, "gpt2"],
}


@pytest.mark.release_backends
@pytest.mark.parametrize("form", often(FORMS, [*FORMS][::2]))
def test_a_recipe_in_a_list_has_every_form(form):
    model = transformer()
    expected = drawn(model, "gpt2")
    values = drawn(model, [HEAD, FORMS[form](model)])
    assert expected["predictions/kernel"].any()
    assert not values.pop("predictions/kernel").any()
    assert all((values[path] == expected[path]).all() for path in values)
    assert audit(model, [HEAD, FORMS[form](model)], seed=0).ok


def test_of_two_recipes_the_first_wins_and_the_second_has_the_rest():
    values = drawn(transformer(), ["zero_residual", "gpt2"])
    assert not values["block_0_attention/attention_output/kernel"].any()
    assert values["block_0_attention/query/kernel"].std() == pytest.approx(0.02, rel=0.1)


def mixed():
    return keras.Sequential([keras.Input((6, 8)), Mixer(name="mixer"), layers.Dense(4, "selu", name="out")])


def test_what_a_recipe_leaves_is_asked_of_the_next_and_left_by_the_last():
    plan = initialize(mixed(), ["selu", {"*/A_log": "ones"}, "spectral"], seed=0, dry_run=True)
    found = {weight.path: weight.initializer for weight in plan.rows}
    assert found["mixer/A_log"] == "Ones()"
    assert found["out/kernel"] == "LecunNormal()"
    assert [weight.path for weight in plan.left] == ["mixer/dt_bias", "mixer/D"]
    assert {weight.detail for weight in plan.left} == {"the recipe does not know its role"}


def test_none_in_a_dict_ends_the_search():
    plan = initialize(mixed(), [{"mixer/*": None}, "state_space", {"*": "ones"}], seed=0, dry_run=True)
    assert {weight.path: weight.detail for weight in plan.left} == dict.fromkeys(
        ("mixer/A_log", "mixer/dt_bias", "mixer/D"), "by rule"
    )


def test_a_rule_that_an_earlier_member_covers_is_no_error_and_one_that_matches_nothing_is():
    model = mixed()
    initialize(model, [{"*": "ones"}, {"out/kernel": "zeros"}, "selu"], seed=0)
    with pytest.raises(ValueError, match="'head/kernel', which matches none"):
        initialize(model, ["selu", {"head/kernel": "zeros"}])


def plan_in_a_list():
    return [initialize(mixed(), seed=0, dry_run=True)]


@pytest.mark.parametrize(
    ("rules", "error", "message"),
    [
        ([], ValueError, "must have a dict or a recipe in its list"),
        ([None], TypeError, "Pass a plan or a report without a list. Received: None"),
        (["./selu"], ValueError, r"or a recipe. Received: rules='./selu'"),
        (["slu"], ValueError, "did you mean 'selu'"),
        (["initx.scaled"], ValueError, "must be a dict from conditions"),  # which needs arguments
        ([3], TypeError, "must be a dict from conditions"),
    ],
)
def test_what_is_no_member_is_refused_and_nothing_is_changed(rules, error, message):
    model = mixed()
    before = [to_numpy(weight) for weight in model.weights]
    with pytest.raises(error, match=message):
        initialize(model, rules)
    assert all((to_numpy(weight) == old).all() for weight, old in zip(model.weights, before, strict=True))


def test_a_plan_is_no_member():
    with pytest.raises(TypeError, match="Pass a plan or a report without a list"):
        initialize(mixed(), plan_in_a_list())


def test_loading_takes_a_list():
    model = mixed()
    with loading(model, [{"out/bias": "ones"}, "selu"], seed=0):
        pass
    assert (to_numpy(model.get_layer("out").bias) == 1).all()
    assert to_numpy(model.get_layer("out").kernel).std() > 0


def test_the_command_line_takes_a_json_array(tmp_path, capsys):
    path = tmp_path / "model.keras"
    inputs = keras.Input((8,))
    keras.Model(inputs, layers.Dense(4, "selu", name="out")(inputs)).save(path)
    rules = json.dumps([{"out/bias": "ones"}, "selu"])
    assert main(["initialize", str(path), "--rules", rules, "--dry-run"]) == 0
    assert {"LecunNormal()", "Ones()"} < set(capsys.readouterr().out.split())
    (tmp_path / "rules.json").write_text(rules)
    assert main(["audit", str(path), "--rules", str(tmp_path / "rules.json")]) == 1
    with pytest.raises(SystemExit):
        main(["initialize", str(path), "--rules", '[{"out/bias": "initx.zeroes"}]', "--dry-run"])


def test_a_list_is_no_weights_that_an_audit_compares_with():
    with pytest.raises(ValueError, match="`like` must be a file that ends in one of"):
        audit(mixed(), like=["selu"])
