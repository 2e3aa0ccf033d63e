"""Code of JAX in a layer: `JaxLayer`, from which `FlaxLayer` derives."""

import keras
import numpy as np
import pytest
from modes import BACKEND, to_numpy

import keras_initx

pytestmark = pytest.mark.skipif(BACKEND != "jax", reason="code of JAX")
layers = keras.layers
X = np.random.default_rng(0).normal(size=(32, 6)).astype("float32")
KERNEL = np.random.default_rng(1).normal(size=(6, 8)).astype("float32")


def network():
    import jax

    def call(params, inputs):
        return jax.nn.relu(inputs @ params["kernel"] + params["bias"])

    params = {"kernel": KERNEL, "bias": np.zeros(8, "float32")}
    hidden = layers.JaxLayer(call, params=params, name="hidden")
    return keras.Sequential([keras.Input((6,)), layers.Dense(6), hidden, layers.Dense(3)])


@pytest.mark.every_backend
def test_what_it_started_with_stays_and_the_plan_says_so():
    model = network()
    plan = keras_initx.initialize(model, seed=0)
    np.testing.assert_array_equal(to_numpy(model.layers[1].params["kernel"].value), KERNEL)
    reasons = {weight.path: weight.detail for weight in plan.rows}
    assert reasons["hidden/variable_1"] == "initializer unknown"


@pytest.mark.every_backend
def test_a_rule_draws_its_weights_and_an_audit_confirms_them():
    model = network()
    plan = keras_initx.initialize(model, {"hidden/*": "initx.small_normal"}, seed=0)
    assert to_numpy(model.layers[1].params["kernel"].value).std() < 0.1
    assert keras_initx.audit(model, plan).summary == "6 of 6 weights are as the plan says."


@pytest.mark.every_backend
def test_diagnose_and_lsuv_measure_it_like_other_layers():
    model = network()
    assert keras_initx.diagnose(model, X).ok
    result = keras_initx.lsuv(model, X, seed=0)
    assert [row.status for row in result.rows] == ["scaled"] * 3
