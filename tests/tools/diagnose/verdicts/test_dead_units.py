"""Units are dead only beyond chance."""

import keras
import pytest
from judged import LABELS, X, found, mlp
from keras import initializers, layers


def test_few_examples_do_not_tell_dead_units():
    model = mlp("relu", depth=1, bias_initializer=initializers.Constant(-10.0))
    assert "dead units" not in found(model, X[:8])


@pytest.mark.parametrize(("units", "problems"), [(4, []), (16, ["dead units"])])
def test_few_dead_units_of_a_gate_that_is_passed_by_are_chance(units, problems):
    inputs = keras.Input((64,))
    hidden = layers.Dense(64, "relu", kernel_initializer="he_normal")(inputs)
    gate = layers.Dense(units, "relu", bias_initializer=initializers.Constant(-10.0))(hidden)
    gate = layers.Dense(64, "sigmoid")(gate)
    model = keras.Model(inputs, layers.Dense(5)(layers.Multiply()([hidden, gate])))
    assert list(found(model, y=LABELS)) == problems
