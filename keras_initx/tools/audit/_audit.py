"""Audit weights: compare what is there with what should be. Nothing is drawn or changed."""

import contextlib
import functools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, TypeAlias, TypeGuard

import keras

from keras_initx._checks import accepts_arguments, check_number, check_root, summarize_names
from keras_initx._typing import RolesGiven, Shape
from keras_initx.backends._current import backend
from keras_initx.checkpoints._checkpoint import checkpoint_paths, is_weights_path
from keras_initx.checkpoints._names_of_keras import have_equal_sizes
from keras_initx.inspection._inventory import Inventory
from keras_initx.inspection._pairing import Pairs, pair_by_path_or_name
from keras_initx.recipes._parts import ENDS, Doubt
from keras_initx.recipes._recipe import Recipe
from keras_initx.recipes._roles import find_roles
from keras_initx.report._terminal import Verbose, show_progress, takes_verbose
from keras_initx.tools.audit._audit_report import OF_LAYERS, AuditReport, WeightAudit
from keras_initx.tools.audit._contract import (
    Contract,
    Drawn,
    compared,
    contract,
    contract_of,
    is_function,
    read_contract,
)
from keras_initx.tools.audit._equal_values import sets_of_one_draw
from keras_initx.tools.audit._expected import expected_by
from keras_initx.tools.audit._judgement import (
    Comparison,
    Expectation,
    Together,
    groups_of_one_name,
    judge,
    weights_with_equal_values,
)
from keras_initx.tools.audit._profile import NOT_FINITE, Profile
from keras_initx.tools.audit._property_test import Outcome
from keras_initx.tools.audit._rows import rows_like, rows_of
from keras_initx.tools.audit._subjects import Subject, opened, subjects_of, with_names_of
from keras_initx.tools.initialize._given import RulesOrPlan, resolve_rules
from keras_initx.tools.initialize._plan import InitializationPlan

# Which of both questions is asked: are weights as rules say, or as others are?


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
    if like is None and is_function(weights):
        name = _name_of(weights, "build")
        raise TypeError(
            f"`weights` must be a model or arrays; call the function: `audit({name}(), ...)`. With "
            f"`like` it is called as often as by `contract`. Received: {weights=!r}"
        )
    if is_function(rules) and accepts_arguments(rules) and not accepts_arguments(rules, weights):
        name = _name_of(rules, "build")
        raise TypeError(
            "`rules` must be rules, a recipe or a plan; pass a function that makes weights as "
            f"`like`: `audit(..., like={name})`. Received: {rules=!r}"
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


def contracts_of(weights: Like, like: Like) -> Asked:
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
        pairs = pair_by_path_or_name(own_places, places).worded("`like`", "`weights`")
    return Asked(ours, theirs, pairs, inventory)


@contextlib.contextmanager
def _opened(name: str, given: Like) -> Iterator[Contract | Inventory | Mapping[str, Any]]:
    """Open what is compared for the duration of the block: a contract, a model or arrays."""
    if isinstance(given, Contract):
        yield given
    elif _is_path_of_contract(given):
        yield read_contract(name, os.fspath(given))
    elif is_function(given):
        yield contract(given)
    else:
        with opened(name, given) as found:
            yield found


def _is_path_of_contract(given: Any) -> TypeGuard[str | os.PathLike[str]]:
    """Return whether this is a path, and not one of weights."""
    return isinstance(given, str | os.PathLike) and not is_weights_path(os.fspath(given))


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


@takes_verbose
def audit(
    weights: Like,
    rules: RulesOrPlan | None = None,
    *,
    like: Like | None = None,
    seed: int | None = None,
    roles: RolesGiven | None = None,
    alpha: float = 0.01,
    verbose: Verbose = "auto",
) -> AuditReport:
    """Compare weights with what they should be when training starts, or with other weights.

    There are two questions. With `rules`, or without arguments, each weight is compared with the
    law of the initializer that it should come from: constants, mean, standard deviation, bounds,
    the shape of the distribution, the connections of `Sparse`, the orthonormality of `Orthogonal`,
    the biases of gates. Parts and slices along each axis, such as units, are compared with the law
    too. Equal weights that should be independent are reported, and equal slices of one weight, also
    with opposite signs. Weights of initializers whose law is not known, quantized weights and
    integers are listed as not compared.

    With `like`, the law of each weight is measured from others: the report says which weights are
    no longer drawn as they were. Weights of one name in several layers are judged together too.
    Those that are new, missing or have another shape or dtype are listed. The summary names those
    that have too few values for a factor of 1.2 to be seen.

    The tests are corrected for their number (Holm, 1979): the probability of any alarm is at most
    `alpha` for a model of any size. Deviations below 1 % are not reported, in 16 bits below 2 %.

    One weight is in memory at a time, beside those of a model. Of large ones, a sample of 65,536
    values is compared with the distribution; moments are those of at most 262,144 values, zeros and
    extremes those of all.

    Args:
        weights: A built Keras model; the path of a saved model, of a file of arrays
            (`.safetensors`, `.npz`, `.weights.h5`), of the index of several files,
            `model.safetensors.index.json`, or of a folder with one or with `.safetensors` files; a
            list of files of arrays; or a dict from names to arrays. Of names for one array in
            memory, as of a tied table, the first is compared. With `like` also a contract, its path
            or the function that `contract` takes.
        rules: Are the weights as these say? For a model, rules or a recipe, as for `initialize`.
            By default each weight is compared with what its layer declares: its initializer, called
            as the layer does. Weights that no rule matches are compared with that too. For a model
            or arrays, a plan of `initialize`, as itself or as the path of a file that its `save`
            wrote: then each weight is compared with its line, and must have the very values of the
            plan. The names of arrays must be its paths, with `/` or `.`.
        like: Are the weights as these are? A `contract` or its path; other weights, in all forms of
            `weights`; or a function that makes them, of which a contract is made. Each weight is
            compared with the one of its name, with `/` or `.`; layers of two models that have
            automatic names are the same by their places in the order in which Keras saves, or are
            left with a reason. Beside a model, names may also be
            those of its own `.weights.h5`, or of its variables, as in `{weight.path: array}`.
        seed: The seed that was given to `initialize`. Then each weight must have the very values
            that this seed gives. A plan has its own.
        roles: For a recipe, what it cannot know of weights, as for `initialize`.
        alpha: The probability of any alarm where all weights are as they should be, between 0
            and 1.
        verbose: Whether to show progress: `"auto"` on a terminal, unless
            `keras.config.disable_interactive_logging()` was called; 1 always; 0 never.

    Returns:
        An `AuditReport`.

    Raises:
        TypeError: If an argument has the wrong type, or is one of the other question.
        ValueError: If an argument is out of range, both `rules` and `like` are given, the model is
            not built, a file cannot be read, a rule matches no weight, a weight of a plan is
            missing or has another shape, or arrays are to be compared with rules.

    Example:
        >>> import keras_initx
        >>> model = keras.Sequential([
        ...     keras.Input((64,)),
        ...     keras.layers.Dense(32, "relu", name="hidden"),
        ...     keras.layers.Dense(10, name="logits"),
        ... ])
        >>> audit(model).ok
        True
        >>> report = audit(model, {"hidden/kernel": "initx.he_normal"})
        >>> [(weight.path, weight.verdict) for weight in report.problems]
        [('hidden/kernel', 'scale')]
        >>> audit(model, like=keras.models.clone_model(model)).ok
        True

    References:
        Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of
        Statistics 6 (1979). Box, "Non-normality and tests on variances", Biometrika 40 (1953).
    """
    check_number("alpha", alpha, positive=True)
    if alpha >= 1:
        raise ValueError(f"`alpha` must be between 0 and 1. Received: {alpha=!r}")
    if seed is not None:
        check_root("seed", seed)
    check_question(weights, rules, like)
    if like is None:
        return _audit_by(weights, rules, seed, roles, alpha)
    for name, value in (("roles", roles), ("seed", seed)):
        if value is not None:
            raise ValueError(f"`{name}` must be `None` with `like`. Received: {name}={value!r}")
    return _audit_like(weights, like, alpha)


def _audit_by(
    weights: Any,
    rules: RulesOrPlan | None,
    seed: int | None,
    roles: RolesGiven | None,
    alpha: float,
) -> AuditReport:
    """Compare weights with what rules, a plan or their layers say."""
    given = resolve_rules(rules, seed)
    comparisons = []
    alike: dict[bytes, list[str]] = {}
    # Copies of initializers without a seed draw one.
    with (
        backend.globals_preserved(),
        expected_by(weights, given, seed, roles, alpha) as expected,
        show_progress("Auditing", len(expected.weights), "weights") as advance,
    ):
        for subject, expectation in expected.weights:
            comparison = _tested(subject, expectation)
            comparisons.append(comparison)
            if comparison.sample:
                alike.setdefault(comparison.sample, []).append(subject.path)
            advance(1)
    drawn = [(one.path, one.found) for one in comparisons if one.sample]
    found = Together(
        [paths for paths in alike.values() if len(paths) > 1],
        sets_of_one_draw(drawn),
    )
    joint = list(weights_with_equal_values(comparisons, found, Together(), len(comparisons)))
    depths = functools.partial(_depths, expected.inventory)
    rows = rows_of(judge(comparisons, joint, [], alpha), depths)
    notes = [*_notes_on(expected.inventory), *expected.notes]
    return AuditReport(rows, source_of_rules(rules, given), notes)


def _tested(subject: Subject, expectation: Expectation) -> Comparison:
    """Return a weight that was tested; what is trained must be finite, whoever says otherwise."""
    lost = subject.lost()
    if not lost:
        return _with_labels(subject, expectation.test(subject))
    not_known = Profile("unknown", NOT_FINITE)
    outcomes = (Outcome("not finite", lost),)
    return Comparison(subject, expectation, not_known, not_known, outcomes)


def _with_labels(subject: Subject, comparison: Comparison) -> Comparison:
    """Return a comparison that says where labels part equal units in training: in a last layer."""
    of_units = f"along axis {len(subject.shape) - 1} equal"
    outcomes = []
    for outcome in comparison.outcomes:
        are_units = outcome.verdict == "equal slices" and of_units in outcome.evidence
        if are_units and subject.makes_output():
            evidence = f"{outcome.evidence}; they make an output, where labels part them"
            outcome = replace(outcome, evidence=evidence)
        outcomes.append(outcome)
    return replace(comparison, outcomes=tuple(outcomes))


def _audit_like(weights: Like, like: Like, alpha: float) -> AuditReport:
    """Compare weights with others."""
    found, expected, pairs, inventory = contracts_of(weights, like)
    comparisons = compared(found, expected, pairs.names)
    now = Together(found.equal, found.one_draw)
    before = Together(expected.equal, expected.one_draw)
    joint = [*weights_with_equal_values(comparisons, now, before, len(found.rows))]
    judged = judge(comparisons, joint, groups_of_one_name(comparisons, now, before), alpha)
    depths = functools.partial(_depths, inventory)
    if is_function(weights):
        depths = functools.partial(_depths_of_function, weights)
    rows = rows_like(judged, found, expected, pairs.reasons, depths)
    notes = [*_note_on_names(rows), *_notes_on_pairs(pairs), *_notes_on(inventory)]
    return AuditReport(rows, source_of_like(like), notes)


def _note_on_names(rows: Sequence[WeightAudit]) -> list[str]:
    """Return a sentence if weights are perhaps the same under other names, or none."""
    shapes: dict[str, list[Shape]] = {"new": [], "missing": []}
    for row in rows:
        shapes.get(row.verdict, []).append(row.shape)
    if not have_equal_sizes(shapes["new"], shapes["missing"]):
        return []
    return ["What is new and what is missing have the same sizes: perhaps only their names differ."]


def _notes_on_pairs(pairs: Pairs) -> list[str]:
    """Return a sentence for each note, on all weights that it is about, and the remarks."""
    paths: dict[str, list[str]] = {}
    for path, note in pairs.notes.items():
        paths.setdefault(note, []).append(path)
    notes = [f"{summarize_names(noted, shown=1)}: {note}." for note, noted in paths.items()]
    return [*notes, *pairs.remarks]


def _depths(inventory: Inventory | None) -> dict[str, int]:
    """Return the number of branches on the way of each kernel that ends one, by its path.

    They are those that recipes count. Where it is not known, nothing is.

    Args:
        inventory: What the model holds; `None` of arrays.
    """
    if inventory is None:
        return {}
    roles = find_roles(inventory)
    if Doubt.ENDS in roles.doubts:
        return {}
    ends = [part for part in roles.parts if part.role.name in ENDS and part.role.branches]
    return {part.weight.path: part.role.branches for part in ends}


def _depths_of_function(build: Callable[[], Any]) -> dict[str, int]:
    """Return the same of the model that a function makes."""
    with backend.globals_preserved(), opened("weights()", build()) as found:
        return _depths(found if isinstance(found, Inventory) else None)


def _notes_on(inventory: Inventory | None) -> list[str]:
    """Return which layers are not built, if weights are those of a model."""
    return [] if inventory is None else inventory.note_on_unbuilt()
