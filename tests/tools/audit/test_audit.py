"""What an audit takes, and that it changes nothing."""

import random
from typing import NamedTuple

import keras
import numpy as np
import pytest
from audited import RULES, audit, network, off
from modes import to_numpy

import keras_initx
from keras_initx import recipes


def test_nothing_is_drawn_or_changed():
    model = network()
    before = [to_numpy(weight) for weight in model.weights]
    keras.utils.set_random_seed(5)
    expected = random.random()
    keras.utils.set_random_seed(5)
    keras_initx.audit(model, RULES, seed=0)
    assert random.random() == expected
    for weight, values in zip(model.weights, before, strict=True):
        np.testing.assert_array_equal(to_numpy(weight), values)


@pytest.mark.parametrize("rules", [None, {"*": "zeros"}, "selu", recipes.selu])
def test_rules_and_recipes_are_for_models(rules):
    message = "`rules` must be a plan if `weights` are arrays"
    with pytest.raises(ValueError, match=message):
        keras_initx.audit({"a": np.zeros(3)}, rules)


class Refused(NamedTuple):
    """A call of `audit`, and what is said against it."""

    arguments: tuple
    error: type[Exception]
    message: str
    options: dict = {}


@pytest.mark.parametrize(
    Refused._fields,
    [
        Refused(arguments=(3,), error=TypeError, message="`weights` must be a Keras model, a path, or a dict"),
        Refused(arguments=(network, None), error=TypeError, message="`weights`"),
        Refused(arguments=("missing.npz", {"*": "zeros"}), error=ValueError, message="missing.npz"),
        Refused(arguments=(network(), {"b": "zeros"}), error=ValueError, message="'b', which matches none"),
        Refused(arguments=({}, {"*": "zeros"}), error=ValueError, message="`weights` must have at least one array"),
        Refused(arguments=({0: np.zeros(3)}, {"*": "zeros"}), error=TypeError, message="Received: 0 as a name"),
        Refused(
            arguments=({"a": np.zeros(3)}, {"a": "zeros"}), options={"seed": -1}, error=ValueError, message="`seed`"
        ),
        Refused(
            arguments=({"a": np.zeros(3)}, {"a": "zeros"}), options={"seed": 0.5}, error=TypeError, message="`seed`"
        ),
    ],
)
def test_arguments_are_checked(arguments, options, error, message):
    with pytest.raises(error, match=message):
        keras_initx.audit(*arguments, **options)


def test_a_weight_of_one_element():
    rules = {"a": keras_initx.RandomNormal(stddev=0.02)}
    assert audit({"a": np.float32([0.03])}, rules).ok
    assert off(audit({"a": np.float32([0.3])}, rules)) == {"a": "bounds"}
