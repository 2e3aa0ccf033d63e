"""Weights that are not finite are found, unless that can be meant."""

import keras
import numpy as np
import pytest
from audited import Decay, Logs, off
from keras import layers

import keras_initx
from keras_initx.inspection._finite import find_not_finite
from keras_initx.inspection._inventory import Inventory


def decaying(initializer=None, trainable=True):
    decay = Decay(Logs() if initializer is None else initializer, trainable, name="decay")
    return keras.Sequential([keras.Input((16,)), decay, layers.Dense(16, name="last")])


FOUND = {"decay/A_log": "not finite"}


@pytest.mark.release_backends
@pytest.mark.parametrize(
    "initializer", [Logs, pytest.param(lambda: keras.initializers.Constant(-np.inf), marks=pytest.mark.rare)]
)
def test_what_is_trained_must_be_finite_whoever_says_otherwise(initializer, tmp_path):
    model = decaying(initializer())
    assert off(keras_initx.audit(model)) == FOUND
    plan = keras_initx.initialize(model, seed=0)
    assert off(keras_initx.audit(model, plan)) == FOUND
    keras_initx.contract(lambda: decaying(initializer())).save(tmp_path / "contract.json")
    assert off(keras_initx.audit(model, like=tmp_path / "contract.json")) == FOUND


@pytest.mark.rare
def test_a_contract_shows_what_is_not_finite_and_demands_it_of_nobody():
    contract = keras_initx.contract(decaying)
    assert contract.rows[0].text == "(not finite where it must be)"
    (row,) = keras_initx.audit(decaying("ones"), like=contract).not_compared
    assert (row.path, row.detail) == ("decay/A_log", "not finite where it must be")


def test_what_a_user_keeps_beside_the_trained_weights_may_be_infinite():
    constant = keras.initializers.Constant([0.0, -np.inf] * 8)
    for initializer in (Logs(), constant):
        model = decaying(initializer, trainable=False)
        assert keras_initx.audit(model).ok
        assert keras_initx.audit(model, like=keras_initx.contract(model)).ok
    assert off(keras_initx.audit(decaying(keras.initializers.Constant(np.nan), trainable=False))) == FOUND
    model.layers[0].rate.assign(np.full(16, -np.inf))
    assert off(keras_initx.audit(model)) == FOUND


def test_a_weight_of_an_unknown_initializer_must_be_finite_too():
    class Made(layers.Layer):
        def build(self, shape):
            self.factor = keras.Variable(np.full(shape[-1], np.inf), name="factor")

        def call(self, inputs):
            return keras.ops.tanh(inputs * self.factor)

    model = keras.Sequential([keras.Input((4,)), Made(name="made")])
    assert off(keras_initx.audit(model)) == {"made/factor": "not finite"}


def test_the_statistics_of_a_layer_of_keras_must_be_finite():
    model = keras.Sequential([keras.Input((4,)), layers.BatchNormalization(name="norm")])
    model.layers[0].moving_variance.assign([1, 1, np.inf, 1])
    assert off(keras_initx.audit(model)) == {"norm/moving_variance": "not finite"}


def test_the_row_says_how_many_values_are_not_finite():
    (row,) = keras_initx.audit(decaying()).problems
    assert (row.detail, row.initializer) == ("1 of 16 values is -inf", "Logs()")


@pytest.mark.parametrize(
    ("values", "is_mask"),
    [([0.0, -np.inf], True), ([-np.inf, -np.inf], False), ([1.0, -np.inf], False), ([0.0, np.inf], False)],
    ids=str,
)
def test_a_mask_has_zeros_and_minus_infinities_and_nothing_else(values, is_mask):
    model = decaying(keras.initializers.Constant(values * 8), trainable=False)
    (weight,) = (weight for weight in Inventory(model).weights if weight.path == "decay/A_log")
    assert find_not_finite(weight).is_mask == is_mask
