"""Parameters of torch have their own names in the paths that users read and write."""

import keras
import numpy as np
import pytest
from stacks import with_torch_module

import keras_initx

layers = keras.layers


def test_a_plan_shows_the_names_of_a_torch_module_and_draws_by_them(tmp_path):
    model = with_torch_module()
    plan = keras_initx.initialize(model, {"net/0.weight": "initx.he_normal"}, seed=3)
    assert str(plan).splitlines()[2].startswith("net/0.weight  (3, 4)  HeNormal()")
    assert "Left unchanged: net/0.bias and 2 more (initializer unknown)." in str(plan)
    np.testing.assert_array_equal(plan.draw("net/0.weight"), plan.draw("net/variable"))
    with pytest.raises(ValueError, match=r"close matches are 'net/1\.weight'"):
        plan.draw("net/1.weigh")
    plan.save(tmp_path / "init.json")
    assert str(keras_initx.initialize(model, tmp_path / "init.json")) == str(plan)
    assert keras_initx.audit(model, tmp_path / "init.json").ok


def test_a_rule_may_also_have_the_path_by_which_seeds_know_a_parameter():
    plan = keras_initx.initialize(with_torch_module(), {"net/variable": "initx.he_normal"}, seed=3, dry_run=True)
    assert {weight.path: weight.initializer for weight in plan.rows if weight.initializer} == {
        "net/variable": "HeNormal()"
    }
