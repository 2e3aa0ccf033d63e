"""Which of both questions is asked: are weights as rules say, or as others are?"""

import os
from collections.abc import Mapping
from typing import Any, TypeAlias

import keras

from keras_initx.arrays._checkpoints import checkpoint_paths, names_weights
from keras_initx.audits._audit_report import OF_LAYERS
from keras_initx.audits._contract import (
    Contract,
    Drawn,
    can_be_called,
    contract_of,
    is_contract,
    is_function,
    json_in,
    read_contract,
)
from keras_initx.audits._subjects import Audited, opened, subjects_of
from keras_initx.models._given import RulesOrPlan
from keras_initx.models._plan import InitializationPlan
from keras_initx.models._plan_file import is_plan
from keras_initx.recipes._named import is_recipe, recipe_of
from keras_initx.recipes._recipe import Recipe
from keras_initx.recipes._weight_rules import WeightRules

# What weights are like: others, their contract, or a function that makes them.
Like: TypeAlias = Contract | Drawn


def check_question(weights: Any, rules: Any, like: Any) -> None:
    """Raise an error if both are given, one as the other, or neither for a contract.

    What is neither for certain is left to those that read it.
    """
    if rules is not None and like is not None:
        raise ValueError(
            "`like` must be `None` with `rules`: both say how weights should be. "
            f"Received: {rules=!r}, {like=!r}"
        )
    if _are_weights(rules):
        raise TypeError(
            "`rules` must be rules, a recipe or a plan; a contract, other weights and a function "
            f"that makes them are passed as `like`. Received: {rules=!r}"
        )
    if _are_rules(like):
        raise TypeError(
            "`like` must be a contract, weights or a function without arguments that makes them; "
            f"rules, a recipe and a plan are passed as `rules`. Received: {like=!r}"
        )
    if like is None and _is_contract(weights):
        raise TypeError(
            "`weights` must be a model or arrays to be compared with rules; a contract is compared "
            f"with what is passed as `like`. Received: {weights=!r}"
        )


def _is_contract(given: Any) -> bool:
    """Return whether this is a contract, or the path of one."""
    is_path = isinstance(given, str | os.PathLike)
    return isinstance(given, Contract) or (is_path and is_contract(json_in(given)))


def _are_weights(given: Any) -> bool:
    """Return whether something has weights or makes them, and says nothing else about them."""
    if isinstance(given, Mapping):
        return _has_arrays(given)
    if _are_listed_rules(given):
        return False
    paths = checkpoint_paths(given)
    if paths is not None:
        is_file = recipe_of(paths[0]) is None and names_weights(paths[0])
        return len(paths) > 1 or is_file or _is_contract(given)
    if isinstance(given, type):
        return issubclass(given, keras.Model)
    takes_none = callable(given) and can_be_called(given) and not can_be_called(given, None)
    has_weights = isinstance(given, Contract | keras.Layer) or hasattr(given, "state_dict")
    return has_weights or takes_none


def _are_rules(given: Any) -> bool:
    """Return whether something says what weights should be, and has none."""
    if isinstance(given, Mapping):
        return bool(given) and not _has_arrays(given)
    if _are_listed_rules(given):
        return True
    if isinstance(given, str) and recipe_of(given) is not None:
        return True
    if isinstance(given, str | os.PathLike):
        return is_plan(json_in(given))
    takes_model = callable(given) and can_be_called(given, None) and not can_be_called(given)
    is_made = isinstance(given, InitializationPlan | WeightRules)
    return is_made or is_recipe(given) or takes_model


def _are_listed_rules(given: Any) -> bool:
    """Return whether this is a list in which something says what weights should be."""
    if not isinstance(given, list | tuple):
        return False
    for member in given:
        is_name = isinstance(member, str) and recipe_of(member) is not None
        if is_name or (not isinstance(member, str | os.PathLike) and _are_rules(member)):
            return True
    return False


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


def contract_given(name: str, given: Contract | Audited) -> Contract:
    """Return the contract of what is given, by itself or in a file.

    Args:
        name: Name of the argument in error messages.
        given: See `weights` of `audit`.
    """
    if isinstance(given, Contract):
        return given
    if isinstance(given, str | os.PathLike) and not names_weights(os.fspath(given)):
        return read_contract(name, os.fspath(given))
    with opened(name, given) as found:
        return contract_of(subjects_of(found))


def source_of_rules(rules: RulesOrPlan | None) -> str:
    """Return who says how weights should be."""
    if rules is None:
        return OF_LAYERS
    who = ""
    if isinstance(rules, str) and recipe_of(rules) is not None:
        who = rules
    elif isinstance(rules, InitializationPlan | str | os.PathLike):
        who = "the plan"
    elif isinstance(rules, Recipe):
        who = rules.name
    elif callable(rules):
        who = _name_of(rules, "the recipe")
    return f"{who} says" if who else "the rules say"


def source_of_like(like: Like) -> str:
    """Return where it says how weights should be."""
    if _is_contract(like):
        return "in the contract"
    paths = checkpoint_paths(like)
    if paths is not None:
        others = " and others" if len(paths) > 1 else ""
        return f"in {os.path.basename(paths[0].rstrip(os.sep))}{others}"
    if is_function(like):
        return f"{_name_of(like, 'the function')} makes them"
    return "in the other model" if isinstance(like, keras.Model) else "in the other arrays"


def _name_of(function: Any, otherwise: str) -> str:
    """Return the name of a function, if it has one that says something."""
    name: str = getattr(function, "__name__", "")
    return name if name.isidentifier() else otherwise
