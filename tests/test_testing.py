"""Assertions for the tests of a project."""

import keras
import numpy as np
import pytest
from audited import RULES, network

import keras_initx
from keras_initx.testing import assert_initialized, assert_same_outputs


def test_an_assertion_shows_the_table():
    model = network()
    keras_initx.initialize(model, RULES, seed=0)
    assert_initialized(model, RULES)
    assert_initialized(model, RULES, seed=0)
    with pytest.raises(AssertionError, match=r"2 of 4 weights are not as their layers say\.\n\nweight .*\n-+\n"):
        assert_initialized(model)


def test_other_outputs_are_an_error_with_the_first_layer():
    model, other = network(), network()
    x = np.random.default_rng(0).normal(size=(8, *model.input_shape[1:]))
    with pytest.raises(AssertionError, match=r"^The outputs of \d calls differ, beginning with .*\.\n\nlayer"):
        assert_same_outputs(model, x, other)
    other.set_weights(model.get_weights())
    assert_same_outputs(model, x, other)
    with pytest.raises(AssertionError, match=r"^The outputs of the model were not compared \(no counterpart\)\.\n"):
        assert_same_outputs(model, x, {model.layers[0].name: keras.ops.convert_to_numpy(model.layers[0](x))})
