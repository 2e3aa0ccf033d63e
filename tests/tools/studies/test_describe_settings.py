"""A folder goes on with the same `build` and initializers only: their source text and plain values are compared."""

import functools
import importlib
import linecache
import shutil
import sys

import keras
import numpy as np
import pytest
from networks import build, build_he

from keras_initx.tools.studies._folder import Folder, SettingsError, describe_settings


@pytest.fixture
def differences(tmp_path):
    """Return a function that tells what differs between two values of `build`, and what is not compared."""

    def compare(there, here):
        settings = [{"build": describe_settings("build", value)} for value in (there, here)]
        shutil.rmtree(tmp_path / "study", ignore_errors=True)
        folder = Folder(tmp_path / "study", settings[0])
        changed = None
        try:
            folder = Folder(tmp_path / "study", settings[1])
        except SettingsError as error:
            changed = str(error).partition("Received: ")[2]
        return changed, folder.not_compared

    return compare


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


def typed_in(source):
    """Return the function `build` of a source that no file has."""
    names = {"keras": keras}
    exec(source, names)
    return names["build"]


SOURCE = """
import functools
import keras
import numpy as np

UNITS = {units}
SIZES = {{"units": [1, {units}]}}

def helper():
    return keras.layers.Dense({units})

def decorated(function):
    @functools.wraps(function)
    def wrapper(initializer):
        return function(initializer)
    return wrapper

{decorator}
def build(initializer):
    return {body}
"""
BODIES = {
    "its text": "{units}",
    "a global": "UNITS",
    "a dict of lists": "SIZES",
    "a global in a function within it": "[UNITS for _ in (1, 2)], (lambda: UNITS)()",
}


@pytest.mark.parametrize("name", BODIES)
def test_another_text_or_another_plain_value_is_a_change(name, modules):
    found = []
    for units in (4, 4, 64):
        source = SOURCE.format(units=units, body=BODIES[name].format(units=units), decorator="")
        found.append(describe_settings("build", modules(source).build))
    assert found[0] == found[1]
    assert found[0] != found[2]


def test_the_text_of_a_decorated_function_is_its_own(modules):
    texts = []
    for body in ("UNITS", "SIZES"):
        texts.append(
            describe_settings("build", modules(SOURCE.format(units=4, body=body, decorator="@decorated")).build)
        )
    assert "return UNITS" in texts[0]["build"]
    assert "return SIZES" in texts[1]["build"]


def test_what_else_a_function_reads_is_listed_as_not_compared(modules, differences):
    one, other = (modules(SOURCE.format(units=n, body="helper(), np, keras", decorator="")).build for n in (4, 64))
    assert differences(one, other) == (None, ["build, what it reads (helper, np)"])
    decorated = modules(SOURCE.format(units=4, body="UNITS", decorator="@decorated")).build
    assert differences(decorated, decorated) == (None, ["build, what it reads (function)"])


def by_closure(value):
    def build(initializer):
        return initializer, value

    return build


def with_default(value):
    def build(initializer, own=value):
        return initializer, own

    return build


VALUES = [1, 2, 1.5, True, "one", None, float("nan"), [1, 2], (2, 1), {"a": 1}, {"a": [1, {"b": 2}]}]


@pytest.mark.parametrize("make", [by_closure, with_default])
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
    he = keras.initializers.HeNormal()
    assert differences({"kernel": [he, 1]}, {"kernel": [he, 2]})[0] == "build['kernel'][1]=2, there 1"


@keras.saving.register_keras_serializable("described")
class Mine(keras.initializers.Initializer):
    def __init__(self, gain):
        self.gain = gain

    def get_config(self):
        return {"gain": self.gain}

    def __call__(self, shape, dtype=None):
        return keras.ops.full(shape, self.gain, dtype)


@pytest.mark.parametrize(
    "arm",
    [Mine(2.0), keras.saving.serialize_keras_object(Mine(2.0)), "described>Mine", {"kernel": "described>Mine"}],
    ids=["object", "config", "name", "in a dict"],
)
def test_the_code_of_an_initializer_of_the_user_is_listed_as_not_compared(arm, differences):
    assert differences(arm, arm) == (None, ["build, its class (the code of `Mine`)"])
    assert differences(arm, Mine(3.0))[0]


class Made:
    def __call__(self, initializer):
        return initializer


NOT_COMPARED = {
    "a function without a source": (typed_in("def build(initializer): return 1"), "build (it has no source)"),
    "one of two lambdas in a line": (
        [lambda initializer: 4, lambda initializer: 64][0],
        "build (there are several lambdas in its lines)",
    ),
    "a partial": (functools.partial(build, units=4), "build (an object of `partial`)"),
    "an object": (Made(), "build (an object of `Made`)"),
    "a method of an object": (Made().__call__, "build (an object of `method`)"),
    "an array": (by_closure(np.zeros(2)), "build, what it reads (value)"),
    "a function that it calls": (by_closure(build_he), "build, what it reads (value)"),
}


@pytest.mark.parametrize("name", NOT_COMPARED)
def test_what_cannot_be_compared_is_told_and_never_as_changed(name, differences):
    value, told = NOT_COMPARED[name]
    assert differences(value, value) == (None, [told])


def test_a_file_that_moved_is_no_change(modules, differences):
    source = "import keras\nUNITS = 4\ndef build(initializer):\n    return keras.layers.Dense(UNITS)\n"
    builds = [modules(source).build, modules(f"# Moved.\n\n{source}", "study_that_moved").build]
    assert differences(*builds) == (None, [])
