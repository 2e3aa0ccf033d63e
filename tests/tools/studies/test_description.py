"""A folder goes on with the same `build` and initializers only: all that decides is compared."""

import functools
import importlib
import linecache
import shutil
import sys
import threading

import keras
import numpy as np
import pytest
from networks import build, build_he

from keras_initx.tools.studies._folder import Folder, SettingsError, described


def compared(there, here, tmp_path):
    """Return what differs between two values of `build`, and what is not compared, as a folder says."""
    settings = [{"build": described("build", value)} for value in (there, here)]
    shutil.rmtree(tmp_path / "study", ignore_errors=True)
    folder = Folder(tmp_path / "study", settings[0])
    changed = None
    try:
        folder = Folder(tmp_path / "study", settings[1])
    except SettingsError as error:
        changed = str(error).partition("Received: ")[2]
    return changed, folder.not_compared


@pytest.fixture
def differences(tmp_path):
    return functools.partial(compared, tmp_path=tmp_path)


def typed_in(source, **names):
    """Return the function `build` of a source, as in a notebook."""
    names = {"keras": keras, **names}
    exec(source, names)
    return names["build"]


@pytest.fixture
def modules(tmp_path, monkeypatch):
    """Return a function that writes a module and imports it anew."""
    monkeypatch.syspath_prepend(tmp_path)
    names = set()

    def write(source, name="study_of_mine"):
        tmp_path.joinpath(f"{name}.py").write_text(source)
        linecache.clearcache()
        sys.modules.pop(name, None)
        shutil.rmtree(tmp_path / "__pycache__", ignore_errors=True)
        importlib.invalidate_caches()
        names.add(name)
        return importlib.import_module(name)

    yield write
    for name in names:
        sys.modules.pop(name, None)


SOURCE = """
import abc
import dataclasses
import functools
import keras

UNITS = {units}
SIZES = {{"units": [1, {units}]}}
NAMED = float("nan"), "one"

class Base(abc.ABC):
    def more(self):
        return UNITS

class Network(Base):
    units = UNITS
    __slots__ = ("own",)

    def layer(self, initializer):
        return keras.layers.Dense({units}, kernel_initializer=initializer)

    @property
    def width(self):
        return UNITS

    @staticmethod
    def fixed(units=UNITS):
        return units

@dataclasses.dataclass
class Sizes:
    units: int = UNITS

def helper():
    return keras.layers.Dense({units})

def decorated(function):
    units = {units}

    @functools.wraps(function)
    def wrapper(initializer):
        return function(initializer), units
    return wrapper

@decorated
def plain(initializer):
    return initializer

BLOCKS = [helper, plain]

class Mine(keras.initializers.Initializer):
    def __init__(self, gain={units}):
        self.gain = gain

    def __call__(self, shape, dtype=None):
        return keras.ops.full(shape, self.gain, dtype)

def build(initializer):
    return {body}
"""
BODIES = {
    "a width": "{units}",
    "a global": "UNITS",
    "a dict of lists": "SIZES",
    "NaN and its neighbour": "NAMED, UNITS",
    "a function that it calls": "helper()",
    "a function within a function": "[helper() for _ in (1, 2)], (lambda: UNITS)()",
    "functions in a list": "BLOCKS",
    "a decorated function": "plain(initializer)",
    "a class attribute": "Network.units",
    "a method of a class that it makes": "Network().layer(initializer)",
    "a class below": "Network().more()",
    "a dataclass": "Sizes()",
    "an initializer of its own": "Mine()",
}


@pytest.mark.parametrize("name", BODIES)
def test_a_change_of_what_decides_is_seen_and_the_same_again_is_none(name, modules, differences):
    builds = []
    for units in (4, 4, 64):
        body = BODIES[name].format(units=units)
        builds.append(described("build", modules(SOURCE.format(units=units, body=body)).build))
    one, same, other = builds
    assert one == same or "nan" in str(one)
    assert differs(one, same) == set()
    assert differs(one, other)


def by_closure(value):
    def build(initializer):
        return initializer, value

    return build


def with_default(value):
    def build(initializer, own=value):
        return initializer, own

    return build


def with_keyword(value):
    def build(initializer, *, own=value):
        return initializer, own

    return build


VALUES = [1, 2, 1.5, True, "one", None, [1, 2], (2, 1), {"a": 1}, {"a": [1, {"b": 2}]}, [build, 1], build, build_he]


@pytest.mark.parametrize("make", [by_closure, with_default, with_keyword])
def test_numbers_texts_and_what_has_them_are_compared_in_closures_and_defaults(make, differences):
    for place, value in enumerate(VALUES):
        assert differences(make(value), make(value)) == (None, [])
        assert differences(make(value), make(VALUES[place - 1]))[0]


def test_initializers_are_compared_by_their_configs(differences):
    values = [
        *(keras.initializers.HeNormal(), keras.initializers.HeNormal(1), keras.initializers.HeUniform()),
        *(keras.initializers.Constant(2.0), keras.initializers.Constant(3.0), "he_normal"),
    ]
    for place, value in enumerate(values):
        assert differences(value, value) == (None, [])
        assert differences({"kernel": value}, {"kernel": values[place - 1]})[0]


def test_a_change_is_told_with_its_place(differences):
    assert differences(by_closure(1), by_closure(2))[0] == "build.value=2, there 1"
    assert differences(by_closure(1), with_default(1))[0] == "another `build`"
    assert differences({"kernel": [build, 1]}, {"kernel": [build, 2]})[0] == "build['kernel'][1]=2, there 1"


def test_an_exchange_of_two_functions_is_a_change(differences):
    assert differences([build, build_he, build], [build, build_he, build_he])[0]


def test_a_file_that_moved_and_new_comments_are_no_change(modules, differences):
    source = "import keras\nUNITS = 4\ndef build(initializer):\n    return keras.layers.Dense(UNITS)\n"
    one = described("build", modules(source).build)
    commented = "# Moved.\n\n" + source.replace("UNITS)", "UNITS)  # few")
    assert differs(one, described("build", modules(commented, "study_that_moved").build)) == set()
    other = described("build", modules(source.replace("= 4", "= 5")).build)
    assert differs(one, other) == {"build.UNITS"}


def test_what_a_function_reads_of_a_module_of_the_user_is_compared(modules):
    found = []
    for units in (4, 4, 64):
        modules(f"def network():\n    return {units}\n\ndef other():\n    return {units}\n", "helpers_of_mine")
        study = modules("import helpers_of_mine\ndef build(initializer):\n    return helpers_of_mine.network()\n")
        found.append(described("build", study.build))
    assert differs(*found[:2]) == set()
    assert differs(found[0], found[2]) == {"build.helpers_of_mine.network"}


def differs(one, other):
    """Return the places at which two descriptions differ, where NaN is equal."""
    return {place for place in one | other if repr(one.get(place)) != repr(other.get(place))}


@pytest.mark.parametrize("form", ["name", "config", "object", "in a dict"])
def test_a_class_behind_a_registered_name_is_compared(form, modules):
    source = """
import keras

@keras.saving.register_keras_serializable("described")
class Named(keras.initializers.Initializer):
    def __init__(self, gain):
        self.gain = gain

    def get_config(self):
        return {{"gain": self.gain}}

    def __call__(self, shape, dtype=None):
        return keras.ops.full(shape, self.gain + {more}, dtype)
"""
    found = []
    for more in (1, 1, 2):
        made = modules(source.format(more=more)).Named(2.0)
        forms = {"name": "described>Named", "config": keras.saving.serialize_keras_object(made), "object": made}
        found.append(described("arm", forms.get(form, {"kernel": ["described>Named"]})))
    assert differs(*found[:2]) == set()
    assert differs(found[0], found[2])


class Made:
    def __init__(self, value):
        self.value = value

    def __call__(self, initializer):
        return initializer, self.value


NOT_COMPARED = {
    "a function without a source": (typed_in("def build(initializer): return 1"), "build (it has no source)"),
    "one of two lambdas in a line": (
        [lambda initializer: 4, lambda initializer: 64][0],
        "build (there are several lambdas in its lines)",
    ),
    "a partial": (functools.partial(build, units=4), "build (an object of `partial`)"),
    "an object": (Made(4), "build (an object of `Made`)"),
    "a method of an object": (Made(4).__call__, "build.__self__ (an object of `Made`)"),
    "an array": (by_closure(np.zeros(2)), "build.value (an object of `ndarray`)"),
    "a layer": (by_closure(keras.layers.Dense(2)), "build.value (an object of `Dense`)"),
    "a set": (by_closure({1}), "build.value (an object of `set`)"),
    "a lock": (by_closure(threading.Lock()), "build.value (an object of `lock`)"),
    "a generator": (by_closure(keras.random.SeedGenerator(1)), "build.value (an object of `SeedGenerator`)"),
    "the generator of an initializer": (
        by_closure(keras.initializers.HeNormal(keras.random.SeedGenerator(1))),
        "build.value.seed (a `SeedGenerator`, which advances)",
    ),
    "a module that is passed on": (by_closure(sys.modules[__name__]), "build.value (a module that is passed on)"),
}


@pytest.mark.parametrize("name", NOT_COMPARED)
def test_what_cannot_be_compared_is_told_and_never_as_changed(name, differences):
    value, told = NOT_COMPARED[name]
    changed, not_compared = differences(value, value)
    assert changed is None
    assert [text for text in not_compared if text.startswith(told)]


def test_an_object_is_told_by_its_class(differences):
    changed, not_compared = differences(Made(1), Made(2))
    assert (changed, not_compared) == (None, ["build (an object of `Made`)"])
    assert described("build", Made(1))["build.__class__"].startswith("class Made")


def test_what_leads_back_to_itself_can_be_around_a_function(differences):
    loop = [1]
    loop.append(loop)
    assert differences(by_closure(loop), by_closure(loop)) == (None, [])


def test_an_initializer_whose_config_lacks_an_argument_is_told(modules, differences):
    arm = modules(SOURCE.format(units=1, body=1)).Mine(2)
    assert differences(arm, arm) == (None, ["build.attributes (its config lacks ['gain'])"])


def test_a_variable_that_the_function_assigns_is_not_compared(modules, differences):
    source = "COUNT = {}\ndef build(initializer):\n    global COUNT\n    COUNT += 1\n    return COUNT"
    one, other = (described("build", modules(source.format(count)).build) for count in (0, 7))
    assert one == other
    assert one["build.COUNT"] == {"not compared": "the function assigns it"}

    def counted(start):
        count = start

        def build(initializer):
            nonlocal count
            count += 1

        return build

    assert differences(counted(0), counted(7)) == (None, ["build.count (the function assigns it)"])


def test_a_module_that_is_imported_when_the_function_runs_is_not_compared(modules):
    found = modules("def build(initializer):\n    import helpers_of_mine, json\n    return helpers_of_mine")
    assert described("build", found.build)["build.helpers_of_mine"] == {
        "not compared": "it is imported when the function runs"
    }
    assert "build.json" not in described("build", found.build)


def test_what_is_of_a_package_is_told_by_its_name():
    def build(initializer):
        return keras.layers.Dense, np.mean, shutil.rmtree

    found = described("build", [build, np.mean, keras.layers.Dense])
    assert found["build[0].np"] == "numpy of modules"
    assert found["build[1]"].startswith("mean of numpy")
    assert found["build[2]"].startswith("Dense of keras")
