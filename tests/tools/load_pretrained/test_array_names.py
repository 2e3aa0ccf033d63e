"""Which names torch and rules give arrays; `test_load_pretrained.py` has most of them."""

import keras
import numpy as np
import pytest
from modes import to_numpy
from stacks import with_torch_module

from keras_initx import load_pretrained

layers = keras.layers


def test_names_of_torch_may_be_joined_by_slashes():
    model = keras.Sequential([keras.Input((3,)), layers.Dense(2, name="fc")])
    state = {"enc/fc/weight": np.ones((2, 3)), "enc/fc/bias": np.ones(2)}
    load_pretrained(model, state, {"fc": "enc/fc"}, layout="torch")
    assert to_numpy(model.layers[0].kernel).tolist() == np.ones((3, 2)).tolist()


@pytest.mark.parametrize("path", ["net/0.weight", "net/variable"])
def test_a_parameter_of_a_torch_module_may_have_a_rule_by_its_name_or_by_the_path_that_seeds_know(path):
    model = with_torch_module()
    load_pretrained(model, {"first": np.ones((3, 4), "float32")}, {path: "first"}, layout="torch")
    assert to_numpy(model.weights[0]).tolist() == np.ones((3, 4)).tolist()
