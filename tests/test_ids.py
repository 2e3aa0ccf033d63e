"""String ids, after `import keras_initx` and nothing else."""

import inspect

import keras
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


def test_keras_finds_a_class_by_its_id():
    assert {name: type(keras.initializers.get(name)) for name, _ in WITH_DEFAULTS} == dict(WITH_DEFAULTS)


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
