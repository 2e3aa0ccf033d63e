"""What weights are compared with, where that is a contract or other weights."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras

from keras_initx._files import parse_json
from keras_initx.arrays import checkpoint_paths, names_weights
from keras_initx.audits._contract import Contract, is_contract, needs_no_arguments, read_contract
from keras_initx.audits._subjects import Audited
from keras_initx.models import InitializationPlan, is_plan
from keras_initx.recipes import recipe_of


def reference_of(expected: Any) -> Contract | Audited | None:
    """Return the contract or the weights to compare with, `None` for rules, a recipe or a plan.

    Raises:
        TypeError: If it is none of these, such as a function that makes weights.
        ValueError: If it is the path of a file that is none of these.
    """
    if isinstance(expected, Contract | keras.Model):
        return expected
    if isinstance(expected, Mapping):
        return expected if _has_arrays(expected) else None
    paths = checkpoint_paths(expected)
    if paths is None:
        _check_recipe(expected)
        return None
    if isinstance(expected, str) and recipe_of(expected) is not None:
        return None
    if len(paths) > 1:
        return list(paths)
    path = paths[0]
    if names_weights(path):
        return path
    if not os.path.isfile(path):
        return None
    content = None
    problem = "is none of these"
    try:
        content = parse_json(Path(path).read_bytes())
    except ValueError as error:
        problem = str(error)
    if is_contract(content):
        return read_contract("expected", path)
    if is_plan(content):
        return None
    raise ValueError(
        "`expected` must be a file that `Contract.save` or `InitializationPlan.save` wrote, or one "
        f"of weights; this one {problem}. Received: expected={path!r}"
    )


def _check_recipe(expected: Any) -> None:
    """Raise `TypeError` unless this may be a recipe or a plan."""
    if expected is None or isinstance(expected, InitializationPlan):
        return
    makes_weights = isinstance(expected, type) and issubclass(expected, keras.Model)
    # A layer and an initializer can be called with a model too.
    if callable(expected) and not isinstance(
        expected, type | keras.Layer | keras.initializers.Initializer
    ):
        makes_weights = needs_no_arguments(expected)
        if not makes_weights:
            return
    required = "`expected` must be rules, a recipe, a plan, a contract or weights"
    if makes_weights:
        name = getattr(expected, "__name__", "")
        if not name.isidentifier():  # of a lambda
            name = "build"
        required += f"; for those that a function makes, write `audit(model, contract({name}))`"
    raise TypeError(f"{required}. Received: {expected=!r}")


def _has_arrays(values: Mapping[Any, Any]) -> bool:
    """Return whether a dict has arrays, or numbers in lists, and not the initializers of rules."""
    for value in values.values():
        if _is_array(value) or isinstance(value, list | tuple):
            return True
        if isinstance(value, Mapping) and any(map(_is_array, value.values())):
            return True
    return False


def _is_array(value: Any) -> bool:
    """Return whether a value of a dict is an array, a tensor or a variable of any framework."""
    return hasattr(value, "shape") and hasattr(value, "dtype") and not callable(value)


def source_of(like: Contract | Audited) -> str:
    """Return where it says how weights should be."""
    if isinstance(like, Contract):
        return "in the contract"
    paths = checkpoint_paths(like)
    if paths is not None:
        others = " and others" if len(paths) > 1 else ""
        return f"in {os.path.basename(paths[0].rstrip(os.sep))}{others}"
    if isinstance(like, keras.Model):
        return "in the other model"
    return "in the other arrays"
