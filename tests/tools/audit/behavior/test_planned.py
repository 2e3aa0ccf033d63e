"""With a plan or a seed each value is compared."""

import weakref

import keras
import numpy as np
import pytest
from audited import RULES, network, off, sole
from keras import layers
from modes import to_numpy

import keras_initx
from keras_initx.backends._current import backend
from keras_initx.tools.audit import _rule_expectations
from keras_initx.tools.audit._audit import audit_at


@pytest.mark.release_backends
def test_with_a_seed_each_value_is_compared():
    model = network()
    keras_initx.initialize(model, RULES, seed=3)
    assert keras_initx.audit(model, RULES, seed=3).ok
    kernel = model.layers[0].kernel
    values = to_numpy(kernel)
    values[5, 7] *= 1 + 2.0**-20
    kernel.assign(values)
    report = keras_initx.audit(model, RULES, seed=3)
    assert off(report) == {"hidden/kernel": "bits"}
    assert report.problems[0].detail == "1 of 3072 values differ from the seed"
    assert set(off(keras_initx.audit(model, RULES, seed=4)).values()) == {"bits"}
    assert keras_initx.audit(model, RULES).ok


@pytest.mark.parametrize("of_plan", [False, True])
def test_another_seed_is_found_also_where_weights_are_as_their_layers_say(of_plan):
    model = network()
    keras_initx.initialize(model, seed=3)
    plan = keras_initx.initialize(model, seed=4, dry_run=True)
    report = keras_initx.audit(model, plan) if of_plan else keras_initx.audit(model, seed=4)
    assert off(report) == {"hidden/kernel": "bits", "last/kernel": "bits"}


def test_orthogonal_kernels_are_compared_to_rounding():
    model = network(keras_initx.Orthogonal())
    keras_initx.initialize(model, seed=3)
    kernel = model.layers[0].kernel
    kernel.assign(to_numpy(kernel) + 1e-7)
    assert keras_initx.audit(model, seed=3).ok


def test_a_weight_that_is_verified_raises_no_alarm_by_chance(tmp_path, monkeypatch):
    model = network()
    keras_initx.initialize(model, RULES, seed=10).save(tmp_path / "init.json")
    monkeypatch.setattr(_rule_expectations, "ALPHA", 0.9)
    assert not audit_at(0.9, model, RULES).ok
    assert audit_at(0.9, model, RULES, seed=10).ok
    assert audit_at(0.9, model, tmp_path / "init.json").ok


def test_the_values_of_a_plan_with_an_axis_exchanged():
    model = network()
    plan = keras_initx.initialize(model, seed=0)
    values = {weight.path: plan.draw(weight.path) for weight in plan.rows}
    values["hidden/kernel"] = values["hidden/kernel"].T.reshape(48, 64)
    assert sole(keras_initx.audit(values, plan)) == ("bits", "an axis exchanged")


def test_what_is_drawn_of_a_plan_is_gone_before_the_next_weight_is_drawn(monkeypatch):
    model = network()
    plan = keras_initx.initialize(model, {"*": "initx.he_normal"}, seed=0)
    drawn = []
    counts = []
    to_tensor = backend.to_tensor

    def watch(array):
        counts.append(sum(reference() is not None for reference in drawn))
        drawn.append(weakref.ref(array))
        return to_tensor(array)

    monkeypatch.setattr(backend, "to_tensor", watch)
    assert keras_initx.audit(model, plan).ok
    assert len(counts) == 4
    assert max(counts) <= 1


class Drawn(keras.initializers.Initializer):
    """An initializer of a user that cannot be copied, and draws other values in each call."""

    def __init__(self, draws):
        self.draws = draws

    def __call__(self, shape, dtype=None):
        return self.draws.normal(size=shape).astype("float32")


def test_an_initializer_that_gets_no_seed_is_not_compared_with_the_values_of_one():
    model = keras.Sequential([keras.Input((8,)), layers.Dense(8, name="dense")])
    rules = {"dense/kernel": Drawn(np.random.default_rng(0))}
    keras_initx.initialize(model, rules, seed=0)
    assert keras_initx.audit(model, rules, seed=0).ok
