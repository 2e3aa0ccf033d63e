"""`audit`: compare weights with rules, or with other weights. Nothing is changed.

Both questions have one form: each weight, a `Subject` or a line of a contract, is tested against an
`Expectation`. The `Comparison`s are judged together, and become the rows of an `AuditReport`.

    with rules   open_expectations: what each weight should be   -> judge -> make_rows
    with like    _pair_contracts: both sides, measured and paired -> judge -> make_all_rows

A *law* is the distribution that an initializer draws from. A *draw* is one array of random values;
several draws of a weight show its random part. Weights are *one draw* if one follows from the
other: it is equal but for a factor, or is its beginning.
"""

import contextlib
import functools
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

import keras

from keras_initx._checks import accepts_arguments, check_root, summarize_names
from keras_initx._received import show
from keras_initx._signatures import shorten_signature
from keras_initx.backends._current import backend
from keras_initx.checkpoints._checkpoint import checkpoint_paths, is_weights_path
from keras_initx.checkpoints._sources import is_torch_module
from keras_initx.inspection._inventory import Inventory
from keras_initx.inspection._pairing import Pairs, pair_by_path_or_name
from keras_initx.recipes._parts import ENDS, Doubt
from keras_initx.recipes._recipe import Recipe
from keras_initx.recipes._roles import find_roles
from keras_initx.report._terminal import Verbose, show_progress, takes_verbose
from keras_initx.tools.audit._audit_report import LAYERS_SAY, AuditReport
from keras_initx.tools.audit._contract import (
    Contract,
    ContractSource,
    compare_contracts,
    contract,
    is_build_function,
    is_contract_file,
    measure_one_draw,
    read_contract,
)
from keras_initx.tools.audit._equal_values import group_one_draw
from keras_initx.tools.audit._judgement import (
    Comparison,
    Expectation,
    SharedValues,
    find_changed_equality,
    judge,
)
from keras_initx.tools.audit._profile import NOT_FINITE, Profile
from keras_initx.tools.audit._property_test import ALPHA, Outcome
from keras_initx.tools.audit._rows import make_all_rows, make_rows
from keras_initx.tools.audit._rule_expectations import open_expectations
from keras_initx.tools.audit._subjects import (
    Subject,
    key_by_paths,
    key_module_by_paths,
    list_subjects,
    open_weights,
)
from keras_initx.tools.initialize._plan import InitializationPlan
from keras_initx.tools.initialize._rules import RulesOrPlan, resolve_rules

# What `like` takes: a contract, or what one is made from.
Like: TypeAlias = Contract | ContractSource


class _Side(NamedTuple):
    """One of the two sides of a comparison, while it is open.

    Attributes:
        content: A contract, the weights and layers of a model, or arrays by name.
        text: The words for the source of the expected weights: `"in the contract"`.
        is_module: Whether the arrays are those of a module of torch.
    """

    content: Contract | Inventory | Mapping[str, Any]
    text: str
    is_module: bool = False

    def key_by_paths(self, inventory: Inventory) -> tuple[dict[str, Any], Pairs]:
        """Call the arrays by the paths of the weights of a model."""
        assert isinstance(self.content, Mapping)
        if self.is_module:
            return key_module_by_paths(inventory, self.content)
        return key_by_paths(inventory, self.content)


class _PairedContracts(NamedTuple):
    """The contracts of both sides.

    Attributes:
        ours: The contract of the audited weights.
        theirs: The contract of the expected weights.
        pairs: Our weights, each with its counterpart among theirs.
        inventory: The weights and layers of the audited model, `None` without a model.
        source: The words for the source of the expected weights, see `AuditReport`.
    """

    ours: Contract
    theirs: Contract
    pairs: Pairs
    inventory: Inventory | None
    source: str


def _pair_contracts(weights: Like, like: Like) -> _PairedContracts:
    """Measure both sides, and pair their weights.

    If one side is a model and the other has arrays, the arrays get the paths of its weights.
    """
    with _open_side("weights", weights) as our_side, _open_side("like", like) as their_side:
        ours, theirs = our_side.content, their_side.content
        inventory = ours if isinstance(ours, Inventory) else None
        pairs = None
        if isinstance(ours, Inventory) and isinstance(theirs, Mapping):
            theirs, pairs = their_side.key_by_paths(ours)
            pairs = pairs.worded("`like`", "`weights`")
        elif isinstance(ours, Mapping) and isinstance(theirs, Inventory):
            ours, pairs = our_side.key_by_paths(theirs)
            pairs = pairs.worded("`weights`", "`like`")
        our_contract, their_contract = _measure(ours), _measure(theirs)
    if pairs is None:
        our_paths = {row.path: row.place for row in our_contract.rows}
        their_paths = {row.path: row.place for row in their_contract.rows}
        pairs = pair_by_path_or_name(our_paths, their_paths).worded("`like`", "`weights`")
    return _PairedContracts(our_contract, their_contract, pairs, inventory, their_side.text)


@contextlib.contextmanager
def _open_side(name: str, source: Like) -> Iterator[_Side]:
    """Open one side for the duration of the block.

    Args:
        name: Name of the argument in error messages.
        source: A contract or its path; a function that makes weights; or weights, see `audit`.
    """
    if isinstance(source, Contract):
        yield _Side(source, "in the contract")
    elif isinstance(source, str | os.PathLike) and not is_weights_path(os.fspath(source)):
        yield _Side(read_contract(name, os.fspath(source)), "in the contract")
    elif is_build_function(source):
        function = _function_name(source, "the function")
        yield _Side(contract(source), f"{function} makes them")
    else:
        with open_weights(name, source) as content:
            text = "in the other arrays"
            paths = checkpoint_paths(source)
            if paths is not None:
                others = " and others" if len(paths) > 1 else ""
                text = f"in {os.path.basename(paths[0].rstrip(os.sep))}{others}"
            elif isinstance(source, keras.Model):
                text = "in the other model"
            elif is_torch_module(source):
                text = "in the module"
            yield _Side(content, text, is_torch_module(source))


def _measure(content: Contract | Inventory | Mapping[str, Any]) -> Contract:
    return content if isinstance(content, Contract) else measure_one_draw(list_subjects(content))


def _check_without_like(weights: Any, rules: Any) -> None:
    """Raise an error if an argument only makes sense with `like`."""
    if isinstance(rules, Contract):
        raise TypeError(
            "`rules` must be rules, a recipe or a plan. This is a contract: pass it as `like`. "
            f"Received: rules={show(rules)}"
        )
    if is_build_function(weights):
        name = _function_name(weights, "build")
        raise TypeError(
            f"`weights` must be a model or arrays. Call the function: `audit({name}(), ...)`. Only "
            "with `like` does `audit` call it, as `contract` does. "
            f"Received: weights={show(weights)}"
        )
    _check_are_no_weights(weights, rules)
    if isinstance(weights, Contract):
        raise TypeError(
            "`weights` must be a model or arrays, because rules say nothing of a contract. To "
            "compare the contract with other weights, pass these as `like`. "
            f"Received: weights={show(weights)}"
        )


def _check_are_no_weights(weights: Any, rules: Any) -> None:
    """Raise an error if rules are other weights, or make or describe them, which `like` takes."""
    if (
        not is_torch_module(rules)
        and is_build_function(rules)
        and accepts_arguments(rules)
        and not accepts_arguments(rules, weights)
    ):
        name = _function_name(rules, "build")
        raise TypeError(
            "`rules` must be rules, a recipe or a plan. Pass a function that makes weights as "
            f"`like`: `audit(..., like={name})`. Received: rules={show(rules)}"
        )
    if isinstance(rules, str | os.PathLike) and is_contract_file(os.fspath(rules)):
        raise ValueError(
            '`rules` must be rules, a recipe or a plan. This file has the "format": "keras_initx '
            'contract". Pass it as `like`: `audit(..., like=...)`. '
            f"Received: rules={show(rules)}"
        )
    if _are_weights(rules):
        raise TypeError(
            "`rules` must be rules, a recipe or a plan. Pass other weights as `like`: "
            f"`audit(..., like=...)`. Received: rules={show(rules)}"
        )


def _are_weights(rules: Any) -> bool:
    """Return whether rules are what `like` takes: a model, a module, files, or a dict of arrays."""
    if isinstance(rules, Mapping):
        return bool(rules) and all(getattr(value, "shape", ()) for value in rules.values())
    if isinstance(rules, str | os.PathLike):
        return is_weights_path(os.fspath(rules))
    if isinstance(rules, list | tuple):
        return bool(rules) and all(
            isinstance(path, str | os.PathLike) and is_weights_path(os.fspath(path))
            for path in rules
        )
    return isinstance(rules, keras.Model) or is_torch_module(rules)


def _describe_rules(rules: RulesOrPlan | None, resolved: Any) -> str:
    """Name the source of the expected weights, see `AuditReport.source`.

    Args:
        rules: The argument of `audit`.
        resolved: The same, with the recipe in place of a name, and the plan in place of a path.
    """
    if rules is None:
        return LAYERS_SAY
    who = ""
    if isinstance(resolved, InitializationPlan):
        who = "the plan"
    elif isinstance(rules, str):
        who = rules
    elif isinstance(rules, Recipe):
        who = rules.name
    elif callable(rules):
        who = _function_name(rules, "the recipe")
    return f"{who} says" if who else "the rules say"


def _function_name(function: Any, default: str) -> str:
    name: str = getattr(function, "__name__", "")
    return name if name.isidentifier() else default  # not "<lambda>"


@shorten_signature
@takes_verbose
def audit(
    weights: Like,
    rules: RulesOrPlan | None = None,
    *,
    like: Like | None = None,
    seed: int | None = None,
    verbose: Verbose = "auto",
) -> AuditReport:
    """Compare weights with the values expected at the start of training, or with other weights.

    Use it to see whether weights start as you intend, or whether new code or libraries still draw
    them as before. Nothing is changed.

    - With `rules`, or without arguments, `audit` compares each weight with the law of its
      initializer: constants, moments, bounds, shape, zeros, orthonormality. It also compares parts
      and slices, such as gates and units.
    - With `like`, `audit` measures the law of each weight from other weights. It also reports
      weights that are new, missing, or have another shape or dtype.
    - Both report weights and slices that are equal and should be independent.

    For a model of any size, the probability of any false alarm is at most 1 %. Deviations below
    1 %, in 16 bits below 2 %, are not reported. Weights of unknown law are listed as not compared.

    Args:
        weights: The weights to audit, a `Like`. One of:

            - a built Keras model, or the path of a saved one;
            - a module of torch: next to a model, its arrays get the names and the order of axes of
              Keras, as far as `load_pretrained` finds them without `names`;
            - the path of a file of arrays (`.safetensors`, `.npz`, `.weights.h5`), of an index
              (`.index.json`) or of a folder, or a list of files;
            - a dict from names to arrays;
            - with `like`, also a contract, its path, or a function that makes weights.
        rules: The rules that the weights should follow, a `RulesOrPlan`. One of:

            - `None`: the initializer of each layer, called as the layer does;
            - rules or a recipe, see `initialize`, for a model;
            - a plan of `initialize`, or the path of a saved one.
        like: The weights to compare with, a `Like` too. One of:

            - a `contract`, or its path;
            - other weights, in all forms of `weights`;
            - a function that makes weights. `audit` makes a contract of it.
        seed: The seed that you passed to `initialize`. Then each weight must have exactly the
            values of this seed. A plan has its own seed.
        verbose: Whether to show progress: `"auto"` on a terminal, unless you called
            `keras.config.disable_interactive_logging()`; 1 always; 0 never.

    Returns:
        An `AuditReport`.

    Raises:
        TypeError: If an argument has the wrong type, or only makes sense without or with `like`.
        ValueError: If an argument is out of range, you pass both `rules` and `like`, the model is
            not built, a file cannot be read, a rule matches no weight, a weight of a plan is
            missing or has another shape, or `rules` are not a plan and `weights` are arrays.

    Note:
        A weight without a matching rule is compared with the initializer of its layer. With a plan,
        each weight must have exactly the values of its line. Then the names of arrays must be the
        paths of the plan, with `/` or `.`.

        With `like`, each weight is compared with the weight of the same name, with `/` or `.`.
        Layers with automatic names are paired by the order in a file of Keras, or not compared for
        a stated reason. If one side is a model, you may also use the names of its own
        `.weights.h5`, or of its variables, `{weight.path: array}`. The summary names weights that
        have too few values to show a factor of 1.2.

        One weight at a time is in memory, in addition to the weights of a model. From a large
        weight, `audit` compares 65,536 values with the distribution. Moments use at most 262,144
        values, zeros and extremes use all. If several names have one array in memory, for example a
        tied table, the first is compared.

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
        >>> [(weight.path, weight.status) for weight in report.problems]
        [('hidden/kernel', 'scale')]
        >>> audit(model, like=keras.models.clone_model(model)).ok
        True

    References:
        Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of
        Statistics 6 (1979). Box, "Non-normality and tests on variances", Biometrika 40 (1953).

    See Also:
        `contract` measures how weights are drawn, and saves it. `initialize` draws weights by
        rules. `keras_initx.testing` raises in your tests if weights are off. The page "Audit
        weights" explains each status.
    """
    return audit_at(ALPHA, weights, rules, like=like, seed=seed)


def audit_at(
    alpha: float,
    weights: Like,
    rules: RulesOrPlan | None = None,
    *,
    like: Like | None = None,
    seed: int | None = None,
) -> AuditReport:
    """Run `audit` with another probability of any alarm if all weights are correct."""
    if seed is not None:
        check_root("seed", seed)
    if like is None:
        _check_without_like(weights, rules)
        return _audit_by_rules(weights, rules, seed, alpha)
    if rules is not None:
        raise ValueError(
            "Pass either `rules` or `like`, not both. "
            f"Received: rules={show(rules)}, like={show(like)}"
        )
    if seed is not None:
        raise ValueError(
            f"`seed` must be left out with `like`: only rules need it. Received: seed={show(seed)}"
        )
    return _audit_by_like(weights, like, alpha)


def _audit_by_rules(
    weights: Any, rules: RulesOrPlan | None, seed: int | None, alpha: float
) -> AuditReport:
    """Compare weights with rules, a plan or their layers."""
    resolved = resolve_rules(rules, seed)
    comparisons = []
    paths_by_sample: dict[bytes, list[str]] = {}
    # Copies of initializers without a seed draw one.
    with (
        backend.globals_preserved(),
        open_expectations(weights, resolved, seed) as expected,
        show_progress("Auditing", len(expected.weights), "weights") as advance,
    ):
        for subject, expectation in expected.weights:
            comparison = _test_subject(subject, expectation)
            comparisons.append(comparison)
            if comparison.sample:
                paths_by_sample.setdefault(comparison.sample, []).append(subject.path)
            advance(1)
    random = [(this.path, this.actual) for this in comparisons if this.sample]
    equal = [paths for paths in paths_by_sample.values() if len(paths) > 1]
    shared = SharedValues(equal, group_one_draw(random))
    equality = find_changed_equality(comparisons, shared, SharedValues(), len(comparisons))
    count_branches = functools.partial(_count_branches, expected.inventory)
    rows = make_rows(judge(comparisons, equality, alpha), count_branches)
    notes = [*_note_unbuilt(expected.inventory), *expected.notes]
    return AuditReport(rows, _describe_rules(rules, resolved), notes)


def _test_subject(subject: Subject, expectation: Expectation) -> Comparison:
    # What is trained must be finite, whatever its initializer makes.
    problem = subject.describe_not_finite()
    if not problem:
        return expectation.test(subject)
    not_known = Profile("unknown", NOT_FINITE)
    outcomes = (Outcome("not finite", problem),)
    return Comparison(subject, expectation, not_known, not_known, outcomes)


def _audit_by_like(weights: Like, like: Like, alpha: float) -> AuditReport:
    """Compare weights with others."""
    paired = _pair_contracts(weights, like)
    ours, theirs = paired.ours, paired.theirs
    comparisons = compare_contracts(ours, theirs, paired.pairs.names)
    our_shared = SharedValues(ours.equal, ours.one_draw)
    their_shared = SharedValues(theirs.equal, theirs.one_draw)
    equality = find_changed_equality(comparisons, our_shared, their_shared, len(ours.rows))
    judged = judge(comparisons, equality, alpha)
    count_branches = functools.partial(_count_branches, paired.inventory)
    if is_build_function(weights):
        count_branches = functools.partial(_build_and_count_branches, weights)
    rows = make_all_rows(judged, ours, theirs, paired.pairs.reasons, count_branches)
    notes = [*_note_pairs(paired.pairs), *_note_unbuilt(paired.inventory)]
    return AuditReport(rows, paired.source, notes, has_other_weights=True)


def _note_pairs(pairs: Pairs) -> list[str]:
    """Make a sentence from each note for all its weights, and add the remarks."""
    paths_by_note: dict[str, list[str]] = {}
    for path, note in pairs.notes.items():
        paths_by_note.setdefault(note, []).append(path)
    notes = []
    for note, paths in paths_by_note.items():
        notes.append(f"{summarize_names(paths, shown=1)}: {note}.")
    return [*notes, *pairs.remarks]


def _note_unbuilt(inventory: Inventory | None) -> list[str]:
    return [] if inventory is None else inventory.note_unbuilt()


def _count_branches(inventory: Inventory | None) -> dict[str, int]:
    """Return the number of branches on the way of each kernel that ends one, by its path.

    Recipes count branches in the same way. If it is unknown which kernels end a branch, the result
    is empty.

    Args:
        inventory: The weights and layers of the model; `None` for arrays.
    """
    if inventory is None:
        return {}
    roles = find_roles(inventory)
    if Doubt.ENDS in roles.doubts:
        return {}
    counts = {}
    for end in roles.parts:
        if end.role.name in ENDS and end.role.branches:
            counts[end.weight.path] = end.role.branches
    return counts


def _build_and_count_branches(build: Callable[[], Any]) -> dict[str, int]:
    with backend.globals_preserved(), open_weights("weights()", build()) as weights:
        return _count_branches(weights if isinstance(weights, Inventory) else None)
