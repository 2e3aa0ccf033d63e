"""A user's initializer that takes an array, or a list of arrays, is compared, saved and described like any other."""

import copy
import json
import pickle

import keras
import numpy as np
import pytest
from cases import for_each
from modes import to_numpy

import keras_initx
from keras_initx.initializers import RandomInitializer
from keras_initx.sampling._stream import Draw

ORIGIN = np.zeros(2)


@keras.saving.register_keras_serializable(package="tests")
class Prototypes(RandomInitializer):
    """Draw each row around one of the prototypes."""

    def __init__(self, prototypes=ORIGIN, *, seed=None):
        super().__init__(seed=seed)
        self.prototypes = prototypes

    def draw(self, stream, shape, dtype):
        first = self.prototypes[0] if isinstance(self.prototypes, list) else self.prototypes
        first = keras.ops.convert_to_numpy(first).astype(dtype)
        return stream.uniform(Draw.VALUES, shape, dtype) + stream.xp.array(first)


def array(dtype="float32"):
    return np.array([[1.5, np.nan, -0.0]], dtype)


FORMS = {
    "array": array,
    "integers": lambda: np.array([3, 4, 5]),
    "16 bits": lambda: array("bfloat16"),
    "large": lambda: np.arange(3000.0),
    "list": lambda: [array(), np.arange(4)],
    "dict": lambda: {"first": array()},
    "scalar": lambda: np.array(2.5),
    "tensor": lambda: keras.ops.convert_to_tensor([1.5, 2.5, 3.5]),
}
OTHERS = {
    "number": np.array([[1.5, 2.0, -0.0]], "float32"),
    "dtype": array("float64"),
    "shape": array()[0],
    "list": [array()],
    "none": None,
}


@for_each(FORMS)
def test_equal_arrays_make_equal_initializers(name):
    first, second = Prototypes(FORMS[name](), seed=1), Prototypes(FORMS[name](), seed=1)
    assert first == second
    assert hash(first) == hash(second)
    assert keras_initx.Scaled(first, 2) == keras_initx.Scaled(second, 2)


@for_each(OTHERS)
def test_other_arrays_make_other_initializers(name):
    assert Prototypes(array(), seed=1) != Prototypes(OTHERS[name], seed=1)


@for_each(FORMS)
def test_the_config_is_json_and_rebuilds_an_equal_initializer(name):
    initializer = Prototypes(FORMS[name](), seed=1)
    assert Prototypes.from_config(json.loads(json.dumps(initializer.get_config()))) == initializer
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(initializer)))
    assert keras.saving.deserialize_keras_object(config) == initializer


@for_each(FORMS)
def test_copies_are_equal(name):
    initializer = Prototypes(FORMS[name](), seed=1)
    for copied in (initializer.clone(), copy.deepcopy(initializer), pickle.loads(pickle.dumps(initializer))):
        assert copied == initializer


def test_the_repr_shows_the_array():
    assert repr(Prototypes(np.array([1.0, 2.0]), seed=1)) == "Prototypes(prototypes=array([1., 2.]), seed=1)"


@pytest.mark.parametrize("name", ["list", pytest.param("tensor", marks=pytest.mark.every_backend)])
def test_a_saved_model_holds_the_array(name, tmp_path):
    initializer = Prototypes(FORMS[name](), seed=1)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, kernel_initializer=initializer)])
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras").layers[0].kernel_initializer
    assert loaded == initializer
    np.testing.assert_array_equal(to_numpy(loaded((2, 3))), to_numpy(initializer((2, 3))))


@for_each(["array", "list", "scalar", "tensor"])
def test_a_plan_describes_it(name):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    plan = keras_initx.initialize(model, {"*kernel": Prototypes(FORMS[name]())}, seed=1)
    shown = plan.rows[0].initializer
    texts = {"array": "<array of shape (1, 3)>", "scalar": "2.5", "tensor": "<array of shape (3,)>"}
    texts["list"] = "[<array of shape (1, 3)>, <array of shape (4,)>]"
    assert shown == f"Prototypes(prototypes={texts[name]})"


def test_a_plan_leaves_out_an_array_that_is_the_default():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    plan = keras_initx.initialize(model, {"*kernel": Prototypes(ORIGIN.copy())}, seed=1)
    assert plan.rows[0].initializer == "Prototypes()"
