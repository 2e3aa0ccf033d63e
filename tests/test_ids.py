"""String ids, after `import keras_initx` and nothing else."""

import pathlib
import re

import keras
import pytest

import keras_initx

ROOT = pathlib.Path(__file__).parents[1]
# The documentation's table says which ids there are: `| `initx.sparse` | `Sparse` | ... |`, aliases in one cell.
ROWS = re.findall(r"^\| (`initx\..*?) \| .*?`(\w+)`.*?\|", (ROOT / "docs/initializers.md").read_text(), re.MULTILINE)
IDS = {name: getattr(keras_initx, cls) for names, cls in ROWS for name in re.findall(r"`(.*?)`", names)}


def test_the_documentation_lists_all_ids():
    registered = {name for name in keras.saving.get_custom_objects() if name.startswith("initx.")}
    assert registered == set(IDS)


def test_the_readme_lists_all_ids():
    assert set(re.findall(r"`(initx\.\w+)`", (ROOT / "README.md").read_text())) == set(IDS)


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
