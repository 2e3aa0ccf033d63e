"""A module of torch is compared with as it is, on every backend."""

import keras
import numpy as np
import pytest

from keras_initx import compare_outputs, load_pretrained, record_outputs

torch = pytest.importorskip("torch")

NAMES = {"hidden": "0", "out": "2"}
X = np.random.default_rng(0).normal(size=(8, 4))


def pair():
    module = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
    hidden = keras.layers.Dense(3, "relu", name="hidden")
    model = keras.Sequential([keras.Input((4,)), hidden, keras.layers.Dense(2, name="out")])
    load_pretrained(model, module, NAMES)
    return model, module


def test_a_module_is_taken_for_its_outputs():
    model, module = pair()
    report = compare_outputs(model, X, module, names=NAMES)
    assert report.ok
    assert report == compare_outputs(model, X, record_outputs(module, X), names=NAMES)
    with torch.no_grad():
        module[2].bias += 1
    assert compare_outputs(model, X, module, names=NAMES).first.path == "out"


def test_a_module_of_other_inputs_is_recorded_with_its_own():
    model, _ = pair()
    with pytest.raises(RuntimeError) as caught:
        compare_outputs(model, X, torch.nn.Linear(7, 3), names=NAMES)
    assert "pass `like=record_outputs(module, inputs)`" in "".join(caught.value.__notes__)
