"""`contract`: how the weights of a model are drawn, measured from draws of them.

A draw of a model is measured by itself, as a contract of one draw; contracts of several draws are
merged. `ContractExpectation` compares a weight with its line of a contract.
"""

import gc
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias, TypeGuard

import keras

from keras_initx._checks import accepts_arguments, check_count, check_root, truncate
from keras_initx._received import show
from keras_initx._signatures import shorten_signature
from keras_initx._typing import DType
from keras_initx.backends._current import backend
from keras_initx.files._formats import check_file
from keras_initx.initializers._seeds import derived_seed
from keras_initx.report._results import WeightTable, check_other_formats
from keras_initx.report._table import Column
from keras_initx.report._terminal import Verbose, show_progress, takes_verbose
from keras_initx.report._text import format_number
from keras_initx.tools.audit._compare_profiles import compare_profiles
from keras_initx.tools.audit._contract_lines import FORMAT, WeightContract, read_line, write_line
from keras_initx.tools.audit._draws import describe_variation, merge_draws
from keras_initx.tools.audit._equal_values import group_one_draw
from keras_initx.tools.audit._judgement import Comparison, Expectation
from keras_initx.tools.audit._profile import (
    INFINITE,
    KINDS,
    LOST,
    NOT_FINITE,
    Profile,
    epsilon,
)
from keras_initx.tools.audit._property_test import FEWEST, Outcome
from keras_initx.tools.audit._subjects import (
    TIED,
    Audited,
    Subject,
    list_subjects,
    open_weights,
    profile_array,
)

# What a contract is made from: a function that makes new weights, or one draw of them.
ContractSource: TypeAlias = Callable[[], keras.Model | Mapping[str, Any]] | Audited

# So many weights of models that nobody has any more are worth a collection of garbage, which takes
# 40 to 200 ms: as long as drawing and measuring 4 to 20 million of them.
_LARGE_GARBAGE = 10_000_000

# The columns of a table of all numbers, after those that say what the weight is. Their order is for
# people, another than that of a file.
_COLUMNS = (
    "value",
    "digest",
    "mean",
    "std",
    "kurtosis",
    "zeros",
    "outliers",
    "lowest",
    "highest",
    "bits",
    "frames",
)


@dataclass(frozen=True, eq=False, repr=False)
class Contract(WeightTable[WeightContract]):
    """How the weights of your model are drawn, in the form of all results.

    `print` shows you each weight with its law. `save` writes a file that you can review.

    Attributes:
        rows: A `WeightContract` for each weight, in the order of the model or the file.
        draws: The number of draws that were measured.
        equal: Sets of the paths of random weights that are equal in each draw.
        one_draw: Sets of the paths of random weights that are one draw each time: equal but for a
            factor, or for their lengths.
    """

    rows: list[WeightContract]
    draws: int
    equal: list[list[str]]
    one_draw: list[list[str]] = field(default_factory=list)

    def save(self, path: str | Path) -> None:
        """Write the contract to a JSON file with a line for each weight.

        Args:
            path: Path of the file. An older one is replaced when this one is complete.

        Raises:
            OSError: If the file cannot be written.
            ValueError: If `path` is a URL, or ends like the file of another method, `.csv`.
        """
        check_other_formats(path)
        self.to_json(path)

    def _json(self) -> str:
        lines = [write_line(weight) for weight in self.rows]
        return FORMAT.text((self.draws, self.equal, self.one_draw), lines)

    @classmethod
    def load(cls, path: str | Path) -> "Contract":
        """Return the contract that `save` wrote.

        Args:
            path: Path of the file.

        Raises:
            OSError: If the file cannot be read.
            ValueError: If the file has no contract, or is incomplete or of another version.
        """
        return read_contract("path", str(path))

    def _weight_columns(self) -> list[Column[WeightContract]]:
        return [
            Column("weight", lambda row: row.path, is_text=True),
            Column("shape", lambda row: row.shape),
            Column("dtype", lambda row: row.dtype, is_text=True, is_optional=True),
            Column("values", lambda row: row.text, is_text=True),
            Column("mean", lambda row: _format_moment(row, "mean"), alike="range"),
            Column("std", lambda row: _format_moment(row, "std"), alike="range"),
            Column(
                "zeros", lambda row: _format_moment(row, "zeros"), is_optional=True, alike="range"
            ),
        ]

    @property
    def summary(self) -> str:
        """The result in one sentence."""
        counts = []
        for kind in KINDS:
            count = sum(weight.kind == kind for weight in self.rows)
            if count:
                counts.append(f"{count} {kind}")
        weights = "1 weight" if len(self.rows) == 1 else f"{len(self.rows)} weights"
        draws = "1 draw" if self.draws == 1 else f"{self.draws} draws"
        return f"{weights} of {draws}: {', '.join(counts)}."

    def _records(self) -> list[dict[str, Any]]:
        usual = Profile()
        records = []
        for weight in self.rows:
            record: dict[str, Any] = {
                "path": weight.path,
                "shape": weight.shape,
                "dtype": weight.dtype,
                "kind": weight.kind,
                "detail": weight.profile.reason or None,
            }
            for name in _COLUMNS:
                value = getattr(weight.profile, name)
                record[name] = None if value == getattr(usual, name) else value
            records.append(record)
        return records


def _format_moment(row: WeightContract, name: str) -> str:
    value = getattr(row.profile, name) if row.kind == "random" else 0
    return format_number(value) if value else ""


@shorten_signature
@takes_verbose
def contract(
    build: ContractSource,
    *,
    draws: int = 3,
    seed: int = 0,
    verbose: Verbose = "auto",
) -> Contract:
    """Measure how the weights of your model are drawn, to compare later versions of it by `audit`.

    Use it before you change code or update a library: save the contract, and audit the new weights
    with `like`. `contract` calls `build` for each draw, after `keras.utils.set_random_seed`.

    - Several draws distinguish random weights from weights that are the same each time, such as a
      table of positions.
    - One draw, of a model or a file, cannot distinguish them. All weights that are not constant
      count as random.

    The page "Audit weights" lists the measured properties. A weight takes about two kilobytes in
    the file.

    Args:
        build: The weights to measure, a `ContractSource`. One of:

            - a function without arguments that returns a built Keras model, or a dict from names to
              arrays, such as the `state_dict()` of a torch module;
            - one draw: a model, a module of torch, the path of a saved model or of files of arrays,
              or a dict from names to arrays, see `audit`.
        draws: How often to call the function.
        seed: An integer in `[0, 2**32)`, the root of the seeds of all draws.
        verbose: Whether to show progress: `"auto"` on a terminal, unless you called
            `keras.config.disable_interactive_logging()`; 1 always; 0 never.

    Returns:
        A `Contract`, with `save`.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range, a model is not built, a file cannot be read, or
            the draws have different weights.

    Example:
        >>> import keras_initx
        >>> def build():
        ...     return keras.Sequential([
        ...         keras.Input((64,)),
        ...         keras.layers.Dense(32, "relu", name="hidden"),
        ...         keras.layers.Dense(10, name="logits"),
        ...     ])
        >>> yesterday = contract(build)
        >>> [(weight.path, weight.text) for weight in yesterday.rows[:2]]
        [('hidden/kernel', 'uniform'), ('hidden/bias', 'constant 0')]
        >>> yesterday.save("weights.json")
        >>> keras_initx.audit(build(), like="weights.json").ok
        True

    See Also:
        `audit` compares your weights with a contract.
    """
    check_count("draws", draws)
    check_root("seed", seed)
    if not is_build_function(build):
        with open_weights("build", build) as weights:
            return measure_one_draw(list_subjects(weights))
    if not accepts_arguments(build):
        raise TypeError(
            "`build` must be a function without arguments. Make one with `functools.partial`. "
            f"Received: build={show(build)}"
        )
    contracts = []
    uncollected = 0
    with backend.globals_preserved(), show_progress("Drawing", draws, "models") as advance:
        for draw in range(draws):
            keras.utils.set_random_seed(derived_seed(seed, "draw", draw))
            with open_weights("build()", build()) as weights:
                subjects = list_subjects(weights)
                contracts.append(measure_one_draw(subjects))
            uncollected += sum(math.prod(subject.shape) for subject in subjects)
            del weights, subjects
            if uncollected > _LARGE_GARBAGE:
                gc.collect()  # models are in cycles of references
                uncollected = 0
            advance(1)
    _check_same_weights(contracts)
    return merge_contracts(contracts)


def merge_contracts(draws: Sequence["Contract"]) -> "Contract":
    """Merge contracts of single draws, which have the same weights."""
    weights = []
    for draws_of_weight in zip(*[draw.rows for draw in draws], strict=True):
        profile = merge_draws([draw.profile for draw in draws_of_weight])
        weights.append(replace(draws_of_weight[0], profile=profile))
    random = {weight.path for weight in weights if weight.kind == "random"}
    equal = _select_common_sets([draw.equal for draw in draws], random)
    one_draw = _select_common_sets([draw.one_draw for draw in draws], random)
    return Contract(weights, len(draws), equal, one_draw)


def _select_common_sets(draws: Sequence[list[list[str]]], random: set[str]) -> list[list[str]]:
    """Select the sets of paths of random weights that each draw has."""
    common = []
    for paths in draws[0]:
        if random.issuperset(paths) and all(paths in sets for sets in draws):
            common.append(paths)
    return common


def is_build_function(build: Any) -> TypeGuard[Callable[[], Any]]:
    """Return whether `contract` calls this. A layer, also of torch, is no function here."""
    if isinstance(build, type):
        return True
    is_layer = isinstance(build, keras.Layer) or hasattr(build, "state_dict")
    return callable(build) and not is_layer


def measure_one_draw(subjects: Sequence[Subject]) -> Contract:
    """Measure one draw of the weights."""
    weights = []
    paths_by_digest: dict[str, list[str]] = {}
    with show_progress("Reading", len(subjects), "weights") as advance:
        for subject in subjects:
            profile = _profile_subject(subject)
            weight = WeightContract(
                subject.path, subject.shape, subject.dtype, profile, subject.canonical_path
            )
            weights.append(weight)
            if profile.kind == "random" and profile.digest is not None:
                paths_by_digest.setdefault(profile.digest, []).append(subject.path)
            advance(1)
    equal = [paths for paths in paths_by_digest.values() if len(paths) > 1]
    random = [(weight.path, weight.profile) for weight in weights if weight.kind == "random"]
    return Contract(weights, 1, equal, group_one_draw(random))


def _profile_subject(subject: Subject) -> Profile:
    if subject.obstacle:
        return Profile("unknown", subject.obstacle)
    profile = profile_array(subject.values.read_stored(), subject.dtype)
    if profile.reason in (INFINITE, NOT_FINITE) and subject.describe_not_finite():
        return replace(profile, reason=LOST)
    return profile


def _check_same_weights(draws: Sequence[Contract]) -> None:
    """Raise `ValueError` unless all draws have the same weights in the same order."""
    first = [(weight.path, weight.shape, weight.dtype) for weight in draws[0].rows]
    for number, draw in enumerate(draws[1:], 2):
        other = [(weight.path, weight.shape, weight.dtype) for weight in draw.rows]
        if other != first:
            differ = [f"{path!r} {shape} {dtype}" for path, shape, dtype in {*first} ^ {*other}]
            problem = truncate(sorted(differ)) or "another order"
            raise ValueError(
                "`build` must make the same weights each time. "
                f"Received: draw {number} differs from draw 1 in {problem}"
            )


# The file.


def is_contract(content: Any) -> bool:
    """Return whether a JSON file has a contract."""
    return FORMAT.is_in(content)


def is_contract_file(path: str) -> bool:
    """Return whether a file has a contract."""
    try:
        with open(path, encoding="utf-8") as file:
            return is_contract(json.load(file))
    except (OSError, ValueError):  # no text, or no JSON
        return False


def read_contract(name: str, path: str) -> Contract:
    """Read a contract from a file.

    Args:
        name: Name of the argument in error messages.
        path: See `Contract.load`.
    """
    check_file(name, path)
    fields, weights = FORMAT.read(name, path, read_line)
    with FORMAT.refusing(name, path, "its draws and equal weights"):
        draws = int(fields["draws"])
        sets = []
        for name in ("equal", "one_draw"):
            sets.append([[str(path) for path in paths] for paths in fields[name]])
    return Contract(list(weights.values()), draws, *sets)


# Weights compared with those of a contract.


@dataclass(frozen=True)
class ContractExpectation(Expectation):
    """The expected values of a weight by a contract.

    Attributes:
        line: The weight in the contract.
        draws: The number of draws that it was measured from.
        actual_draws: The number of draws that the tested weight was measured from.
    """

    line: WeightContract
    draws: int
    actual_draws: int

    is_measured = True

    @property
    def text(self) -> str | None:  # type: ignore[override]
        """The law of the weight in the contract, in words."""
        return None if self.line.kind == "unknown" else self.line.text

    @property
    def path(self) -> str:  # type: ignore[override]
        """Its path in the contract."""
        return self.line.path

    @property
    def dtype(self) -> DType:  # type: ignore[override]
        """Its dtype in the contract."""
        return self.line.dtype

    def test(self, weight: WeightContract) -> Comparison:
        expected, actual = self.line.profile, self._read_profile(weight)
        outcomes, are_comparable = self._compare_array(weight)
        reason = ""
        if are_comparable:
            value_outcomes, reason = self._compare_values(weight, actual)
            outcomes += value_outcomes
        return Comparison(
            weight,
            self,
            actual,
            expected,
            tuple(outcomes),
            reason,
            is_unchanged=self._compare_bits(weight),
        )

    def _compare_bits(self, weight: WeightContract) -> bool | None:
        """Return whether all bits are equal, or `None` if one side does not know its bits."""
        expected, actual = self.line.profile, weight.profile
        if self.draws > 1:
            return None
        if expected.kind == actual.kind == "constant":
            return weight.dtype == self.dtype and expected.value == actual.value
        for profile in (expected, actual):
            if profile.kind != "constant" and profile.digest is None:
                return None
        return expected.digest == actual.digest

    def _read_profile(self, weight: WeightContract) -> Profile:
        """Return the profile of a weight. One draw does not tell fixed values from random ones."""
        actual = weight.profile
        are_drawn = self.line.kind == "random" and actual.has_distribution
        if actual.kind == "fixed" and are_drawn and 1 in (self.draws, self.actual_draws):
            return replace(actual, kind="random")
        return actual

    def _compare_array(self, weight: WeightContract) -> tuple[list[Outcome], bool]:
        """Compare shape, dtype and ties, and return whether the values can be compared too."""
        line = self.line
        if weight.shape != line.shape:
            is_exchanged = sorted(weight.shape) == sorted(line.shape)
            cause = "an axis exchanged" if is_exchanged else ""
            detail = f"the shape is {weight.shape}, expected {line.shape}"
            return [Outcome("reshaped", detail, cause=cause)], False
        outcomes = []
        if weight.dtype != line.dtype:
            outcomes.append(Outcome("dtype", f"the dtype is {weight.dtype}, expected {line.dtype}"))
        now, before = weight.profile.reason, line.profile.reason
        if now.startswith(TIED) == before.startswith(TIED):
            return outcomes, True
        detail = f"values of its own, expected {before}"
        if now.startswith(TIED):
            detail = f"{now}, expected values of its own"
        return [*outcomes, Outcome("equal weights", detail)], False

    def _compare_values(self, weight: WeightContract, actual: Profile) -> tuple[list[Outcome], str]:
        """Test the values, and return why they are not compared, empty if they are."""
        line, expected = self.line, self.line.profile
        if self.draws == 1:
            are_constant = expected.kind == actual.kind == "constant"
            if are_constant and math.prod(line.shape) == 1 and actual.value != expected.value:
                return [], "one value, of one draw"
        outcomes = []
        less_exact = max(weight.dtype, line.dtype, key=epsilon)
        for outcome in compare_profiles(expected, actual, less_exact):
            if outcome.status != "precision" or weight.dtype == line.dtype:
                outcomes.append(outcome)
        reason = describe_variation(expected, actual)
        are_few = min(expected.size, actual.size) < FEWEST
        if not outcomes and "unknown" in (expected.kind, actual.kind):
            reason = expected.reason or actual.reason
        elif are_few and expected.kind == actual.kind == "random":
            is_proven = any(outcome.proof for outcome in outcomes)
            reason = "" if is_proven else f"fewer than {FEWEST} values"
        return outcomes, reason


def compare_contracts(
    actual: Contract, expected: Contract, names: Mapping[str, str]
) -> list[Comparison]:
    """Compare each weight that has a counterpart with its line of a contract.

    Args:
        actual: The weights.
        expected: The expected weights.
        names: The paths of their counterparts, by the paths of the weights.
    """
    line_by_path = {weight.path: weight for weight in expected.rows}
    comparisons = []
    for weight in actual.rows:
        if weight.path in names:
            line = line_by_path[names[weight.path]]
            expectation = ContractExpectation(line, expected.draws, actual.draws)
            comparisons.append(expectation.test(weight))
    return comparisons
