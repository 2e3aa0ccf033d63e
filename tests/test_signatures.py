"""How classes and functions are called, and what `help` shows of it.

Classes are called as Keras' own of the same name, and all else is by keyword.
"""

import importlib
import inspect
import typing

import keras
import pins
from cases import for_each

import keras_initx
import keras_initx.scaling
from keras_initx.types import InitializationPlan

CLASSES = {entry.cls.__name__: entry.cls for entry in keras_initx.catalog().values()}
NAMESAKES = sorted(name for name in CLASSES if hasattr(keras.initializers, name))
# Keras' family of `VarianceScaling` takes them from 3.15 on.
AXES = ["input_axes", "output_axes"]
# With a second argument that says what is done with the first.
PAIRS = {
    "DecayRate": ["min_rate", "max_rate"],
    "ICNR": ["initializer", "scale"],
    "Pretrained": ["path", "key"],
    "Scaled": ["initializer", "factor"],
    "TimeStepBias": ["min_step", "max_step"],
}
# Those that are like one of Keras are called as it is.
SIBLINGS = {
    "FanInNormal": ["seed", "input_axes", "output_axes"],
    "OrthogonalQR": ["gain", "seed"],
    "SmallNormal": ["seed"],
}
OTHERS = sorted(CLASSES.keys() - set(NAMESAKES) - SIBLINGS.keys())


def positional(cls):
    """Return the parameters of `cls` that may be given by their position."""
    parameters = inspect.signature(cls).parameters.values()
    return [parameter for parameter in parameters if parameter.kind is not parameter.KEYWORD_ONLY]


def described(parameters):
    return [(parameter.name, parameter.kind, parameter.default) for parameter in parameters]


@for_each(NAMESAKES)
def test_a_namesake_takes_the_positional_arguments_of_keras(name):
    of_keras = positional(getattr(keras.initializers, name))
    ours = positional(CLASSES[name])
    assert described(ours[: len(of_keras)]) == described(of_keras)
    assert [parameter.name for parameter in ours[len(of_keras) :]] in ([], AXES)


@for_each(OTHERS)
def test_only_the_natural_arguments_of_others_are_positional(name):
    names = [parameter.name for parameter in positional(CLASSES[name])]
    assert "seed" not in names
    assert names == PAIRS.get(name, names[:1])


@for_each(SIBLINGS)
def test_one_that_is_like_one_of_keras_takes_the_same_positional_arguments(name):
    assert [parameter.name for parameter in positional(CLASSES[name])] == SIBLINGS[name]


def test_orthogonal_takes_gain_and_seed():
    assert keras_initx.Orthogonal(1.0, 42) == keras_initx.Orthogonal(gain=1.0, seed=42)


def test_public_names_change_on_purpose():
    recorded = (pins.PINS / "names.txt").read_text().splitlines()
    assert pins.public_names() == recorded, "run `python tests/support/pins.py` and read `git diff tests/support/pins`"


def list_public_callables():
    """List the public functions, classes and methods, with their names."""
    for package in ("keras_initx", *(f"keras_initx.{module}" for module in pins.MODULES)):
        module = importlib.import_module(package)
        for name in dir(module):
            value = getattr(module, name)
            if name.startswith("_") or not callable(value):
                continue
            yield f"{package}.{name}", value
            if inspect.isclass(value):
                for attribute, method in vars(value).items():
                    if inspect.isfunction(method) and not attribute.startswith("_"):
                        yield f"{package}.{name}.{attribute}", method


# How each shared argument is taken by all functions that take it.
BY_KEYWORD = ("seed", "verbose", "batch_size", "dry_run", "layout", "loss", "tolerance", "atomic")
DEFAULTS = {"y": None, "rules": None, "names": None, "layout": None, "verbose": "auto", "dry_run": False, "atomic": True}
TOOLS = {name: tool for name, tool in inspect.getmembers(keras_initx, inspect.isfunction)}
TOOLS["coordinate_check"] = keras_initx.scaling.coordinate_check


@for_each(TOOLS)
def test_an_argument_has_the_same_kind_place_and_default_wherever_it_is_taken(name):
    parameters = inspect.signature(TOOLS[name]).parameters
    places = list(parameters)
    for shared in parameters.keys() & set(BY_KEYWORD):
        assert parameters[shared].kind is inspect.Parameter.KEYWORD_ONLY, shared
    for shared in parameters.keys() & DEFAULTS.keys():
        assert parameters[shared].default == DEFAULTS[shared], shared
    if "x" in places and "y" in places:  # only what is compared stands between them
        between = places[places.index("x") + 1 : places.index("y")]
        assert between in ([], ["like"])
        assert parameters["y"].kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
    if "rules" in places:
        assert places.index("rules") == 1


def test_help_shows_signatures_that_fit_in_a_few_lines():
    lengths = {}
    for path, public in list_public_callables():
        try:
            lengths[path] = len(str(inspect.signature(public)))
        except (TypeError, ValueError):  # an alias of types
            continue
    assert lengths["keras_initx.initialize"] > 0
    assert {path: length for path, length in lengths.items() if length > 300} == {}


def test_a_short_signature_keeps_the_types_for_programs():
    assert inspect.signature(keras_initx.initialize).return_annotation is InitializationPlan
    assert "InitializationPlan" in str(keras_initx.initialize.__annotations__["rules"])
    assert typing.get_type_hints(keras_initx.Orthogonal.__init__)["blocks"] is int


def test_a_subclass_of_your_own_shows_its_own_arguments():
    class Halved(keras_initx.Orthogonal):
        def __init__(self, factor):
            super().__init__(factor / 2)

    assert str(inspect.signature(Halved)) == "(factor)"
