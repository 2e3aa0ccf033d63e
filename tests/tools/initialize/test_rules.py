"""Rules of users: which weights they match, and which are refused."""

import sys

import keras
import numpy as np
import pytest
import strangers
from drawn import Counting, build, row
from stacks import arrays, assert_equal

import keras_initx
from keras_initx import initialize

layers = keras.layers


def test_a_layer_type_matches_the_layers_inside_it():
    inputs = keras.Input((5, 8))
    x = layers.MultiHeadAttention(2, 4, name="attention")(inputs, inputs)
    model = keras.Model(inputs, layers.Dense(2, name="logits")(x))
    plan = initialize(model, {layers.MultiHeadAttention: "zeros"}, seed=0)
    kernels = {weight.path: weight.initializer for weight in plan.rows if weight.path.endswith("kernel")}
    assert kernels.pop("logits/kernel") == "GlorotUniform()"
    assert len(kernels) == 4
    assert set(kernels.values()) == {"Zeros()"}


def test_the_first_rule_that_matches_decides():
    model = build()
    rules = {
        "conv/*": None,
        layers.Dense: "initx.orthogonal",
        lambda weight: weight.name == "bias": keras.initializers.Constant(0.5),
        "*/gamma": {"class_name": "Constant", "config": {"value": 2.0}},
        "*": "ones",
    }
    before = arrays(model)
    plan = initialize(model, rules, seed=0)
    after = arrays(model)
    assert_equal({"": before["conv/kernel"]}, {"": after["conv/kernel"]})
    assert row(plan, "conv/bias").detail == "by rule"
    assert row(plan, "hidden/kernel").initializer == "Orthogonal()"
    assert (after["hidden/bias"] == 0.5).all()
    assert (after["norm/gamma"] == 2).all()
    assert (after["norm/beta"] == 1).all()


@pytest.mark.parametrize(
    ("rules", "error", "message"),
    [
        ({"hiden/kernel": "zeros"}, ValueError, r"Received: 'hiden/kernel', which matches none.*'hidden/kernel'"),
        ({"xyz": "zeros"}, ValueError, r"which matches none; existing paths are 'conv/kernel', 'conv/bias'"),
        ({"Conv2D": "zeros"}, ValueError, r"Received: 'Conv2D', .*; did you mean the class Conv2D itself\?"),
        ({layers.LSTM: "zeros"}, ValueError, r"Each of `rules` must match a weight"),
        ({"*": keras_initx.HeNormal(seed=1)}, ValueError, r"`rules` must have initializers without seeds"),
        ({"*": "nothing"}, ValueError, r"must be an initializer"),
        ({int: "zeros"}, TypeError, r"`rules` must have patterns, layers, layer types or functions as keys"),
        (["zeros"], ValueError, r"`rules` must be a dict"),
        ({"*/bias": "initx.orthogonal"}, ValueError, r"`rules` must suit the weights.*'conv/bias'.*at least 2 dim"),
        ({"*/bias": lambda shape, dtype: keras.ops.ones((3,))}, TypeError, r"must be an initializer"),
        (
            {"logits/bias": keras_initx.Scaled("identity", 2.0)},
            ValueError,
            r"must suit the weights.*'logits/bias'.*must have 2 dimensions",
        ),
        (
            {"logits/bias": keras.initializers.Constant(np.ones(3))},
            ValueError,
            r"must suit the weights.*'logits/bias'.*of shape \(3,\) can be broadcast. Received: shape=\(2,\)",
        ),
        (
            {"logits/bias": keras.initializers.Constant(np.ones((2, 2)))},
            ValueError,
            r"must suit the weights.*'logits/bias'.*of shape \(2, 2\) can be broadcast. Received: shape=\(2,\)",
        ),
    ],
)
def test_wrong_rules_change_nothing(rules, error, message):
    model = build()
    before = arrays(model)
    with pytest.raises(error, match=message):
        initialize(model, rules, seed=0, atomic=False)  # nothing is undone
    assert_equal(arrays(model), before)


@pytest.mark.parametrize("value", [[0.5, 0.5], np.array([0.5])], ids=["list", "array"])
def test_a_constant_may_be_anything_that_fills_the_weight(value):
    model = build()
    initialize(model, {"logits/bias": keras.initializers.Constant(value)}, seed=0)
    assert arrays(model)["logits/bias"].tolist() == [0.5, 0.5]


def test_random_numbers_for_a_weight_of_integers_change_nothing():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(2, name="first"), Counting(name="counting")])
    before = arrays(model)
    message = r"`rules` must suit the weights. Received: RandomNormal\(.*\) for 'counting/count' of dtype int32"
    with pytest.raises(ValueError, match=message):
        initialize(model, {"*": "random_normal"}, seed=0, atomic=False)
    assert_equal(arrays(model), before)


def test_a_rule_may_set_a_weight_of_integers():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(2), Counting(name="counting")])
    model.layers[-1].count.assign(5)
    initialize(model, {"counting/count": "zeros"}, seed=0)
    assert arrays(model)["counting/count"] == 0


def test_the_plan_says_which_weights_of_other_names_a_pattern_matches():
    model = keras.Sequential([keras.Input((5, 4)), layers.GRU(3), layers.Dense(2)])
    rules = {"dense/*": "zeros", "*kernel": "initx.he_normal", "*bias": "zeros"}
    plan = keras_initx.initialize(model, rules, seed=0)
    assert plan.notes == ("The rule '*kernel' is also for recurrent_kernel (1).",)
    assert str(plan).endswith(plan.notes[0])
    rules = {"*recurrent_kernel": "orthogonal", "*kernel": "initx.he_normal"}
    assert keras_initx.initialize(model, rules, seed=0).notes == ()


def test_a_layer_is_not_rules():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    with pytest.raises(TypeError, match="`rules` must be a dict from conditions to initializers"):
        keras_initx.initialize(model, keras.layers.Dense(3))


@pytest.mark.parametrize(
    ("name", "meant"), [("kaiming", "initx.he_normal"), ("xavier_uniform", "initx.glorot_uniform"), ("ones", "ones")]
)
def test_the_name_of_an_initializer_is_refused_as_one_and_not_as_a_plan(name, meant):
    model = build()
    before = arrays(model)
    with pytest.raises(ValueError, match=rf"`rules` must be a dict.* such as \{{'\*kernel': '{meant}'\}}"):
        initialize(model, name, seed=0)
    assert_equal(before, arrays(model))


def test_a_plan_that_is_not_there_is_told_before_its_seed():
    with pytest.raises(ValueError, match=r"`rules` must be .*existing file.*nowhere\.json"):
        initialize(build(), "nowhere.json", seed=0)


def called(function):
    """Return how often functions of the package that find things are called by a function."""
    counts = dict.fromkeys(("parse_recipe", "checked_inventory", "record_calls"), 0)

    def count(frame, event, argument):
        if event == "call" and frame.f_code.co_name in counts:
            counts[frame.f_code.co_name] += 1

    sys.setprofile(count)
    try:
        function()
    finally:
        sys.setprofile(None)
    return counts


def test_the_name_of_a_recipe_is_looked_up_once_and_weights_are_listed_once():
    model = strangers.gpt()
    once = {"parse_recipe": 1, "checked_inventory": 1, "record_calls": 1}
    assert called(lambda: initialize(model, "gpt2", seed=0)) == once
    assert called(lambda: keras_initx.audit(model, "gpt2")) == once
