"""Contracts: how the weights of a model are drawn, measured from draws of them."""

import gc
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard

import keras

from keras_initx._checks import accepts_arguments, check_count, check_root, truncate
from keras_initx._typing import DType
from keras_initx.backends._current import backend
from keras_initx.files._formats import check_file
from keras_initx.initializers._seeds import derived_seed
from keras_initx.report._figures import choose_styles
from keras_initx.report._order import Points, plot_in_order
from keras_initx.report._results import WeightTable
from keras_initx.report._table import Column
from keras_initx.report._terminal import Verbose, show_progress, takes_verbose
from keras_initx.report._text import format_number
from keras_initx.tools.audit._contract_lines import FORMAT, WeightContract, line_of, weight_of
from keras_initx.tools.audit._draws import merged, varying
from keras_initx.tools.audit._equal_values import sets_of_one_draw
from keras_initx.tools.audit._judgement import Comparison, Expectation
from keras_initx.tools.audit._kinds import compare
from keras_initx.tools.audit._profile import (
    INFINITE,
    KINDS,
    LOST,
    NOT_FINITE,
    NOTHING,
    Profile,
    epsilon,
)
from keras_initx.tools.audit._property_test import FEWEST, Outcome
from keras_initx.tools.audit._subjects import TIED, Audited, Subject, of_array, opened, subjects_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# What a contract is made from: a function that makes the weights anew, or one draw of them.
Drawn: TypeAlias = Callable[[], keras.Model | Mapping[str, Any]] | Audited

# With a smaller probability, draws probably differ more than those of one law.
_PROBABLY = 0.05

# The columns of a table of all numbers, after those that say what the weight is.
_COLUMNS = (
    "reason",
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
    """How the weights of a model are drawn, in the form of all results.

    Attributes:
        rows: A `WeightContract` for each weight, in the order of the model or the file.
        draws: The number of draws that it was measured from.
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
            ValueError: If `path` is a URL.
        """
        self.to_json(path)

    def _json(self) -> str:
        """Return the text that `save` writes, with a line for each weight."""
        lines = [line_of(weight) for weight in self.rows]
        return FORMAT.text((self.draws, self.equal, self.one_draw), lines)

    @classmethod
    def load(cls, path: str | Path) -> "Contract":
        """Return the contract that `save` wrote.

        Args:
            path: Path of the file.

        Raises:
            OSError: If the file cannot be read.
            ValueError: If there is none, or it is incomplete or of another version.
        """
        return read_contract("path", str(path))

    def _weight_columns(self) -> list[Column[WeightContract]]:
        return [
            Column("weight", lambda row: row.path, is_text=True),
            Column("shape", lambda row: row.shape),
            Column("dtype", lambda row: row.dtype, is_text=True, is_optional=True),
            Column("values", lambda row: row.text, is_text=True),
            Column("mean", lambda row: _of_random(row, "mean"), alike="range"),
            Column("std", lambda row: _of_random(row, "std"), alike="range"),
            Column("zeros", lambda row: _of_random(row, "zeros"), is_optional=True, alike="range"),
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
            }
            for name in _COLUMNS:
                value = getattr(weight.profile, name)
                record[name] = None if value == getattr(usual, name) else value
            records.append(record)
        return records

    def _figure(self) -> "Figure":
        deviations: dict[str, dict[int, float]] = {}
        shown = [weight for weight in self.rows if weight.kind != "constant" and weight.profile.std]
        for place, weight in enumerate(shown):
            deviations.setdefault(weight.text, {})[place] = weight.profile.std
        groups = {}
        for name, (color, marker) in choose_styles(deviations).items():
            groups[name] = Points(deviations[name], color, marker)
        paths = [weight.path for weight in shown]
        return plot_in_order(paths, {"standard deviation": groups}, of="weight")


def _of_random(row: WeightContract, name: str) -> str:
    """Return one of the statistics of a random weight as text, if it is not 0."""
    value = getattr(row.profile, name) if row.kind == "random" else 0
    return format_number(value) if value else ""


@takes_verbose
def contract(
    build: Drawn,
    *,
    draws: int = 3,
    seed: int = 0,
    verbose: Verbose = "auto",
) -> Contract:
    """Measure how the weights of a model are drawn, to compare other versions of it by `audit`.

    `build` makes the model anew for each draw, after `keras.utils.set_random_seed`, which also
    seeds Python, NumPy and the backend. Several draws tell random weights from those that are
    the same each time, such as a table of positions or weights with a fixed seed. One draw, that of
    a model or a file, does not: what is not constant counts as random.

    Of each weight its moments, 113 quantiles, zeros, extremes, the deviations of parts and whether
    it is orthonormal are kept, in about two kilobytes; of one draw also a digest. One weight is in
    memory at a time, beside the model. The global random generators and the counters of
    automatic names are as before afterward.

    Args:
        build: A function without arguments that returns a built Keras model, or a dict from names
            to arrays, such as the `state_dict()` of a torch module. Or one draw: a model, the path
            of a saved model or of files of arrays, or a dict from names to arrays, see `audit`.
        draws: The number of draws of a function.
        seed: An integer in `[0, 2**32)`, from which the seeds of the draws are derived.
        verbose: Whether to show progress: `"auto"` on a terminal, unless
            `keras.config.disable_interactive_logging()` was called; 1 always; 0 never.

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
    """
    check_count("draws", draws)
    check_root("seed", seed)
    if not is_function(build):
        with opened("build", build) as found:
            return contract_of(subjects_of(found))
    if not accepts_arguments(build):
        raise TypeError(
            "`build` must be a function without arguments; `functools.partial` makes one. "
            f"Received: {build=!r}"
        )
    drawn = []
    with backend.globals_preserved(), show_progress("Drawing", draws, "models") as advance:
        for draw in range(draws):
            keras.utils.set_random_seed(derived_seed(seed, "draw", draw))
            with opened("build()", build()) as found:
                drawn.append(contract_of(subjects_of(found)))
            del found
            gc.collect()  # models are in cycles of references
            advance(1)
    _check_alike(drawn)
    return contract_of_draws(drawn)


def contract_of_draws(drawn: Sequence["Contract"]) -> "Contract":
    """Return the contract of several draws, each of which has the same weights."""
    of_weights = list(zip(*[one.rows for one in drawn], strict=True))
    varies = _varying_mostly(of_weights) if len(drawn) > 1 else ()
    weights = []
    for of_draws in of_weights:
        profiles = [draw.profile for draw in of_draws]
        of_weight = () if profiles[0].frames else varies
        weights.append(replace(of_draws[0], profile=merged(profiles, of_weight)))
    random = {weight.path for weight in weights if weight.kind == "random"}
    equal = _in_all([draw.equal for draw in drawn], random)
    one_draw = _in_all([draw.one_draw for draw in drawn], random)
    return Contract(weights, len(drawn), equal, one_draw)


def _in_all(sets: Sequence[list[list[str]]], random: set[str]) -> list[list[str]]:
    """Return the sets of paths of random weights that each draw has."""
    found = []
    for paths in sets[0]:
        if random.issuperset(paths) and all(paths in others for others in sets):
            found.append(paths)
    return found


def _varying_mostly(weights: Sequence[Sequence[WeightContract]]) -> tuple[str, ...]:
    """Return what is probably another in each draw of most weights.

    Then it is so of all: draws of few values may be alike by chance.

    Args:
        weights: The draws of each.
    """
    counts: Counter[str] = Counter()
    number = 0
    for of_draws in weights:
        profiles = [draw.profile for draw in of_draws]
        if all(profile.kind == "random" for profile in profiles):
            counts.update(varying(profiles, _PROBABLY))
            number += 1
    of_most = [what for what, count in counts.items() if count > max(1, number / 2)]
    return tuple(of_most)


def is_function(build: Any) -> TypeGuard[Callable[[], Any]]:
    """Return whether a contract is made from calls; a layer, also of torch, is no function here."""
    if isinstance(build, type):
        return True
    is_layer = isinstance(build, keras.Layer) or hasattr(build, "state_dict")
    return callable(build) and not is_layer


def contract_of(subjects: Sequence[Subject]) -> Contract:
    """Return the contract of one draw."""
    weights = []
    first: dict[str, list[str]] = {}
    with show_progress("Reading", len(subjects), "weights") as advance:
        for subject in subjects:
            profile = _profile_of(subject)
            weight = WeightContract(
                subject.path, subject.shape, subject.dtype, profile, subject.place
            )
            weights.append(weight)
            if profile.kind == "random" and profile.digest is not None:
                first.setdefault(profile.digest, []).append(subject.path)
            advance(1)
    equal = [paths for paths in first.values() if len(paths) > 1]
    random = [(weight.path, weight.profile) for weight in weights if weight.kind == "random"]
    return Contract(weights, 1, equal, sets_of_one_draw(random))


def _profile_of(subject: Subject) -> Profile:
    """Return what one draw of a weight says about it."""
    if subject.obstacle:
        return Profile("unknown", subject.obstacle)
    profile = of_array(subject.values.stored(), subject.dtype)
    if profile.reason in (INFINITE, NOT_FINITE) and subject.lost():
        return replace(profile, reason=LOST)
    return profile


def _check_alike(draws: Sequence[Contract]) -> None:
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
    """Return whether what a JSON file holds is a contract."""
    return FORMAT.is_in(content)


def read_contract(name: str, path: str) -> Contract:
    """Return the contract in a file.

    Args:
        name: Name of the argument in error messages.
        path: See `Contract.load`.
    """
    check_file(name, path)
    fields, weights = FORMAT.read(name, path, weight_of)
    with FORMAT.refusing(name, path, "its draws and equal weights"):
        draws = int(fields["draws"])
        sets = []
        for name in ("equal", "one_draw"):
            sets.append([[str(path) for path in paths] for paths in fields[name]])
    return Contract(list(weights.values()), draws, *sets)


# Weights compared with those of a contract.


@dataclass(frozen=True)
class OfContract(Expectation):
    """How a weight was drawn before.

    Attributes:
        line: The weight before.
        draws: The number of draws that it was measured from.
        draws_found: That of the weight that is tested.
    """

    line: WeightContract
    draws: int
    draws_found: int

    is_measured = True

    @property
    def text(self) -> str | None:  # type: ignore[override]
        """How it was drawn, in words."""
        return None if self.line.kind == "unknown" else self.line.text

    @property
    def path(self) -> str:  # type: ignore[override]
        """Its path then."""
        return self.line.path

    @property
    def dtype(self) -> DType:  # type: ignore[override]
        """Its dtype then."""
        return self.line.dtype

    def test(self, weight: WeightContract) -> Comparison:
        expected, found = self.line.profile, weight.profile
        outcomes, are_comparable = self._of_array(weight)
        reason = ""
        if are_comparable:
            found = self._as_drawn(weight)
            of_values, reason = self._of_values(weight, found)
            outcomes += of_values
        is_unchanged = None
        if self.draws == 1 and expected.kind == found.kind == "constant":
            is_unchanged = weight.dtype == self.dtype and expected.value == found.value
        elif self.draws == 1 and None not in (expected.digest, found.digest):
            is_unchanged = expected.digest == found.digest
        return Comparison(
            weight, self, found, expected, tuple(outcomes), reason, is_unchanged=is_unchanged
        )

    def _as_drawn(self, weight: WeightContract) -> Profile:
        """Return what is found, as far as one draw of either does not tell it.

        It does not tell fixed values from random ones, nor levels of a law from copies.
        """
        found = weight.profile
        are_drawn = self.line.kind == "random" and found.has_distribution
        if found.kind == "fixed" and are_drawn and 1 in (self.draws, self.draws_found):
            return replace(found, kind="random")
        if self.line.profile.has_levels and self.draws_found == 1 and found.kind == "random":
            return found.with_levels()
        return found

    def _of_array(self, weight: WeightContract) -> tuple[list[Outcome], bool]:
        """Return what is said of the array as a whole, and whether values can be compared."""
        line = self.line
        if weight.shape != line.shape:
            is_exchanged = sorted(weight.shape) == sorted(line.shape)
            cause = "an axis exchanged" if is_exchanged else ""
            evidence = f"{weight.shape}, and {line.shape} before"
            return [Outcome("reshaped", evidence, cause=cause)], False
        outcomes = []
        if weight.dtype != line.dtype:
            outcomes.append(Outcome("dtype", f"{weight.dtype}, and {line.dtype} before"))
        now, before = weight.profile.reason, line.profile.reason
        if now.startswith(TIED) == before.startswith(TIED):
            return outcomes, True
        evidence = f"{now}, and was not" if now else f"no longer {before}"
        return [*outcomes, Outcome("equal weights", evidence)], False

    def _of_values(self, weight: WeightContract, found: Profile) -> tuple[list[Outcome], str]:
        """Return what tests say of the values, and why they are not compared."""
        line, expected = self.line, self.line.profile
        if self.draws == 1:
            are_constant = expected.kind == found.kind == "constant"
            if are_constant and math.prod(line.shape) == 1 and found.value != expected.value:
                return [], "one value, of one draw"
            expected = _of_one_draw(expected)
        outcomes = []
        for outcome in compare(expected, found, max(weight.dtype, line.dtype, key=epsilon)):
            if outcome.verdict != "precision" or weight.dtype == line.dtype:
                outcomes.append(outcome)
        varies = sorted({*expected.varies, *found.varies})
        reason = f"another {' and '.join(varies)} in each draw" if varies else ""
        are_few = min(expected.size, found.size) < FEWEST
        if not outcomes and "unknown" in (expected.kind, found.kind):
            reason = expected.reason or found.reason
        elif are_few and expected.kind == found.kind == "random":
            is_proven = any(outcome.proof for outcome in outcomes)
            reason = "" if is_proven else f"fewer than {FEWEST} values"
        return outcomes, reason


def _of_one_draw(profile: Profile) -> Profile:
    """Return a profile without what may be at other places in each draw."""
    crowded = profile.crowded if profile.crowded == NOTHING else None
    return replace(profile, zeros_at=None, crowded=crowded)


def compared(found: Contract, expected: Contract, names: Mapping[str, str]) -> list[Comparison]:
    """Return each weight that was there before, compared with what it was.

    Args:
        found: The weights.
        expected: Those before.
        names: The paths of those before by the paths of the weights.
    """
    by_path = {weight.path: weight for weight in expected.rows}
    comparisons = []
    for weight in found.rows:
        if weight.path in names:
            line = by_path[names[weight.path]]
            expectation = OfContract(line, expected.draws, found.draws)
            comparisons.append(expectation.test(weight))
    return comparisons
