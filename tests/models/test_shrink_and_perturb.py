"""A model that is shrunk, with fresh weights as noise."""

import keras
import numpy as np
import pytest
from modes import to_numpy

from keras_initx import KeepSparse, Sparse, initialize, shrink_and_perturb
from keras_initx.models import Change

layers = keras.layers
X = np.random.default_rng(0).normal(size=(32, 6)).astype("float32")


def network(dtype="float32"):
    sparse = Sparse(2, seed=5)
    return keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(5, "relu", name="hidden", dtype=dtype),
            layers.BatchNormalization(name="norm"),
            layers.Dense(4, kernel_initializer=sparse, kernel_constraint=KeepSparse(sparse), name="sparse"),
            layers.Dense(3, name="logits"),
        ]
    )


def trained(dtype="float32"):
    model = network(dtype)
    initialize(model, seed=9)
    model.compile("adam", "mse")
    model.fit(X, np.ones((32, 3)), epochs=2, verbose=0)
    return model


def weights(model):
    return {weight.path.split("/", 1)[-1]: to_numpy(weight).astype("float32") for weight in model.weights}


@pytest.mark.parametrize("dtype", ["float32", pytest.param("bfloat16", marks=pytest.mark.once)])
def test_each_trainable_weight_is_the_sum_of_two_parts(dtype):
    model, other = trained(dtype), network(dtype)
    before = weights(model)
    shrink_and_perturb(model, shrink=0.5, perturb=0.25, seed=3)
    initialize(other, seed=3)
    fresh = weights(other)
    for name, value in weights(model).items():
        expected = before[name] if "moving" in name else np.float32(0.5) * before[name] + np.float32(0.25) * fresh[name]
        if dtype == "bfloat16" and "hidden" in name:
            expected = expected.astype("bfloat16").astype("float32")
        np.testing.assert_array_equal(value, expected, err_msg=name)


@pytest.mark.parametrize("dtype", ["bfloat16", pytest.param("float16", marks=pytest.mark.once)])
def test_a_weight_of_16_bits_is_rounded_once(dtype):
    model, other = trained(dtype), network(dtype)
    before = weights(model)["hidden/kernel"]
    shrink_and_perturb(model, shrink=0.3, perturb=0.7, seed=3)
    initialize(other, seed=3)
    fresh = weights(other)["hidden/kernel"]
    expected = np.float32(0.3) * before + np.float32(0.7) * fresh
    np.testing.assert_array_equal(weights(model)["hidden/kernel"], expected.astype(dtype).astype("float32"))


@pytest.mark.parametrize(
    ("dtype", "factors"),
    [
        ("float16", {"shrink": 10.0}),
        pytest.param("float16", {"perturb": 1e6}, marks=pytest.mark.once),
        pytest.param("bfloat16", {"shrink": 1e36}, marks=pytest.mark.once),
        pytest.param("float32", {"shrink": 1e36}, marks=pytest.mark.once),
    ],
)
def test_a_weight_that_would_become_infinite_is_refused(dtype, factors):
    model = keras.Sequential([keras.Input((6,)), layers.Dense(5), layers.Dense(4, dtype=dtype, name="last")])
    model.get_layer("last").bias.assign(np.full(4, 5e4))
    before = weights(model)
    message = rf"`shrink` and `perturb` must .* Received: shrink=.* numbers beyond the range of {dtype} for 'last/"
    with pytest.raises(ValueError, match=message):
        shrink_and_perturb(model, seed=3, **factors)
    assert all(np.array_equal(value, before[name]) for name, value in weights(model).items())


def test_the_tensor_that_an_initializer_returns_is_not_changed():
    kept = keras.ops.ones((6, 5))

    class Kept(keras.initializers.Initializer):
        def __call__(self, shape, dtype=None):
            return kept

    shrink_and_perturb(network(), {"hidden/kernel": Kept()}, seed=3)
    np.testing.assert_array_equal(to_numpy(kept), 1)


def test_what_is_infinite_stays_so():
    model = network("float16")
    model.get_layer("hidden").bias.assign([np.inf, -np.inf, np.nan, 1, 2])
    shrink_and_perturb(model, shrink=0.5, seed=3)
    np.testing.assert_array_equal(weights(model)["hidden/bias"], [np.inf, -np.inf, np.nan, 0.5, 1])
    model.get_layer("hidden").bias.assign(np.ones(5))
    shrink_and_perturb(model, {"hidden/bias": keras.initializers.Constant(np.inf)}, seed=3)
    np.testing.assert_array_equal(weights(model)["hidden/bias"], np.full(5, np.inf))


@pytest.mark.once
def test_zeros_that_are_kept_stay():
    model = trained()
    kernel = model.get_layer("sparse").kernel
    zeros = to_numpy(kernel) == 0
    shrink_and_perturb(model, seed=3)
    np.testing.assert_array_equal(to_numpy(kernel) == 0, zeros)


@pytest.mark.once
def test_the_optimizer_starts_anew():
    model = trained()
    shrink_and_perturb(model, seed=3, reset=False)
    assert any(to_numpy(variable).any() for variable in model.optimizer.variables[2:])
    shrink_and_perturb(model, seed=3)
    assert not any(to_numpy(variable).any() for variable in model.optimizer.variables[2:])


@pytest.mark.once
def test_frozen_weights_and_those_of_a_rule_are_left():
    model = trained()
    model.get_layer("hidden").trainable = False
    before = weights(model)
    plan = shrink_and_perturb(model, {"logits/*": None, "hidden/bias": None, "norm/gamma": "ones"}, seed=3)
    left = Change("hidden/kernel", "left", "not trainable", (6, 5), "float32", 30, 0)
    assert (plan.rows[0], plan.seed, plan.dry_run) == (left, 3, False)
    np.testing.assert_array_equal(
        weights(model)["norm/gamma"], np.float32(0.4) * before["norm/gamma"] + np.float32(0.1)
    )
    reasons = {row.path: row.how for row in plan.left}
    assert reasons == {
        "hidden/kernel": "not trainable",
        "hidden/bias": "by rule",
        "norm/moving_mean": "not trainable",
        "norm/moving_variance": "not trainable",
        "logits/kernel": "by rule",
        "logits/bias": "by rule",
    }
    after = weights(model)
    assert {name for name in before if np.array_equal(before[name], after[name])} == set(reasons)


@pytest.mark.once
def test_a_dry_run_changes_nothing():
    model = trained()
    before = weights(model)
    plan = shrink_and_perturb(model, seed=3, dry_run=True)
    assert plan.dry_run
    assert len(plan.rows) - len(plan.left) == 8
    assert all(np.array_equal(value, before[name]) for name, value in weights(model).items())


@pytest.mark.once
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"shrink": -1}, ValueError, "`shrink` must not be negative. Received: shrink=-1"),
        ({"perturb": "a"}, TypeError, "`perturb` must be a finite number. Received: perturb='a'"),
        ({"perturb": -0.1}, ValueError, "`perturb` must not be negative. Received: perturb=-0.1"),
        ({"reset": "no"}, TypeError, "`reset` must be True or False"),
        ({"dry_run": 0}, TypeError, "`dry_run` must be True or False"),
        ({"model": keras.Sequential([layers.Dense(2)])}, ValueError, "`model` must be built"),
        ({"atomic": 1}, TypeError, "`atomic` must be True or False"),
        ({"rules": {"none": None}}, ValueError, "Each of `rules` must match a weight"),
    ],
)
def test_refuses_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        shrink_and_perturb(**{"model": network(), **arguments})
