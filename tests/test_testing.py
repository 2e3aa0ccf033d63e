"""Assertions for the tests of a project."""

import pytest
from audited import RULES, network

import keras_initx
from keras_initx.testing import assert_initialized


def test_an_assertion_shows_the_table():
    model = network()
    keras_initx.initialize(model, RULES, seed=0)
    assert_initialized(model, RULES)
    assert_initialized(model, RULES, seed=0)
    with pytest.raises(AssertionError, match=r"2 of 4 weights are not as their layers say\.\n\nweight .*\n-+\n"):
        assert_initialized(model)
