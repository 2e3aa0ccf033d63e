"""How classes and functions are called, and what `help` shows of it.

Classes are called as Keras' own of the same name, and all else is by keyword.
"""

import ast
import inspect
import pathlib
import textwrap
import typing

import keras
import pins
from cases import for_each

import keras_initx
import keras_initx.scaling
import keras_initx.testing
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
    for path, value in pins.list_public():
        if callable(value):
            yield path, value
        if inspect.isclass(value):
            for attribute, method in vars(value).items():
                if inspect.isfunction(method) and not attribute.startswith("_"):
                    yield f"{path}.{attribute}", method


ARGUMENTS = (pathlib.Path(__file__).parents[1] / "docs" / "arguments.md").read_text()


def read_annotations(function):
    """Return the annotations of a function as they are written, where names of aliases are not yet their types."""
    try:
        source = textwrap.dedent(inspect.getsource(function))
    except (OSError, TypeError):  # made by a decorator of classes, as the fields of a result are
        return []
    node = ast.parse(source).body[0]
    assert isinstance(node, ast.FunctionDef)
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg]
    written = [argument.annotation for argument in arguments if argument is not None]
    return [annotation for annotation in [*written, node.returns] if annotation is not None]


def is_alias(name, value):
    """Return whether a name stands for a type that `typing` and Keras do not have."""
    if inspect.ismodule(value) or inspect.isbuiltin(value) or isinstance(value, typing.TypeVar):
        return False
    if inspect.isclass(value) and value is not typing.Any:  # a protocol that is not public has no page of its own
        return getattr(value, "_is_protocol", False) and value.__module__.startswith("keras_initx.tools.")
    return getattr(typing, name, None) is not value


def list_aliases():
    """List the names of types that public annotations use instead of the types themselves."""
    names = set()
    for _, public in list_public_callables():
        function = inspect.unwrap(public.__init__ if inspect.isclass(public) else public)
        for annotation in read_annotations(function):
            for node in ast.walk(annotation):
                if isinstance(node, ast.Name) and is_alias(node.id, function.__globals__.get(node.id, int)):
                    names.add(node.id)
    return names


def test_the_page_of_arguments_has_each_alias_that_an_annotation_uses():
    aliases = list_aliases()
    assert {"RulesOrPlan", "Instructor", "NamesDict", "Data", "Seed"} <= aliases
    assert {name for name in aliases if f"`{name}`" not in ARGUMENTS} == set()


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
