"""Which names torch and rules give arrays; `test_load_pretrained.py` has most of them."""

import keras
import numpy as np
from modes import to_numpy

from keras_initx import load_pretrained

layers = keras.layers


def test_names_of_torch_may_be_joined_by_slashes():
    model = keras.Sequential([keras.Input((3,)), layers.Dense(2, name="fc")])
    state = {"enc/fc/weight": np.ones((2, 3)), "enc/fc/bias": np.ones(2)}
    load_pretrained(model, state, {"fc": "enc/fc"}, layout="torch")
    assert to_numpy(model.layers[0].kernel).tolist() == np.ones((3, 2)).tolist()
