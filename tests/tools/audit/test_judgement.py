"""Weights are judged together, and alarms are as rare as `alpha` says."""

import keras
import numpy as np
import pytest
from audited import audit, off_with_causes, today
from keras import layers
from modes import to_numpy

import keras_initx

RNG = np.random.default_rng(0)


def test_equal_weights_are_reported_with_the_first():
    model = keras.Sequential([keras.Input((40,)), *[layers.Dense(40, name=name) for name in "abc"]])
    keras_initx.initialize(model, seed=0)
    model.get_layer("c").kernel.assign(model.get_layer("a").kernel)
    (row,) = keras_initx.audit(model).problems
    assert (row.path, row.status, row.detail) == ("c/kernel", "equal weights", "equal to 'a/kernel'")


def test_the_values_of_another_weight_in_another_shape_are_reported():
    values = RNG.normal(0, 0.02, (20, 30))
    arrays = {"a": values, "b": values.reshape(30, 20)}
    (row,) = audit(arrays, {"*": keras_initx.RandomNormal(stddev=0.02)}).problems
    assert (row.path, row.detail) == ("b", "the values of 'a' in another shape")


def test_a_small_alpha_needs_more_evidence():
    values = {"a": RNG.normal(0, 0.0225, 1000)}
    rules = {"a": keras_initx.RandomNormal(stddev=0.02)}
    assert not audit(values, rules).ok
    assert audit(values, rules, alpha=1e-12).ok


@pytest.mark.rare
def test_alarms_are_as_rare_as_alpha_says():
    # 300 audits of two weights: with an alpha of 1 %, more than 12 alarms have a chance of 1 in 20,000.
    rules = {"*": keras_initx.TruncatedNormal(stddev=0.02)}
    alarms = 0
    for seed in range(300):
        arrays = {}
        for number in (0, 4):
            initializer = keras_initx.TruncatedNormal(stddev=0.02, seed=1000 * seed + number)
            arrays[str(number)] = to_numpy(initializer((8, 5 + 12 * number)))
        alarms += not audit(arrays, rules).ok
    assert alarms <= 12


def test_equal_weights_that_were_independent(yesterday):
    model = today(1)
    model.layers[1].kernel.assign(model.layers[0].kernel)
    assert off_with_causes(keras_initx.audit(model, like=yesterday)) == {"hidden_1/kernel": ("equal weights", "")}


def test_weights_that_are_equal_in_both_models_are_no_fault_whatever_their_names():
    """Two of nine kernels are equal in both models, whose layers were made in opposite orders."""

    def build(made, seed):
        kernels = np.random.default_rng(seed).normal(size=(9, 64, 64))
        kernels[1] = kernels[0]
        dense = {place: layers.Dense(64, use_bias=False) for place in made}
        model = keras.Sequential([keras.Input((64,)), *(dense[place] for place in range(9))])
        model.set_weights(list(kernels))
        return model

    report = keras_initx.audit(build(range(9), seed=1), like=build(reversed(range(9)), seed=0))
    assert report.ok, report.problems
