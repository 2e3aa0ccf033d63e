"""What the user says of the weights of a model: rules, a recipe, a plan or a report."""

import contextlib
import functools
import itertools
import os
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import keras

from keras_initx._checks import accepts_arguments, quote_names, suggest_paths, truncate
from keras_initx._suggestions import did_you_mean
from keras_initx._typing import InitializerLike, RolesGiven
from keras_initx.backends._current import backend
from keras_initx.initializers._as_ours import check_initializer, similar_ids
from keras_initx.initializers._seeds import has_seed, resolve_initializer
from keras_initx.inspection._inventory import Inventory
from keras_initx.inspection._patterns import find_first_matches, match_pattern
from keras_initx.inspection._weights import ModelWeight
from keras_initx.recipes._named import is_recipe, parse_recipe, similar_recipes
from keras_initx.recipes._weight_rules import NOT_KNOWN, Left, WeightRules
from keras_initx.tools.initialize._plan import InitializationPlan, read_plan

# A pattern for paths, a layer type, or a predicate on a weight.
Condition: TypeAlias = str | type[keras.Layer] | Callable[[ModelWeight], bool]
# Maps conditions to initializers, or to `None` for weights that are left unchanged.
RuleDict: TypeAlias = Mapping[Condition, InitializerLike | None]
# A dict, a recipe or its name, what a recipe returned, or a function of the model.
Rule: TypeAlias = RuleDict | WeightRules | Callable[[Any], Any] | str
# One of these, or several, of which the first that matches a weight counts.
Rules: TypeAlias = Rule | Sequence[Rule]
# What `initialize` and `audit` take: also a plan, by itself or as the path of a file.
RulesOrPlan: TypeAlias = Rules | InitializationPlan | os.PathLike[str]


class Instructing(Protocol):
    """A report of `diagnose`, or another object that says of all weights what becomes of them."""

    def instructions(self, weights: Sequence[ModelWeight]) -> WeightRules:
        """Return what it says of the weights of a model."""


@dataclass(frozen=True)
class Instructions:
    """What rules say of the weights of a model.

    Attributes:
        by_path: The initializer of a weight, or that it is left and why. Where nothing is said, its
            layer decides.
        notes: What a reader of it may not expect, as lines of text.
    """

    by_path: Mapping[str, keras.initializers.Initializer | Left]
    notes: tuple[str, ...] = ()


def resolve_rules(given: Any, seed: int | None) -> Any:
    """Return the recipe of a name, or the plan in a file; all else as it is.

    Args:
        given: What the user gave. A text that is no name of a recipe is the path of a plan.
        seed: The argument of this name, which must be `None` with a plan.

    Raises:
        ValueError: If a text is neither, or there is a plan and a seed.
    """
    if isinstance(given, str):
        recipe = parse_recipe(given)
        if recipe is not None:
            return recipe
        is_file = os.path.isfile(given)
        if not is_file and (_is_initializer(given) or similar_ids(given) or similar_recipes(given)):
            raise ValueError(_no_rules(given))
    if isinstance(given, str | os.PathLike):
        given = read_plan("rules", os.fspath(given))
    if isinstance(given, InitializationPlan) and seed is not None:
        raise ValueError(
            f"`seed` must be `None` with a plan, which has its own seeds. Received: {seed=!r}"
        )
    return given


def understood(
    given: Any,
    inventory: Inventory,
    *,
    seed: int | None = None,
    roles: RolesGiven | None = None,
) -> Instructions | InitializationPlan:
    """Return what the user says of the weights of a model: rules by path, or a plan.

    Args:
        given: Rules, a recipe or its name, a list of these, a plan or its path, a report of
            `diagnose`, or `None`.
        inventory: What a built model holds.
        seed: The argument of this name, which must be `None` with a plan.
        roles: Patterns of weights by their roles, which only recipes take.

    Raises:
        TypeError: If `given` is none of these, or a rule has the wrong type.
        ValueError: If a text is neither the name of a recipe nor the path of a plan, the recipe
            refuses the model or `roles`, a rule does not suit the model, or the report is that of
            another.
    """
    given = resolve_rules(given, seed)
    members = _members(given)
    if roles is not None and not any(map(is_recipe, members)):
        raise ValueError(
            "`roles` must be `None` without a recipe of this package, by itself or by its name. "
            f"Received: {roles=!r} with {given!r}"
        )
    if isinstance(given, InitializationPlan):
        return given
    if hasattr(given, "instructions"):
        members = [given.instructions(inventory.weights)]
    found = [_of_member(member, inventory, roles) for member in members]
    return _joined(found, inventory.weights)


def _members(given: Any) -> list[Any]:
    """Return the rules that are given, in their order: of a recipe that is named, itself."""
    if given is None:
        return []
    if not isinstance(given, list | tuple):
        return [given]
    if not given:
        raise ValueError(f"`rules` must have rules or a recipe in its list. Received: {given!r}")
    members = []
    for member in given:
        stands_alone = isinstance(member, os.PathLike | InitializationPlan)
        if member is None or stands_alone or hasattr(member, "instructions"):
            raise TypeError(
                "`rules` must have dicts, recipes, their names or functions of the model in its "
                f"list; a plan or a report stands alone. Received: {member!r}"
            )
        named = parse_recipe(member) if isinstance(member, str) else None
        if isinstance(member, str) and named is None:
            raise ValueError(_no_rules(member))
        members.append(named or member)
    return members


def _of_member(member: Any, inventory: Inventory, roles: RolesGiven | None) -> WeightRules:
    """Return what a dict, a recipe or a function says of the weights of a model."""
    weights = inventory.weights
    if is_recipe(member):
        return _by_recipe(member, inventory, roles)
    rules: Any = member
    # These can be called too, but not with a model.
    others = type | keras.initializers.Initializer | keras.Layer
    if callable(rules) and not isinstance(rules, others):
        if not accepts_arguments(rules, inventory.model):
            raise TypeError(
                "`rules` must be functions of one argument, the model, where they are functions. "
                f"Received: rules={rules!r}"
            )
        rules = rules(inventory.model)
        if isinstance(rules, list | tuple):
            found = [_of_member(one, inventory, roles) for one in _members(rules)]
            return _first_of(found, weights)
    if isinstance(rules, WeightRules):
        return _checked_paths(rules, weights)
    if not isinstance(rules, Mapping):
        raise TypeError(
            "`rules` must be a dict from conditions to initializers, a recipe, which returns "
            f"rules, or a list of these. Received: rules={member!r}"
        )
    return _of_dict(rules, weights)


def _by_recipe(recipe: Any, inventory: Inventory, roles: RolesGiven | None) -> WeightRules:
    """Return the rules of a recipe, or of a `functools.partial` of one."""
    options: dict[str, Any] = {}
    while isinstance(recipe, functools.partial):
        options = {**recipe.keywords, **options}
        recipe = recipe.func
    if roles is not None:
        options["roles"] = roles
    rules: WeightRules = recipe._rules_for(inventory, **options)
    return rules


def _checked_paths(rules: WeightRules, weights: Sequence[ModelWeight]) -> WeightRules:
    """Return the rules of a recipe if they are for the weights of this model.

    Raises:
        ValueError: If they are for weights that it does not have.
    """
    known = {weight.path for weight in weights}
    others = [f"the model has no {path!r}" for path in rules.by_path if path not in known]
    if others:
        raise ValueError(
            "`rules` must be rules that a recipe made for `model`. "
            f"Received: {truncate(others, '; ')}"
        )
    return rules


def _first_of(members: Sequence[WeightRules], weights: Sequence[ModelWeight]) -> WeightRules:
    """Return what the first member that says something says of each weight.

    Of what is left, the next member is asked too, but where that is final.
    """
    by_path: dict[str, InitializerLike | Left] = {}
    for weight in weights:
        for member in members:
            value = member.by_path.get(weight.path)
            if value is not None:
                by_path[weight.path] = value
                if not isinstance(value, Left) or value.is_final:
                    break
    notes = dict.fromkeys(itertools.chain.from_iterable(member.notes for member in members))
    return WeightRules(by_path, tuple(notes))


def _joined(members: Sequence[WeightRules], weights: Sequence[ModelWeight]) -> Instructions:
    """Return what all members together say of each weight."""
    rules = _first_of(members, weights)
    known: dict[Any, keras.initializers.Initializer] = {}
    by_path: dict[str, keras.initializers.Initializer | Left] = {}
    left: dict[str, list[str]] = {}
    for path, value in rules.by_path.items():
        if isinstance(value, Left):
            by_path[path] = value
            if value.reason == NOT_KNOWN:
                left.setdefault("it is not known what it is for", []).append(path)
            elif value.is_noted:
                left.setdefault(value.reason, []).append(path)
            continue
        key = value if isinstance(value, str) else id(value)
        if key not in known:
            known[key] = _checked(path, value)
        by_path[path] = known[key]
    notes = rules.notes
    for reason, paths in left.items():
        notes += (f"Left, since {reason}: {quote_names(paths)}.",)
    return Instructions(by_path, notes)


def _no_rules(given: str) -> str:
    """Return the error message for a text that is no name of a recipe."""
    required = "`rules` must be a dict from conditions to initializers"
    meant = [given] if _is_initializer(given) else similar_ids(given)
    if meant:
        required += f", such as {{'*kernel': {meant[0]!r}}}"
    similar = did_you_mean(map(repr, similar_recipes(given)))
    return f"{required}, or a recipe. Received: rules={given!r}{similar}"


def _is_initializer(text: str) -> bool:
    """Return whether this name alone stands for an initializer."""
    try:
        return callable(resolve_initializer(text))
    except (TypeError, ValueError):  # its class may need arguments
        return False


def _of_dict(rules: RuleDict, weights: Sequence[ModelWeight]) -> WeightRules:
    """Return what the first matching rule says of each weight.

    Raises:
        TypeError: If a condition or a value has the wrong type.
        ValueError: If a rule matches no weight, or its value is not an initializer or has a seed.
    """
    values: dict[Condition, InitializerLike | Left] = {}
    for condition, value in rules.items():
        values[condition] = Left("by rule", is_final=True)
        if not _is_condition(condition):
            raise TypeError(
                "`rules` must have patterns, layer types or functions as keys. "
                f"Received: {condition!r} as a key"
            )
        if value is not None:
            values[condition] = _checked(condition, value)

    def hint(condition: Condition) -> str:
        if not isinstance(condition, str):
            return ""
        for weight in weights:
            if any(type(layer).__name__ == condition for layer in weight.layers):
                return did_you_mean([f"the class {condition} itself"])
        return suggest_paths(condition, [weight.shown for weight in weights])

    by_path = {weight.path: weight for weight in weights}
    found = find_first_matches("rules", rules, by_path, _matches, hint=hint)
    matched: dict[Condition, list[str]] = {}
    for path, (condition, _) in found.items():
        matched.setdefault(condition, []).append(by_path[path].shown)
    notes = []
    for condition, paths in matched.items():
        if isinstance(condition, str) and rules[condition] is not None:
            notes += _other_names(condition, paths)
    return WeightRules({path: values[one] for path, (one, _) in found.items()}, tuple(notes))


def _other_names(condition: str, paths: Sequence[str]) -> list[str]:
    """Return a note if a pattern matches other names too: `"*kernel"` a `recurrent_kernel`."""
    _, _, ending = re.split("[/.]", condition)[-1].rpartition("*")
    others = Counter(re.split("[/.]", path)[-1] for path in paths)
    del others[ending]
    if "*" not in condition or not ending or not others:
        return []
    names = [f"{name} ({count})" for name, count in others.items()]
    return [f"The rule {condition!r} is also for {', '.join(names)}."]


def _checked(condition: Any, value: InitializerLike) -> keras.initializers.Initializer:
    """Return the initializer of a rule."""
    with contextlib.ExitStack() as stack:
        stack.callback(backend.kept_generators())  # a name makes one with a seed of its own
        initializer = check_initializer(f"rules[{condition!r}]", value)
    if has_seed(initializer.get_config()):
        raise ValueError(
            "`rules` must have initializers without seeds: each weight gets its own, derived from "
            f"`seed`. Received: {initializer!r} for {condition!r}"
        )
    return initializer


def _is_condition(condition: Any) -> bool:
    if isinstance(condition, type):
        return issubclass(condition, keras.Layer)
    return isinstance(condition, str) or callable(condition)


def matches_condition(condition: Condition, weights: Sequence[ModelWeight]) -> bool:
    """Return whether a condition matches any of these weights."""
    return any(_matches(condition, weight) for weight in weights)


def _matches(condition: Condition, weight: ModelWeight) -> bool:
    """Return whether a condition matches a weight."""
    if isinstance(condition, str):
        return bool(match_pattern(condition, (weight.path, weight.shown)))
    if isinstance(condition, type):
        # Not biases, for which an initializer for kernels is unsuitable.
        if len(weight.shape) < 2:
            return False
        return any(isinstance(layer, condition) for layer in weight.layers)
    return bool(condition(weight))
