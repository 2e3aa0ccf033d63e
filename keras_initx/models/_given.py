"""What the user says of the weights of a model: rules, a recipe, a plan or a report."""

import contextlib
import functools
import os
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import keras

from keras_initx._checks import quoted, similar_paths, truncated
from keras_initx._suggestions import did_you_mean
from keras_initx._typing import InitializerLike, RolesGiven
from keras_initx.backends._current import backend
from keras_initx.diagnostics._report import DiagnosisReport
from keras_initx.initializers._composition import check_initializer, ids_like
from keras_initx.initializers._seeds import has_seed
from keras_initx.models._bound import description
from keras_initx.models._paths import shown_paths
from keras_initx.models._plan import InitializationPlan, Said, read_plan
from keras_initx.recipes._named import is_recipe, recipe_of, recipes_like
from keras_initx.recipes._noted_rules import NOT_KNOWN, OwnPattern, findings_in
from keras_initx.rendering._text import counted, listed
from keras_initx.structure._patterns import first_matches, matches_path
from keras_initx.structure._weights import ModelWeight, is_frozen

# A pattern for paths, a layer type, or a predicate on a weight.
Condition: TypeAlias = str | type[keras.Layer] | Callable[[ModelWeight], bool]
# Maps conditions to initializers, or to `None` for weights that are left unchanged.
Rules: TypeAlias = Mapping[Condition, InitializerLike | None]
# Rules, or what makes them for a model: a recipe, a function of a user, or a recipe's name.
RulesOrRecipe: TypeAlias = Rules | Callable[[Any], Rules] | str
# What `initialize` and `audit` take: also a plan, by itself or as the path of a file.
RulesOrPlan: TypeAlias = RulesOrRecipe | InitializationPlan | os.PathLike[str]


@dataclass(frozen=True)
class Instructions:
    """What the user says of the weights of a model.

    Attributes:
        by_path: What is said of a weight. Where nothing is, its layer decides.
        notes: What a reader of it may not expect, as lines of text.
        plan: The plan, if one is given.
    """

    by_path: Mapping[str, Said]
    notes: tuple[str, ...] = ()
    plan: InitializationPlan | None = None


def as_rules(
    name: str,
    given: Any,
    model: keras.Model,
    weights: Sequence[ModelWeight],
    *,
    seed: int | None = None,
    roles: RolesGiven | None = None,
) -> Instructions:
    """Return what the user says of the weights of a model.

    Args:
        name: Name of the argument in error messages.
        given: Rules, a recipe or its name, a plan or its path, a report of `diagnose`, or `None`.
        model: A built model.
        weights: Its weights.
        seed: The argument of this name, which must be `None` with a plan.
        roles: Patterns of weights by their roles, which only a recipe takes.

    Raises:
        TypeError: If `given` is none of these, or a rule has the wrong type.
        ValueError: If a text is neither the name of a recipe nor the path of a plan, the recipe
            refuses `model` or `roles`, a rule does not suit the model, or the report is that of
            another.
    """
    if roles is not None and not is_recipe(recipe_of(given) if isinstance(given, str) else given):
        raise ValueError(
            "`roles` must be `None` without a recipe of this package, by itself or by its name. "
            f"Received: {roles=!r} with {given!r}"
        )
    plan = plan_of(name, given, seed)
    if plan is not None:
        return _of_plan(plan)
    if isinstance(given, DiagnosisReport):
        _check_measured(weights, given)
        return _of_report(given, weights)
    return _of_rules(_rules_of(name, given, model, roles), weights)


def plan_of(name: str, given: Any, seed: int | None) -> InitializationPlan | None:
    """Return a plan, also the one in a file, or `None` if what is given is none.

    Args:
        name: Name of the argument in error messages.
        given: The plan or its path, which is any text but the name of a recipe; or anything else.
        seed: The argument of this name, which must be `None` with a plan.
    """
    is_text = isinstance(given, str) and recipe_of(given) is None
    if not is_text and not isinstance(given, InitializationPlan | os.PathLike):
        return None
    is_name = is_text and not os.path.isfile(given)
    if is_name and (_is_initializer(given) or ids_like(given) or recipes_like(given)):
        raise ValueError(_no_rules(name, given))
    plan = given if isinstance(given, InitializationPlan) else read_plan(name, os.fspath(given))
    if seed is not None:
        raise ValueError(
            f"`seed` must be `None` with a plan, which has its own seeds. Received: {seed=!r}"
        )
    return plan


def _of_plan(plan: InitializationPlan) -> Instructions:
    by_path = {row.path: plan._said.get(row.path, Said(None, row.reason)) for row in plan.rows}
    return Instructions(by_path, plan.notes, plan)


def _rules_of(name: str, given: Any, model: keras.Model, roles: RolesGiven | None) -> Rules | None:
    """Return rules, or those of a recipe for a model."""
    recipe: Any = recipe_of(given) if isinstance(given, str) else given
    if roles is not None:
        recipe = functools.partial(recipe, roles=roles)
    # These can be called too, but not with a model.
    others = type | keras.initializers.Initializer | keras.Layer
    if callable(recipe) and not isinstance(recipe, others):
        recipe = recipe(model)
    if recipe is not None and not isinstance(recipe, Mapping):
        raise TypeError(
            f"`{name}` must be a dict from conditions to initializers, or a recipe, which returns "
            f"one. Received: {name}={given!r}"
        )
    return recipe


def _of_rules(rules: Rules | None, weights: Sequence[ModelWeight]) -> Instructions:
    by_path = {
        path: Said(initializer, "by rule")
        for path, initializer in _initializers_by_rule(rules or {}, weights).items()
    }
    unknown = {path for found in findings_in(rules) for path in found.left}
    left = [one.path for one in weights if one.path in unknown and one.path not in by_path]
    by_path |= dict.fromkeys(left, Said(None, NOT_KNOWN))
    return Instructions(by_path, _notes_on(rules or {}, weights, left))


def _check_measured(weights: Sequence[ModelWeight], report: DiagnosisReport) -> None:
    """Raise `ValueError` if a report is that of a model with other layers."""
    measured = set()
    for layer in report.rows:
        for row in layer.weights:
            measured.add(_layer_of(row.path))
    layers = set()
    others = set()  # that a report may lack: it has no statistics that are single numbers
    for own in weights:
        if own.shape or own.variable.trainable:
            layers.add(_layer_of(own.path))
        else:
            others.add(_layer_of(own.path))
    problems = [f"the model has no {path!r}" for path in sorted(measured - layers - others)]
    problems += [f"the report has no {path!r}" for path in sorted(layers - measured)]
    if problems:
        raise ValueError(
            "`rules` must be a report of a model with the layers of `model`. "
            f"Received: rules={report!r}; {truncated(problems, '; ')}"
        )


def _layer_of(path: str) -> str:
    """Return the path of the layer of a weight."""
    layer, _, _ = path.rpartition("/")
    return layer


def _of_report(report: DiagnosisReport, weights: Sequence[ModelWeight]) -> Instructions:
    """Return the remedy of the first problem of a report that other weights cure."""
    rules: dict[Condition, InitializerLike | None] = {}
    notes = []
    safe = [one for one in report.verdicts if one.level == "note" and one.remedy.is_safe]
    for verdict in (*report.problems, *safe):
        remedy = verdict.remedy
        if not remedy.weights:
            notes.append(f"Left to you, for {verdict.problem!r}: {remedy}.")
        elif rules:
            notes.append(f"For the next diagnosis, if it finds {verdict.problem!r}: {remedy}.")
        else:
            rules.update(remedy.weights)
            drawn = Counter(description(check_initializer("rules", one)) for one in rules.values())
            texts = [f"{text} in {counted(count, 'weight')}" for text, count in drawn.items()]
            notes.append(f"Applied, for {verdict.problem!r}: {listed(texts)}.")
    if not rules:
        why = "no remedy has rules" if notes else "the report has no problem"
        notes.insert(0, f"Nothing is applied: {why}.")
    drawn_by = _initializers_by_rule(rules, weights)
    by_path = {}
    for weight in weights:
        reason = "frozen" if is_frozen(weight) else "in no remedy"
        by_path[weight.path] = Said(drawn_by.get(weight.path), reason)
    return Instructions(by_path, tuple(notes))


def _no_rules(name: str, given: str) -> str:
    """Return the error message for a text that is no name of a recipe."""
    required = f"`{name}` must be a dict from conditions to initializers"
    meant = [given] if _is_initializer(given) else ids_like(given)
    if meant:
        required += f", such as {{'*kernel': {meant[0]!r}}}"
    similar = did_you_mean(map(repr, recipes_like(given)))
    return f"{required}, or a recipe. Received: {name}={given!r}{similar}"


def _is_initializer(text: str) -> bool:
    """Return whether Keras knows an initializer of this name."""
    try:
        return callable(keras.initializers.get(text))
    except ValueError:
        return False


def _initializers_by_rule(
    rules: Rules, weights: Sequence[ModelWeight]
) -> dict[str, keras.initializers.Initializer | None]:
    """Return the value of the first matching rule, by the path of each weight that a rule matches.

    Raises:
        TypeError: If a condition or a value has the wrong type.
        ValueError: If a rule matches no weight, or its value is not an initializer or has a seed.
    """
    initializers: dict[Condition, keras.initializers.Initializer | None] = {}
    for condition, value in rules.items():
        if isinstance(condition, OwnPattern):
            value = rules.get(str(condition), value)  # that of a user with the same pattern
        with contextlib.ExitStack() as stack:
            stack.callback(backend.kept_generators())  # a name makes one with a seed of its own
            initializers[condition] = _checked(condition, value)

    shown = shown_paths(weights)

    def matches(condition: Condition, weight: ModelWeight) -> bool:
        return _matches(condition, weight, shown[weight.path])

    def hint(condition: Condition) -> str:
        if not isinstance(condition, str):
            return ""
        types = {type(layer).__name__ for weight in weights for layer in weight.layers}
        if condition in types:
            return did_you_mean([f"the class {condition} itself"])
        return similar_paths(condition, list(shown.values()))

    by_path = {weight.path: weight for weight in weights}
    found = first_matches("rules", rules, by_path, matches, hint=hint)
    return {path: initializers[condition] for path, (condition, _) in found.items()}


def _notes_on(rules: Rules, weights: Sequence[ModelWeight], left: Sequence[str]) -> tuple[str, ...]:
    """Return what a reader of rules may not expect of them, as lines of text.

    That is what a recipe has recognized, what it leaves, and the other names that a pattern
    matches: `"*kernel"` matches a `recurrent_kernel`.

    Args:
        rules: Rules.
        weights: The weights of the model.
        left: The paths of those that a recipe leaves.
    """
    notes = [note for found in findings_in(rules) for note in found.notes]
    if left:
        notes.append(f"Left, since it is not known what it is for: {quoted(left)}.")
    shown = shown_paths(weights)
    seen: set[str] = set()
    for condition, value in rules.items():
        if not isinstance(condition, str):
            continue
        _, _, ending = re.split("[/.]", condition)[-1].rpartition("*")
        others: Counter[str] = Counter()
        for weight in weights:
            path = shown[weight.path]
            if weight.path not in seen and _matches(condition, weight, path):
                seen.add(weight.path)
                others[re.split("[/.]", path)[-1]] += 1
        del others[ending]
        if "*" in condition and ending and others and value is not None:
            names = [f"{name} ({count})" for name, count in others.items()]
            notes.append(f"The rule {condition!r} is also for {', '.join(names)}.")
    return tuple(notes)


def _checked(
    condition: Any, value: InitializerLike | None
) -> keras.initializers.Initializer | None:
    """Return the initializer of a rule."""
    if not _is_condition(condition):
        raise TypeError(
            "`rules` must have patterns, layer types or functions as keys. "
            f"Received: {condition!r} as a key"
        )
    if value is None:
        return None
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
    shown = shown_paths(weights)
    return any(_matches(condition, weight, shown[weight.path]) for weight in weights)


def _matches(condition: Condition, weight: ModelWeight, shown: str) -> bool:
    """Return whether a condition matches a weight, whose path is also shown in another form."""
    if isinstance(condition, str):
        return matches_path(condition, weight.path) or matches_path(condition, shown)
    if isinstance(condition, type):
        # Not biases, for which an initializer for kernels is unsuitable.
        if len(weight.shape) < 2:
            return False
        return any(isinstance(layer, condition) for layer in weight.layers)
    return bool(condition(weight))
