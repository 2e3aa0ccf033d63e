"""Which of both questions is asked: are weights as rules say, or as others are?"""

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias, TypeGuard

import keras

from keras_initx.audits._audit_report import OF_LAYERS
from keras_initx.audits._contract import (
    Contract,
    Drawn,
    contract,
    contract_of,
    is_function,
    read_contract,
)
from keras_initx.audits._subjects import Audited, opened, subjects_of, with_names_of
from keras_initx.checkpoints._checkpoint import checkpoint_paths, names_weights
from keras_initx.models._given import RulesOrPlan
from keras_initx.models._plan import InitializationPlan
from keras_initx.recipes._recipe import Recipe
from keras_initx.structure._inventory import Inventory
from keras_initx.structure._pairing import Pairs, paired_with_names

# What weights are like: others, their contract, or a function that makes them.
Like: TypeAlias = Contract | Drawn


def check_question(weights: Any, rules: Any, like: Any) -> None:
    """Raise an error if both are given, or a contract where nothing says what it is like.

    The path of one is refused where it is read.
    """
    if rules is not None and like is not None:
        raise ValueError(
            "`like` must be `None` with `rules`: both say how weights should be. "
            f"Received: {rules=!r}, {like=!r}"
        )
    if isinstance(rules, Contract):
        raise TypeError(
            "`rules` must be rules, a recipe or a plan, and this is a contract: pass it as `like`. "
            f"Received: {rules=!r}"
        )
    if like is None and isinstance(weights, Contract):
        raise TypeError(
            "`weights` must be a model or arrays to be compared with rules; a contract is compared "
            f"with what is passed as `like`. Received: {weights=!r}"
        )


class Asked(NamedTuple):
    """What is compared, by itself or in a file.

    Attributes:
        found: The contract of the weights that are audited.
        expected: That of what they should be like.
        pairs: What of one is what of the other.
        inventory: What a model that is audited holds, `None` of all else.
    """

    found: Contract
    expected: Contract
    pairs: Pairs
    inventory: Inventory | None


def contracts_of(weights: Contract | Audited, like: Like) -> Asked:
    """Return the contracts of what is compared, and what pairs weights.

    If one is a model, the arrays of the other have the paths of its weights.

    Args:
        weights: See `audit`.
        like: See `audit`.
    """
    with _opened("weights", weights) as found, _opened("like", like) as expected:
        inventory = found if isinstance(found, Inventory) else None
        pairs = None
        if isinstance(found, Inventory) and isinstance(expected, Mapping):
            expected, pairs = with_names_of(found, expected)
            pairs = pairs.worded("`like`", "`weights`")
        elif isinstance(found, Mapping) and isinstance(expected, Inventory):
            found, pairs = with_names_of(expected, found)
            pairs = pairs.worded("`weights`", "`like`")
        ours, theirs = _contract_of(found), _contract_of(expected)
    if pairs is None:
        own_places = {row.path: row.place for row in ours.rows}
        places = {row.path: row.place for row in theirs.rows}
        pairs = paired_with_names(own_places, places).worded("`like`", "`weights`")
    return Asked(ours, theirs, pairs, inventory)


@contextlib.contextmanager
def _opened(
    name: str, given: Contract | Audited | Like
) -> Iterator[Contract | Inventory | Mapping[str, Any]]:
    """Open what is compared for the duration of the block: a contract, a model or arrays."""
    if isinstance(given, Contract):
        yield given
    elif _is_path_of_contract(given):
        yield read_contract(name, os.fspath(given))
    elif name == "like" and is_function(given):
        yield contract(given)
    else:
        with opened(name, given) as found:
            yield found


def _is_path_of_contract(given: Any) -> TypeGuard[str | os.PathLike[str]]:
    """Return whether this is a path, and not one of weights."""
    return isinstance(given, str | os.PathLike) and not names_weights(os.fspath(given))


def _contract_of(found: Contract | Inventory | Mapping[str, Any]) -> Contract:
    """Return the contract of what was opened."""
    return found if isinstance(found, Contract) else contract_of(subjects_of(found))


def source_of_rules(rules: RulesOrPlan | None, resolved: Any) -> str:
    """Return who says how weights should be.

    Args:
        rules: What the user gave.
        resolved: The same, but for a name the recipe, and for a path the plan.
    """
    if rules is None:
        return OF_LAYERS
    who = ""
    if isinstance(resolved, InitializationPlan):
        who = "the plan"
    elif isinstance(rules, str):
        who = rules
    elif isinstance(rules, Recipe):
        who = rules.name
    elif callable(rules):
        who = _name_of(rules, "the recipe")
    return f"{who} says" if who else "the rules say"


def source_of_like(like: Like) -> str:
    """Return where it says how weights should be."""
    if isinstance(like, Contract) or _is_path_of_contract(like):
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
