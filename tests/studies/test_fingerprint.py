"""A study is told from another by the contents of what it compares, and what cannot be told is not taken up."""

import collections
import copy
import fractions
import functools
import threading
import types

import keras
import numpy as np
import pandas
import pytest
from modes import to_numpy
from networks import build, data

import keras_initx
from keras_initx.studies import SettingsError, compare_initializers
from keras_initx.studies._fingerprint import fingerprint

pytestmark = pytest.mark.once


def array(middle=0.0):
    """Return more numbers than `repr` shows."""
    values = np.arange(3000.0)
    values[1500] = middle
    return values


class Own:
    def __init__(self, value):
        self.value = value

    def method(self):
        return self.value


class WithSlots:
    __slots__ = ("value",)

    def __init__(self, value):
        self.value = value


class Filling(keras.initializers.Initializer):
    """Has no config, and takes no seed."""

    def __init__(self, value=0.0):
        self.value = value

    def __call__(self, shape, dtype=None):
        return keras.ops.full(shape, self.value, dtype)


def closure(value):
    def function():
        return value

    return function


def with_default(value):
    return lambda default=value: default


def layer_with_bias(value):
    layer = keras.layers.Dense(2, kernel_initializer="zeros")
    layer.build((None, 1))
    layer.bias.assign([0.0, value])
    return layer


# Functions that make something of a number.
KINDS = {
    "number": lambda value: value,
    "number of numpy": np.float32,
    "complex": lambda value: complex(0, value),
    "fraction": fractions.Fraction,
    "bytes": lambda value: bytes([int(value)]),
    "array": array,
    "array of objects": lambda value: np.array([Own(value)], object),
    "masked array": lambda value: np.ma.masked_less(array(), value),
    "tensor": lambda value: keras.ops.convert_to_tensor(array(value)),
    "bfloat16": lambda value: keras.ops.cast(array(value), "bfloat16"),
    "variable": lambda value: keras.Variable(array(value)),
    "list": lambda value: [array(value)],
    "dict": lambda value: {"a": {"b": array(value)}},
    "dict with other keys": lambda value: {value: "a", str(value): "b"},
    "ordered dict": lambda value: collections.OrderedDict(a=value),
    "set": lambda value: {"a", value},
    "series": lambda value: pandas.Series(array(value)),
    "frame": lambda value: pandas.DataFrame({"a": ["x", "y"], "b": [1.0, value]}),
    "columns": lambda value: pandas.DataFrame({f"column {value}": [1.0]}),
    "object": Own,
    "object with an array": lambda value: Own(array(value)),
    "slots": WithSlots,
    "method": lambda value: Own(value).method,
    "partial": lambda value: functools.partial(array, value),
    "closure": closure,
    "default": with_default,
    "default of a keyword": lambda value: lambda *, keyword=value: keyword,
    "tuple": lambda value: ("a", (value,)),
    "frozen set": lambda value: frozenset(["a", value]),
    "metric with a threshold": lambda value: keras.metrics.BinaryAccuracy(threshold=value / 4),
    "function of a layer": lambda value: keras.layers.Rescaling(value).call,
    "generator": lambda value: np.random.default_rng(int(value)),
    "initializer": lambda value: keras_initx.RandomNormal(0.0, value),
    "nested initializer": lambda value: keras_initx.Scaled(Filling(value), 2.0),
    "initializer without a config": Filling,
    "constant": keras.initializers.Constant,
    "loss": lambda value: keras.losses.Huber(value),
    "optimizer": lambda value: keras.optimizers.SGD(value),
    "layer": layer_with_bias,
}


def described(value):
    unknown = []
    found = fingerprint(value, unknown)
    assert not unknown
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_contents_tell_values_apart(kind):
    make = KINDS[kind]
    assert described(make(1.0)) == described(make(1.0))
    assert described(make(1.0)) != described(make(2.0))


def test_kinds_tell_values_apart():
    values = [array(), array().tolist(), array().astype("float32"), array()[None], Own(array()), array, Own, {}, [{}]]
    found = [str(described(value)) for value in values]
    assert len(set(found)) == len(values)


def test_functions_of_one_name_differ_in_their_code():
    first, second = (lambda x: x + 1), (lambda x: x + 2)
    assert described(first) != described(second)
    assert described(first) == described(copy.copy(first))


IN_A_MODULE = {
    "number": "NUMBER = {0}\ndef found(x): return x + NUMBER",
    "dict": "OPTIONS = {{'width': [{0}]}}\ndef found(x): return x + OPTIONS['width'][0]",
    "number in a function inside": "NUMBER = {0}\ndef found(x): return (lambda: x + NUMBER)()",
    "method": "class Own:\n  def method(self, x): return x + {0}\nfound = Own().method",
    "class method": "class Own:\n  @classmethod\n  def make(cls, x): return x + {0}\nfound = Own.make",
    "object": "class Own:\n  def __call__(self, x): return x + {0}\nfound = Own()",
    "initializer": (
        "import keras\nclass Own(keras.initializers.RandomNormal):\n"
        "  def __call__(self, shape, dtype=None): return {0} * super().__call__(shape, dtype)\nfound = Own()"
    ),
}


def from_module(text):
    module = types.ModuleType("module")
    exec(text, vars(module))
    return module.found


@pytest.mark.parametrize("kind", IN_A_MODULE)
def test_a_module_that_was_edited_has_other_functions(kind):
    before, again, after = (from_module(IN_A_MODULE[kind].format(number)) for number in (1, 1, 2))
    assert described(before) == described(again)
    assert described(before) != described(after)


def test_what_a_function_does_to_its_module_does_not_count():
    count = from_module("calls = 0\nmodels = []\ndef found(x):\n  global calls\n  calls += 1\n  models.append(found)")
    before = described(count)
    count(None)
    assert described(count) == before


def test_the_order_in_a_set_does_not_count():
    names = [f"name {i}" for i in range(100)]
    other = set()
    for name in reversed(names):
        other.add(name)
    assert described(set(names)) == described(other)


def test_what_contains_itself_is_described():
    def recursive(x):
        return recursive(x)

    own = Own([recursive])
    own.value.append(own)
    described(own)


def test_a_long_chain_is_not_described():
    chain = None
    for _ in range(10000):
        chain = [chain]
    unknown = []
    fingerprint(chain, unknown)
    assert unknown == ["builtins.list"]


@pytest.mark.parametrize("make", [array, Own, Filling], ids=["array", "object", "initializer"])
def test_a_study_is_not_resumed_with_other_contents(make, tmp_path):
    def build_any(value):
        return build("zeros")

    def run(value):
        settings = {"repeats": 1, "epochs": 1, "diagnosis": False, "out": tmp_path}
        return compare_initializers(build_any, {"k": make(value)}, data(), **settings)

    run(1.0)
    run(1.0)
    assert len(list(tmp_path.glob("trials/*"))) == 1
    with pytest.raises(SettingsError, match=r"contains a run with other settings. Received: initializers="):
        run(2.0)


def test_a_study_is_not_resumed_with_another_build(tmp_path):
    def build_wide(width):
        def build_any(value):
            return build("zeros" if width else "ones")

        return build_any

    settings = {"repeats": 1, "epochs": 1, "diagnosis": False, "out": tmp_path}
    compare_initializers(build_wide(0), {"k": 1}, data(), **settings)
    with pytest.raises(SettingsError, match=r"contains a run with other settings. Received: build="):
        compare_initializers(build_wide(1), {"k": 1}, data(), **settings)


def test_what_cannot_be_described_is_refused_for_a_folder_alone(tmp_path):
    def build_any(lock):
        return build("zeros")

    study = {"build": build_any, "initializers": {"k": Own([threading.Lock()])}, "data": data()}
    settings = {"repeats": 1, "epochs": 1, "diagnosis": False}
    with pytest.raises(ValueError, match=r"make other objects in `build`.* Received: .*'k'.* of _thread.lock"):
        compare_initializers(**study, **settings, out=tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
    assert compare_initializers(**study, **settings).trials["k", 1].status == "finished"


def test_a_build_that_cannot_be_described_is_known_by_its_name(tmp_path):
    lock = threading.Lock()

    def build_locked(initializer):
        with lock:
            return build(initializer)

    study = {"build": build_locked, "initializers": ["zeros"], "data": data(), "out": tmp_path}
    for _ in range(2):
        found = compare_initializers(**study, repeats=1, epochs=1, diagnosis=False)
    assert found.title.endswith("build_locked")
    assert len(list(tmp_path.glob("trials/*"))) == 1


def test_an_initializer_without_a_config_keeps_its_arguments():
    seen = []

    def build_and_look(initializer):
        seen.append(to_numpy(initializer((1,))).item())
        return build(initializer)

    initializers = {"one": Filling(1.0), "two": Filling(2.0)}
    compare_initializers(build_and_look, initializers, data(), repeats=1, epochs=1, diagnosis=False)
    assert seen == [1.0, 2.0]


class Shifted(keras.initializers.Orthogonal):
    """Leaves an argument out of its config."""

    def __init__(self, gain=1.0, seed=None, shift=0.0):
        super().__init__(gain, seed)
        self.shift = shift


def test_an_initializer_with_an_incomplete_config_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"all their arguments in `get_config`.* Received: .*Shifted.* without shift"):
        compare_initializers(build, {"k": Shifted(shift=1.0)}, data(), out=tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
