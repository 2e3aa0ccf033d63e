"""The names that are checked before Keras is imported are those of the package and of Keras."""

import dataclasses
import inspect
import sys
import typing

import keras
import pytest

from keras_initx import _names, cli, diagnostics, recipes
from keras_initx.cli import _known, _studies

pytestmark = pytest.mark.once

# Functions of `recipes` that return no rules, or need more than the model.
NOT_RECIPES = {"coordinate_check", "mup", "save_base"}


def sources(recipe):
    """Return the sources of a recipe, in its order."""
    hint = typing.get_type_hints(recipe).get("source")
    if hint is None:
        return ()
    names = typing.get_args(hint)
    if type(None) in names:  # the default
        names = typing.get_args(names[0])
    return names


def test_recipes_and_their_sources():
    functions = {name: found for name, found in vars(recipes).items() if inspect.isfunction(found)}
    assert {*functions} - NOT_RECIPES == {*_known.RECIPES}
    assert {name: sources(functions[name]) for name in _known.RECIPES} == _known.RECIPES


def test_thresholds():
    assert [*_known.THRESHOLDS] == [field.name for field in dataclasses.fields(diagnostics.Thresholds)]


def public(module, base):
    """Return the names of a module of Keras that it can look up, without the base class."""
    for name, found in vars(module).items():
        is_one = inspect.isfunction(found) or (inspect.isclass(found) and issubclass(found, base))
        if is_one and found is not base and name not in ("deserialize", "get", "serialize"):
            yield name


@pytest.mark.parametrize(
    ("module", "base", "known"),
    [
        (keras.initializers, keras.initializers.Initializer, _known.INITIALIZERS),
        (keras.losses, keras.losses.Loss, _known.LOSSES),
    ],
    ids=["initializers", "losses"],
)
def test_no_name_that_keras_knows_is_taken_for_a_slip(module, base, known):
    spelled = {_names.spelling(name) for name in known}
    missing = {name for name in public(module, base) if _names.spelling(name) not in spelled}
    assert {name for name in missing if not name.endswith("Initializer")} == set()  # other names of the same classes


def test_no_optimizer_that_keras_knows_is_taken_for_a_slip():
    spelled = {_names.spelling(name) for name in _known.OPTIMIZERS}
    for name in public(keras.optimizers, keras.optimizers.Optimizer):
        if _names.spelling(name) not in spelled:
            assert name in ("LossScaleOptimizer", "MultiOptimizer", "OptimizerMap")


@pytest.mark.parametrize("name", sorted({*_known.INITIALIZERS} - {"constant"}))  # which needs a value
def test_keras_knows_the_initializers(name):
    assert isinstance(keras.initializers.get(name), keras.initializers.Initializer)


def test_a_name_that_a_file_of_the_user_registers_is_no_slip(tmp_path, monkeypatch, capsys):
    path = tmp_path / "mine.py"
    path.write_text("def build(initializer): ...\n")
    asked = []
    monkeypatch.setattr(_studies, "_prepare", lambda arguments: asked.append(arguments.model) or sys.exit(0))
    with pytest.raises(SystemExit, match=r"^0$"):
        cli.main(["compare", "--model", f"{path}:build", "--initializers", "he_normall"])
    assert len(asked) == 1
