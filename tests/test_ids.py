"""String ids, after `import keras_initx` and nothing else."""

import keras
import pytest

import keras_initx

IDS = {
    "initx.lstm_forget_bias": keras_initx.LSTMForgetBias,
    "initx.orthogonal": keras_initx.Orthogonal,
    "initx.orthogonal_qr": keras_initx.Orthogonal,
    "initx.relu_bias": keras_initx.ReLUBias,
    "initx.sparse": keras_initx.Sparse,
}


def test_these_are_all_ids():
    registered = {name for name in keras.saving.get_custom_objects() if name.startswith("initx.")}
    assert registered == set(IDS)


@pytest.mark.parametrize(("name", "cls"), IDS.items())
def test_keras_finds_a_class_by_its_id(name, cls):
    assert type(keras.initializers.get(name)) is cls


@pytest.mark.parametrize("cls", sorted(set(IDS.values()), key=str))
def test_keras_finds_a_class_by_its_registered_name(cls):
    assert type(keras.initializers.get(f"initx>{cls.__name__}")) is cls


def test_keras_takes_an_id_with_a_config():
    initializer = keras.initializers.get({"class_name": "initx.sparse", "config": {"connections": 3, "seed": 1}})
    assert initializer == keras_initx.Sparse(connections=3, seed=1)


def test_keras_takes_the_class_itself():
    assert type(keras.initializers.get(keras_initx.Sparse)) is keras_initx.Sparse


def test_each_use_of_an_id_is_a_new_draw():
    assert keras.initializers.get("initx.sparse") != keras.initializers.get("initx.sparse")
