"""String ids, after `import keras_initx` and nothing else."""

import inspect

import keras
import numpy as np
from cases import FIRST_CASES, for_each

import keras_initx

ENTRIES = [*keras_initx.catalog().values()]
IDS = [(name, entry.cls) for entry in ENTRIES for name in entry.ids]
# What an id alone can stand for.
WITH_DEFAULTS = [
    (name, cls)
    for name, cls in IDS
    if all(argument.default is not argument.empty for argument in inspect.signature(cls).parameters.values())
]


def test_the_catalog_has_all_ids_once():
    registered = [name for name in keras.saving.get_custom_objects() if name.startswith("initx.")]
    classes = [f"initx.{entry.cls.__name__}" for entry in ENTRIES]
    assert sorted(registered) == sorted([*classes, *(name for name, _ in IDS)])


def test_every_class_of_the_catalog_has_a_case():
    assert set(FIRST_CASES) == {entry.cls for entry in ENTRIES}


def test_the_catalog_says_what_a_class_is_in_one_line():
    for entry in ENTRIES:
        assert getattr(keras_initx, entry.cls.__name__) is entry.cls
        for text in entry.formula, entry.use:
            assert text, entry
            assert text == " ".join(text.split())
            assert not text.endswith("."), entry


def test_keras_finds_a_class_by_its_id_and_its_name():
    for name, cls in WITH_DEFAULTS:
        for text in (name, f"initx>{cls.__name__}", f"initx.{cls.__name__}"):
            assert type(keras.initializers.get(text)) is cls, text


# Each takes a text in a way of its own.
TAKEN = {
    "layer": lambda text: keras.layers.Dense(4, kernel_initializer=text),
    "layer with a cell": lambda text: keras.layers.LSTM(4, kernel_initializer=text),
    "attention": lambda text: keras.layers.MultiHeadAttention(2, 4, kernel_initializer=text),
    "config": lambda text: keras.layers.Dense.from_config({"units": 4, "kernel_initializer": text}),
}


@for_each(TAKEN)
def test_layers_take_an_id(name):
    config = TAKEN[name]("initx.orthogonal").get_config()
    assert type(keras.initializers.deserialize(config["kernel_initializer"])) is keras_initx.Orthogonal


def test_weights_take_an_id():
    weight = keras.layers.Layer().add_weight(shape=(4, 4), initializer="initx.orthogonal")
    for variable in (weight, keras.Variable("initx.orthogonal", shape=(4, 4))):
        values = keras.ops.convert_to_numpy(variable)
        np.testing.assert_allclose(values @ values.T, np.eye(4), atol=1e-5)


@for_each(ENTRIES)
def test_keras_finds_a_class_by_its_ids_and_its_name_with_a_config(entry):
    initializer = FIRST_CASES[entry.cls].make()
    for name in (*entry.ids, f"initx>{entry.cls.__name__}", f"initx.{entry.cls.__name__}"):
        found = keras.initializers.get({"class_name": name, "config": initializer.get_config()})
        assert found == initializer, name


def test_keras_takes_the_class_itself():
    assert type(keras.initializers.get(keras_initx.Sparse)) is keras_initx.Sparse


def test_the_catalog_finds_an_entry_by_each_of_its_ids():
    found = keras_initx.catalog()
    assert len(found) == len(ENTRIES)
    assert [*found] == sorted(entry.ids[0] for entry in ENTRIES)
    for entry in ENTRIES:
        assert {found[name] for name in entry.ids} == {entry}
