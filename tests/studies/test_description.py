"""A folder goes on with the same `build` and initializers only: all that decides is compared."""

import functools
import importlib
import json
import random
import sys
import threading

import keras
import numpy as np
import pytest
from networks import build, build_he

from keras_initx.studies._description import Differences, described, described_arm


def differences(there, here):
    """Return what differs between two values, and what is not compared, as after a folder was written."""
    found = Differences()
    there, here = (json.loads(json.dumps(described_arm(value))) for value in (there, here))
    found.compare("build", there, here)
    return found


def typed_in(source, **names):
    """Return the function `build` of a source, as in a notebook."""
    names = {"keras": keras, **names}
    exec(source, names)
    return names["build"]


def by_closure(value):
    return lambda initializer: (initializer, value)


def with_default(value):
    def made(initializer, own=value):
        return initializer, own

    return made


def with_keyword(value):
    def made(initializer, *, own=value):
        return initializer, own

    return made


class Made:
    def __init__(self, value):
        self.value = value

    def __call__(self, initializer):
        return initializer, self.value


@pytest.mark.parametrize(
    "make",
    [
        by_closure,
        with_default,
        with_keyword,
        Made,
        lambda value: functools.partial(build, units=value),
        lambda value: Made(value).__call__,
    ],
    ids=["closure", "default", "keyword", "object", "partial", "method"],
)
def test_functions_are_told_by_their_source_and_what_is_around_them(make):
    values = [
        *(1, 2, "one", [1, 2], {"a": 1}, {1, 2}, np.zeros(2), np.ones(2)),
        *(keras.initializers.HeNormal(), keras.initializers.HeUniform(), keras.initializers.Constant(2.0)),
    ]
    found = [json.dumps(described(make(value))) for value in values]
    assert len(set(found)) == len(values)
    assert found == [json.dumps(described(make(value))) for value in values]


def test_models_and_what_leads_back_to_itself_can_be_around_a_function():
    models = []
    for seed in (0, 0, 1):
        keras.utils.set_random_seed(seed)
        models.append(build_he())
    one, same, other = (json.dumps(described(by_closure(model))) for model in models)
    assert one == same != other
    loop = Made(None)
    loop.value = [loop]
    assert json.dumps(described(by_closure(loop)))


OF_UNITS = """
def build(initializer):
    return keras.layers.Dense({units}, kernel_initializer=initializer)
"""
WITH_HELPER = """
UNITS = {units}

class Network:
    units = {units}
    own = 3

    def layer(self, initializer):
        return keras.layers.Dense(self.units, kernel_initializer=initializer)

def helper():
    return keras.layers.Dense({units})

def decorated(function):
    def wrapper(initializer):
        return function(initializer), {units}
    return wrapper

@decorated
def plain(initializer):
    return initializer

class Mine(keras.initializers.Initializer):
    def __init__(self, gain):
        self.gain = gain

    def __call__(self, shape, dtype=None):
        return keras.ops.full(shape, self.gain, dtype)

    def get_config(self):
        return {{}}

def build(initializer):
    return {body}
"""


def with_helper(units, body):
    return typed_in(WITH_HELPER.format(units=units, body=body))


CHANGES = {
    "a width in code that was typed in": lambda units: typed_in(OF_UNITS.format(units=units)),
    "a global": lambda units: with_helper(units, "UNITS"),
    "a function that it calls": lambda units: with_helper(units, "helper()"),
    "a closure": by_closure,
    "a default": with_default,
    "a class attribute": lambda units: with_helper(units, "Network.units"),
    "a method of a class that it makes": lambda units: with_helper(units, "Network().layer(initializer)"),
    "a lambda": lambda units: eval(f"lambda initializer: {units}"),
    "one of two lambdas in a line": lambda units: [lambda initializer: 4, lambda initializer: 64][units == 64],
    "a partial": lambda units: functools.partial(build, units=units),
    "a decorated function": lambda units: with_helper(units, "plain(initializer)"),
    "a method": lambda units: with_helper(units, "Network").__globals__["Network"]().layer,
    "an object": Made,
    "an attribute of an initializer that its config lacks": lambda units: typed_in(
        WITH_HELPER.format(units=4, body=4)
    ).__globals__["Mine"](units),
    "an initializer in a dict": lambda units: {"kernel": keras.initializers.Constant(float(units))},
    "a constant in a set": lambda units: typed_in(f"def build(initializer): return initializer in {{1, {units}}}"),
    "a name": lambda units: typed_in(f"def build(initializer): return keras.layers.Dense.n{units}"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_of_what_decides_is_seen_and_the_same_again_is_none(name):
    one, same, other = (CHANGES[name](units) for units in (4, 4, 64))
    assert differences(one, same).changed == {}
    assert differences(one, same).not_compared == {}
    assert differences(one, other).changed


def test_a_change_is_told_with_its_place():
    one, other = (with_helper(units, "UNITS") for units in (4, 64))
    assert differences(one, other).changed == {"build.UNITS": "build.UNITS=64, there 4"}
    assert differences(by_closure(1), by_closure(2)).changed == {"build.value": "build.value=2, there 1"}


@pytest.fixture
def modules(tmp_path, monkeypatch):
    """Return a function that writes a module and imports it anew."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(name, source):
        path = tmp_path.joinpath(*name.split(".")).with_suffix(".py")
        path.parent.mkdir(exist_ok=True)
        path.write_text(source)
        sys.modules.pop(name, None)
        importlib.invalidate_caches()
        return importlib.import_module(name)

    yield write
    for name in ("study_of_mine", "study_of_mine_moved", "helpers_of_mine"):
        sys.modules.pop(name, None)


def test_a_file_that_moved_and_new_comments_are_no_change(modules):
    source = "import keras\nUNITS = 4\n" + OF_UNITS.format(units="UNITS")
    one = modules("study_of_mine", source).build
    moved = modules("study_of_mine_moved", "# Moved.\n\n" + source.replace("UNITS)", "UNITS)  # few")).build
    assert differences(one, moved).changed == {}
    other = modules("study_of_mine_moved", source.replace("= 4", "= 5")).build
    assert differences(one, other).changed == {"build.UNITS": "build.UNITS=5, there 4"}


def test_what_a_function_reads_of_a_module_of_the_user_is_compared(modules):
    source = "def network():\n    return {}\n"
    found = []
    for units in (4, 4, 64):
        helpers = modules("helpers_of_mine", source.format(units))
        found.append(typed_in("def build(initializer): return helpers_of_mine.network()", helpers_of_mine=helpers))
    assert differences(*found[:2]).changed == {}
    expected = {"build.helpers_of_mine.network": "another `build.helpers_of_mine.network`"}
    assert differences(found[0], found[2]).changed == expected


def test_a_class_behind_a_registered_name_is_compared():
    found = []
    for factor in (1, 1, 2):

        @keras.saving.register_keras_serializable("described")
        class Named(keras.initializers.Initializer):
            value = factor

            def __call__(self, shape, dtype=None):
                return keras.ops.full(shape, self.value, dtype)

        found.append(json.dumps(described_arm("described>Named")))
    assert found[0] == found[1] != found[2]
    assert described_arm("he_normal") == "he_normal"


def test_what_cannot_be_compared_is_told_with_the_reason_and_never_as_changed():
    lock, generator = threading.Lock(), keras.random.SeedGenerator(1)
    for one in (lock, generator):
        found = differences(by_closure(one), by_closure(type(one)() if one is generator else threading.Lock()))
        assert found.changed == {}
    assert differences(by_closure(lock), by_closure(lock)).not_compared == {"build.value": "its text has an address"}
    told = differences(by_closure(generator), by_closure(generator)).not_compared
    assert told == {"build.value": "a random generator, which advances"}


def test_a_variable_that_the_function_assigns_is_not_compared():
    source = "COUNT = {}\ndef build(initializer):\n    global COUNT\n    COUNT += 1\n    return COUNT"
    found = differences(typed_in(source.format(0)), typed_in(source.format(7)))
    assert (found.changed, found.not_compared) == ({}, {"build.COUNT": "the function assigns it"})

    def counted(start):
        count = start

        def build(initializer):
            nonlocal count
            count += 1

        return build

    assert differences(counted(0), counted(7)).changed == {}


def test_a_module_that_is_imported_when_the_function_runs_is_not_compared(modules):
    modules("helpers_of_mine", "UNITS = 4")
    found = typed_in("def build(initializer):\n    import helpers_of_mine, json\n    return helpers_of_mine")
    told = differences(found, found).not_compared
    assert told == {"build.helpers_of_mine": "it is imported when the function runs"}


def test_a_class_whose_config_raises_is_not_compared_by_it():
    class WithoutConfig(keras.layers.Layer):
        def __init__(self, units):
            super().__init__()
            self.units = units

        def get_config(self):
            raise NotImplementedError("none")

    found = differences(by_closure(WithoutConfig(4)), by_closure(WithoutConfig(4)))
    assert found.changed == {}
    assert found.not_compared == {"build.value": "its config cannot be read: none"}
    assert differences(by_closure(WithoutConfig(4)), by_closure(WithoutConfig(5))).changed


def of_another_python(description):
    """Return a description as another version of Python would have written it."""
    text = json.dumps(description)
    return json.loads(text.replace(json.loads(text)[-1]["more"]["bytecode"], "ffff"), object_hook=_other_code)


def _other_code(part):
    return {**part, "code": "0" * 16} if "code" in part else part


def test_bytecode_is_compared_under_one_version_of_python_only():
    found = Differences()
    found.compare("build", of_another_python(described(build)), described(build))
    assert (found.changed, found.not_compared) == ({}, {})
    found.compare("build", of_another_python(described(build)), described(build_he))
    assert found.changed == {"build": "another `build`"}

    typed = Differences()
    one, other = (typed_in(OF_UNITS.format(units=units)) for units in (4, 64))
    typed.compare("build", of_another_python(described(one)), described(other))
    assert typed.changed == {}
    assert typed.not_compared == {"build": "it has no source, and its code is of another Python"}


def test_what_is_of_a_package_is_told_by_its_name():
    names = {"dense": keras.layers.Dense, "mean": np.mean}
    found = described(
        typed_in("def build(initializer): return dense, mean, np.pi, draw", np=np, draw=random.random, **names)
    )
    read = found[-1]["more"]["globals"]
    assert read["np"] == ["numpy", {"more": {"version": np.__version__}}]
    assert read["dense"][0] == "Dense"
    assert "globals" not in json.dumps(read)
