"""Read the user's wishes for each weight: rules, a recipe, a plan or a report of `diagnose`.

The argument `rules` has many forms. All but a plan become `Instructions`, which give an
initializer for each path:

    {"*kernel": "zeros", "*": None}
    -> {"hidden/kernel": Zeros(), "hidden/bias": Left("by rule", is_final=True)}

A *condition* is a key of such a dict: a pattern for paths, a layer, a type of layer, or a function
of a weight. An *item* is one element of a list of rules. A weight that is `Left` keeps its values.
"""

import contextlib
import functools
import itertools
import os
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import keras

from keras_initx._checks import (
    accepts_arguments,
    quote_names,
    suggest_paths,
    summarize_names,
    truncate,
)
from keras_initx._received import show
from keras_initx._suggestions import did_you_mean
from keras_initx._typing import InitializerLike
from keras_initx.backends._current import backend
from keras_initx.initializers._as_ours import check_initializer
from keras_initx.initializers._seeds import has_seed, initializers_within
from keras_initx.inspection._inventory import Inventory
from keras_initx.inspection._layer_initializers import find_layer_initializers
from keras_initx.inspection._patterns import find_first_matches, match_pattern
from keras_initx.inspection._weights import ModelWeight, find_computed_weight
from keras_initx.recipes._named import is_recipe, may_be_name, parse_recipe, unknown_recipe_error
from keras_initx.recipes._weight_rules import BY_RULE, NOT_KNOWN, Left, WeightRules
from keras_initx.report._text import choose_verb
from keras_initx.tools.initialize._plan import InitializationPlan, read_plan

# A pattern for paths, a layer or a type of layers, or a predicate on a weight.
Condition: TypeAlias = str | keras.Layer | type[keras.Layer] | Callable[[ModelWeight], bool]
# Maps conditions to initializers, or to `None` for weights that are left unchanged.
RuleDict: TypeAlias = Mapping[Condition, InitializerLike | None]
# A dict, a recipe or its name, what a recipe returned, or a function of the model.
Rule: TypeAlias = RuleDict | WeightRules | Callable[[Any], Any] | str
# One of these, or several, of which the first that matches a weight counts.
Rules: TypeAlias = Rule | Sequence[Rule]
# What `initialize` and `audit` take: also a plan, by itself or as the path of a file.
RulesOrPlan: TypeAlias = Rules | InitializationPlan | os.PathLike[str]


class Instructor(Protocol):
    """A report of `diagnose`, or another object that gives instructions for all weights."""

    def instructions(self, weights: Sequence[ModelWeight]) -> WeightRules:
        """Return its instructions for the weights of a model."""


@dataclass(frozen=True)
class Instructions:
    """The initializers that rules give to the weights of a model.

    Attributes:
        by_path: The initializer of a weight, or the reason why it keeps its values. If a path is
            missing, its layer decides.
        notes: Lines of text about surprises for the reader.
        reasons: Why weights have their initializers, by path, see `WeightRules`.
    """

    by_path: Mapping[str, keras.initializers.Initializer | Left]
    notes: tuple[str, ...] = ()
    reasons: Mapping[str, str] = field(default_factory=dict)


def resolve_rules(rules: Any, seed: int | None) -> Any:
    """Replace the name of a recipe by the recipe, and the path of a plan by the plan.

    Args:
        rules: The user's argument. A text that is not the name of a recipe is the path of a plan.
        seed: The argument of this name, which must be `None` with a plan.

    Raises:
        ValueError: If a text is neither, or there is a plan and a seed.
    """
    if isinstance(rules, str):
        recipe = parse_recipe(rules)
        if recipe is not None:
            return recipe
        if not os.path.isfile(rules) and may_be_name(rules):
            raise unknown_recipe_error(rules)
    if isinstance(rules, str | os.PathLike):
        rules = read_plan("rules", os.fspath(rules))
    if isinstance(rules, InitializationPlan) and seed is not None:
        raise ValueError(f"Leave out `seed`: a plan has its own seeds. Received: seed={show(seed)}")
    return rules


def read_rules(
    rules: Any, inventory: Inventory, *, seed: int | None = None
) -> Instructions | InitializationPlan:
    """Read the user's rules for the weights of a model: rules by path, or a plan.

    Args:
        rules: Rules, a recipe or its name, a list of these, a plan or its path, a report of
            `diagnose`, or `None`.
        inventory: The weights and layers of a built model.
        seed: The argument of this name, which must be `None` with a plan.

    Raises:
        TypeError: If `rules` is none of these, or a rule has the wrong type.
        ValueError: If a text is neither the name of a recipe nor the path of a plan, the recipe
            refuses the model, a rule does not suit the model, or the report is about another model.
    """
    rules = resolve_rules(rules, seed)
    if isinstance(rules, InitializationPlan):
        return rules
    if hasattr(rules, "instructions"):
        items = [rules.instructions(inventory.weights)]
    else:
        items = _list_items(rules)
    rules_of_items = [_read_item(item, inventory) for item in items]
    return _parse_initializers(_merge(rules_of_items, inventory.weights))


def _list_items(rules: Any) -> list[Any]:
    """List the rules in their order, with recipes in place of their names."""
    if rules is None:
        return []
    if not isinstance(rules, list | tuple):
        return [rules]
    if not rules:
        raise ValueError(
            f"`rules` must have a dict or a recipe in its list. Received: {show(rules)}"
        )
    items = []
    for item in rules:
        stands_alone = isinstance(item, os.PathLike | InitializationPlan)
        if item is None or stands_alone or hasattr(item, "instructions"):
            raise TypeError(
                "`rules` must have dicts, recipes, their names or functions of the model in its "
                f"list. Pass a plan or a report without a list. Received: {show(item)}"
            )
        recipe = parse_recipe(item) if isinstance(item, str) else None
        if isinstance(item, str) and recipe is None:
            raise unknown_recipe_error(item)
        items.append(recipe or item)
    return items


def _read_item(item: Any, inventory: Inventory) -> WeightRules:
    """Read the instructions of a dict, a recipe or a function for the weights of a model."""
    weights = inventory.weights
    if is_recipe(item):
        return _apply_recipe(item, inventory)
    rules: Any = item
    # These can be called too, but not with a model.
    others = type | keras.initializers.Initializer | keras.Layer
    if callable(rules) and not isinstance(rules, others):
        if not accepts_arguments(rules, inventory.model):
            raise TypeError(
                "`rules` must be a function of one argument, the model, if it is a function. "
                f"Received: rules={show(rules)}"
            )
        rules = rules(inventory.model)
        if isinstance(rules, list | tuple):
            inner = [_read_item(returned, inventory) for returned in _list_items(rules)]
            return _merge(inner, weights)
    if isinstance(rules, WeightRules):
        _check_paths(rules, weights)
        return rules
    if not isinstance(rules, Mapping):
        raise TypeError(
            "`rules` must be a dict from conditions to initializers, a recipe, which returns "
            f"rules, or a list of these. Received: rules={show(item)}"
        )
    return _apply_dict(rules, weights)


def _apply_recipe(recipe: Any, inventory: Inventory) -> WeightRules:
    # Of `functools.partial(partial(recipes.gpt2, source="a"), source="b")` the outer options count.
    options: dict[str, Any] = {}
    while isinstance(recipe, functools.partial):
        options = {**recipe.keywords, **options}
        recipe = recipe.func
    rules: WeightRules = recipe._rules_for(inventory, **options)
    return rules


def _check_paths(rules: WeightRules, weights: Sequence[ModelWeight]) -> None:
    """Raise `ValueError` if rules of a recipe are for weights that this model does not have."""
    known = {weight.path for weight in weights}
    problems = [f"the model has no {path!r}" for path in rules.by_path if path not in known]
    if problems:
        raise ValueError(
            "`rules` must be rules that a recipe made for `model`. "
            f"Received: {truncate(problems, '; ')}"
        )


def _merge(items: Sequence[WeightRules], weights: Sequence[ModelWeight]) -> WeightRules:
    """Take for each weight the instruction of the first item that has one.

    If an item leaves a weight, the next item decides, unless that leave is final.
    """
    by_path: dict[str, InitializerLike | Left] = {}
    reasons: dict[str, str] = {}
    for weight in weights:
        for item in items:
            value = item.by_path.get(weight.path)
            if value is not None:
                by_path[weight.path] = value
                reasons[weight.path] = item.reasons.get(weight.path, "")
                if not isinstance(value, Left) or value.is_final:
                    break
    notes = dict.fromkeys(itertools.chain.from_iterable(item.notes for item in items))
    return WeightRules(by_path, tuple(notes), reasons)


def _parse_initializers(rules: WeightRules) -> Instructions:
    """Resolve and check the initializer of each weight, or note that the weight is left."""
    checked: dict[Any, keras.initializers.Initializer] = {}
    by_path: dict[str, keras.initializers.Initializer | Left] = {}
    left: dict[str, list[str]] = {}
    for path, value in rules.by_path.items():
        if isinstance(value, Left):
            by_path[path] = value
            if value.reason == NOT_KNOWN:
                left.setdefault("its role is not known", []).append(path)
            elif value.is_noted:
                left.setdefault(value.reason, []).append(path)
            continue
        key = value if isinstance(value, str) else id(value)
        if key not in checked:
            checked[key] = _parse_initializer(path, value)
        by_path[path] = checked[key]
    notes = rules.notes
    for reason, paths in left.items():
        notes += (f"Left, since {reason}: {quote_names(paths)}.",)
    return Instructions(by_path, notes, rules.reasons)


def _apply_dict(rules: RuleDict, weights: Sequence[ModelWeight]) -> WeightRules:
    """Take for each weight the value of the first rule that matches it.

    Raises:
        TypeError: If a condition or a value has the wrong type.
        ValueError: If a rule matches no weight, or its value is not an initializer or has a seed.
    """
    values: dict[Condition, InitializerLike | Left] = {}
    for condition, value in rules.items():
        values[condition] = Left(BY_RULE, is_final=True)
        if not _is_condition(condition):
            raise TypeError(
                "`rules` must have patterns, layers, layer types or functions as keys. "
                f"Received: {show(condition)} as a key"
            )
        if value is not None:
            values[condition] = _parse_initializer(condition, value)

    def hint(condition: Condition) -> str:
        if not isinstance(condition, str):
            return ""
        for weight in weights:
            if any(type(layer).__name__ == condition for layer in weight.layers):
                return did_you_mean([f"the class {condition} itself"])
        return _name_computed(condition, weights) or suggest_paths(
            condition, [weight.shown for weight in weights]
        )

    weights_by_path = {weight.path: weight for weight in weights}
    matches = find_first_matches("rules", rules, weights_by_path, _is_match, hint=hint)
    by_path = {}
    paths_by_condition: dict[Condition, list[str]] = {}
    for path, (condition, _) in matches.items():
        by_path[path] = values[condition]
        paths_by_condition.setdefault(condition, []).append(weights_by_path[path].shown)
    notes = []
    for condition, paths in paths_by_condition.items():
        if isinstance(condition, str) and rules[condition] is not None:
            notes += _note_other_names(condition, paths)
    notes += _note_drawn_vectors(matches, values, weights_by_path)
    return WeightRules(by_path, tuple(notes))


def _name_computed(condition: str, weights: Sequence[ModelWeight]) -> str:
    """Say that torch computes the weight that a pattern names from parameters, if it does so."""
    for weight in weights:
        if isinstance(weight.layer, keras.layers.TorchModuleWrapper):
            used = find_computed_weight(weight)
            if used is not None and match_pattern(condition, (used.path,)):
                text = (
                    f", since torch computes {used.path!r} from {quote_names(used.parameters)}. "
                    "Draw it before the module is parametrized"
                )
                others = f". A rule may draw {quote_names(used.others)}" if used.others else ""
                return text + others
    return ""


def _note_other_names(condition: str, paths: Sequence[str]) -> list[str]:
    # `"*kernel"` also matches a `recurrent_kernel`, which a reader may not expect.
    _, _, ending = re.split("[/.]", condition)[-1].rpartition("*")
    counts = Counter(re.split("[/.]", path)[-1] for path in paths)
    del counts[ending]
    if "*" not in condition or not ending or not counts:
        return []
    names = [f"{name} ({count})" for name, count in counts.items()]
    return [f"The rule {condition!r} is also for {', '.join(names)}."]


def _note_drawn_vectors(
    matches: Mapping[str, tuple[Condition, Any]],
    values: Mapping[Condition, Any],
    weights: Mapping[str, ModelWeight],
) -> list[str]:
    """Note the biases and scales that a rule draws at random by the law of a kernel.

    Args:
        matches: The condition that matches a weight, by its path.
        values: The initializer of each condition.
        weights: The weights by their paths.
    """
    suspects: dict[str, ModelWeight] = {}
    for path, (condition, _) in matches.items():
        if len(weights[path].shape) == 1 and _is_for_kernels(values[condition]):
            suspects[path] = weights[path]
    vectors = []
    for path, found in find_layer_initializers(list(suspects.values())).items():
        if isinstance(found.initializer, keras.initializers.Zeros | keras.initializers.Ones):
            vectors.append(path)
    if not vectors:
        return []
    one, several = "vector is", "vectors are"
    if all(path.endswith("bias") for path in vectors):
        one, several = "bias is", "biases are"
    kind = choose_verb(len(vectors), f"{one} drawn as a kernel", f"{several} drawn as kernels")
    names = summarize_names([weights[path].shown for path in vectors])
    return [f'{len(vectors)} {kind}: {names}. A rule for "*/kernel" leaves them.']


def _is_for_kernels(value: Any) -> bool:
    """Return whether an initializer scales by the fans of a kernel, and was given no axes."""
    if not isinstance(value, keras.initializers.Initializer):
        return False
    for nested in initializers_within(value):
        if isinstance(nested, keras.initializers.VarianceScaling):
            # Of versions of Keras before 3.15 those have no axes.
            axes = [getattr(nested, name, None) for name in ("input_axes", "output_axes")]
            if axes == [None, None]:
                return True
    return False


def _parse_initializer(condition: Any, value: InitializerLike) -> keras.initializers.Initializer:
    """Resolve the initializer of a rule, or raise an error if it is none or has a seed."""
    with contextlib.ExitStack() as stack:
        stack.callback(backend.kept_generators())  # a name makes one with a seed of its own
        initializer = check_initializer(f"rules[{condition!r}]", value)
    if has_seed(initializer.get_config()):
        raise ValueError(
            "`rules` must have initializers without seeds: each weight gets its own, derived from "
            f"`seed`. Received: {show(initializer)} for {show(condition)}"
        )
    return initializer


def _is_condition(condition: Any) -> bool:
    if isinstance(condition, type):
        return issubclass(condition, keras.Layer)
    return isinstance(condition, str) or callable(condition)


def _is_match(condition: Condition, weight: ModelWeight) -> bool:
    if isinstance(condition, str):
        # Also the path of a variable in Keras, "net/hidden/kernel", which has the model's name.
        is_variable_path = condition == weight.variable.path
        return is_variable_path or bool(match_pattern(condition, (weight.path, weight.shown)))
    if isinstance(condition, type | keras.Layer):
        # Not biases, for which an initializer for kernels is unsuitable.
        if len(weight.shape) < 2:
            return False
        if isinstance(condition, keras.Layer):
            return any(layer is condition for layer in weight.layers)
        return any(isinstance(layer, condition) for layer in weight.layers)
    return bool(condition(weight))
