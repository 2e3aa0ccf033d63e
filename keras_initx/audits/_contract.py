"""Contracts: how the weights of a model are drawn, measured from draws of them."""

import contextlib
import gc
import inspect
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard

import keras
import numpy as np

from keras_initx._array_files import check_file
from keras_initx._checkpoints import names_weights
from keras_initx._checks import DTYPES, check_count, check_root, is_real, truncated
from keras_initx._files import LinedFormat, check_local, parse_json, write
from keras_initx._seeds import derived_seed
from keras_initx._typing import Array
from keras_initx.audits._statistics import LEVELS, Parts, Statistics, merged, statistics_of
from keras_initx.audits._subjects import (
    Audited,
    Subject,
    as_numbers,
    opened,
    plain_subjects,
)
from keras_initx.backends import backend
from keras_initx.models import array_digest
from keras_initx.rendering import (
    Column,
    Points,
    WeightTable,
    plot_in_order,
    progress,
    short_number,
    styles_of,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Contract", "WeightContract", "contract"]

# What a contract is made from: a function that makes the weights anew, or one draw of them.
Drawn: TypeAlias = Callable[[], keras.Model | Mapping[str, Any]] | Audited

_FORMAT = LinedFormat("keras_initx contract", 1, "Contract.save", ("draws", "equal", "weights"))
# The statistics that are a number.
_IN_A_CELL = (
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
KINDS = ("constant", "fixed", "random", "unknown")
# Values of a fixed weight that are kept, to compare those that differ in their last bits.
_PLACES = 64
# Why the statistics of a weight are not known.
NOT_FINITE = "not finite"
INFINITE = "infinite"


@dataclass(frozen=True)
class WeightContract:
    """How one weight is drawn.

    Attributes:
        path: Its path in the model, or the name of the array.
        shape: Its shape.
        dtype: The name of its dtype.
        kind: `"constant"`; `"fixed"`, equal in all draws; `"random"`; or `"unknown"`.
        reason: Why it is unknown, otherwise empty.
        value: The value of a constant.
        digest: The digest of the values, see `InitializationPlan.save`, if all draws have it.
        places: Some of the values of a fixed weight, at even distances.
        statistics: The statistics of a random or a fixed weight.
    """

    path: str
    shape: tuple[int, ...]
    dtype: str
    kind: str
    reason: str = ""
    value: float | None = None
    digest: str | None = None
    places: tuple[float, ...] = ()
    statistics: Statistics | None = None

    @property
    def text(self) -> str:
        """The kind in words, with the family of the distribution if it is known."""
        if self.kind == "constant":
            return f"constant {self.value:.4g}"
        if self.kind == "random" and self.statistics is not None:
            return self.statistics.family or "random"
        if self.kind == "unknown":
            return f"({self.reason})"
        return self.kind

    @property
    def std(self) -> float | None:
        """The standard deviation of the values, or `None` if it is not known."""
        if self.kind == "constant":
            return 0.0
        return None if self.statistics is None else self.statistics.std


@dataclass(frozen=True, eq=False, repr=False)
class Contract(WeightTable[WeightContract]):
    """How the weights of a model are drawn, in the form of all results.

    Attributes:
        weights: A `WeightContract` for each weight, in the order of the model or the file.
        draws: The number of draws that it was measured from.
        equal: Sets of the paths of random weights that are equal in each draw.
    """

    weights: list[WeightContract]
    draws: int
    equal: list[list[str]]

    def save(self, path: str | Path) -> None:
        """Write the contract to a JSON file with a line for each weight.

        Args:
            path: Path of the file. An older one is replaced when this one is complete.

        Raises:
            OSError: If the file cannot be written.
            ValueError: If `path` is a URL.
        """
        check_local("path", Path(path))
        lines = [_line(weight) for weight in self.weights]
        write(path, _FORMAT.text((self.draws, self.equal), lines))

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

    def _content(self) -> dict[str, Any]:
        return asdict(self)

    def _columns(self) -> list[Column[WeightContract]]:
        return [
            Column("weight", lambda row: row.path, is_text=True),
            Column("shape", lambda row: row.shape),
            Column("dtype", lambda row: row.dtype, is_text=True, is_optional=True),
            Column("values", lambda row: row.text, is_text=True),
            Column("mean", lambda row: _of_random(row, "mean")),
            Column("std", lambda row: _of_random(row, "std")),
            Column("zeros", lambda row: _of_random(row, "zeros"), is_optional=True),
        ]

    def _summary(self) -> str:
        counts = []
        for kind in KINDS:
            count = sum(weight.kind == kind for weight in self.weights)
            if count:
                counts.append(f"{count} {kind}")
        weights = "1 weight" if len(self.weights) == 1 else f"{len(self.weights)} weights"
        draws = "1 draw" if self.draws == 1 else f"{self.draws} draws"
        return f"{weights} of {draws}: {', '.join(counts)}."

    def _records(self) -> list[dict[str, Any]]:
        records = []
        for weight in self.weights:
            record = asdict(weight)
            del record["places"]
            statistics = record.pop("statistics") or {}
            for name in _IN_A_CELL:
                record[name] = statistics.get(name)
            records.append(record)
        return records

    def _figure(self) -> "Figure":
        deviations: dict[str, dict[int, float]] = {}
        for place, weight in enumerate(self.weights):
            if weight.kind != "constant" and weight.std is not None:
                deviations.setdefault(weight.text, {})[place] = weight.std
        groups = {}
        for name, (color, marker) in styles_of(deviations).items():
            groups[name] = Points(deviations[name], color, marker)
        paths = [weight.path for weight in self.weights]
        return plot_in_order(paths, {"standard deviation": groups}, of="weight")


def _of_random(row: WeightContract, name: str) -> str:
    """Return one of the statistics of a random weight as text, if it is not 0."""
    value = getattr(row.statistics, name, 0) if row.kind == "random" else 0
    return short_number(value) if value else ""


def contract(build: Drawn, *, draws: int = 3, seed: int = 0) -> Contract:
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
        >>> [(weight.path, weight.text) for weight in yesterday.weights[:2]]
        [('hidden/kernel', 'uniform'), ('hidden/bias', 'constant 0')]
        >>> yesterday.save("weights.json")
        >>> keras_initx.audit(build(), "weights.json").ok
        True
    """
    check_count("draws", draws)
    check_root("seed", seed)
    if not _is_function(build):
        with opened("build", build) as found:
            return contract_of(plain_subjects(found))
    if not needs_no_arguments(build):
        raise TypeError(
            "`build` must be a function without arguments; `functools.partial` makes one. "
            f"Received: {build=!r}"
        )
    drawn = []
    with backend.globals_preserved(), progress("Drawing", draws, "models") as advance:
        for draw in range(draws):
            keras.utils.set_random_seed(derived_seed(seed, "draw", draw))
            with opened("build()", build()) as found:
                drawn.append(contract_of(plain_subjects(found)))
            del found
            gc.collect()  # models are in cycles of references
            advance(1)
    _check_alike(drawn)
    weights = []
    for of_draws in zip(*[one.weights for one in drawn], strict=True):
        weights.append(_together(of_draws))
    random = {weight.path for weight in weights if weight.kind == "random"}
    equal = []
    for paths in drawn[0].equal:
        if random.issuperset(paths) and all(paths in one.equal for one in drawn):
            equal.append(paths)
    return Contract(weights, draws, equal)


def _is_function(build: Any) -> TypeGuard[Callable[[], Any]]:
    """Return whether a contract is made from calls; a layer, also of torch, is no function here."""
    if isinstance(build, type):
        return True
    is_layer = isinstance(build, keras.Layer) or hasattr(build, "state_dict")
    return callable(build) and not is_layer


def needs_no_arguments(function: Callable[..., Any]) -> bool:
    """Return whether a function can be called without arguments, as far as Python knows."""
    try:
        signature = inspect.signature(function)
    except ValueError:  # of functions that are not written in Python
        return True
    try:
        signature.bind()
    except TypeError:
        return False
    return True


def contract_of(subjects: Sequence[Subject]) -> Contract:
    """Return the contract of one draw."""
    weights = []
    first: dict[str, list[str]] = {}
    with progress("Reading", len(subjects), "weights") as advance:
        for subject in subjects:
            weight = _measured(subject)
            weights.append(weight)
            if weight.kind == "random" and weight.digest is not None:
                first.setdefault(weight.digest, []).append(weight.path)
            advance(1)
    equal = [paths for paths in first.values() if len(paths) > 1]
    return Contract(weights, 1, equal)


def _measured(subject: Subject) -> WeightContract:
    """Return what one draw of a weight says about it."""
    row = WeightContract(subject.path, subject.shape, subject.dtype, "unknown", subject.obstacle)
    if row.reason:
        return row
    if 0 in subject.shape:
        return replace(row, reason="empty")
    stored = subject.values.stored()
    if subject.dtype not in DTYPES:
        return replace(row, reason=f"{subject.dtype}, of one draw", digest=array_digest(stored))
    if subject.dtype != "float64":  # which is float32 on JAX, without its option
        stored = stored.astype(subject.dtype, copy=False)
    row = replace(row, digest=array_digest(stored))
    return _described(row, as_numbers(stored))


def _described(row: WeightContract, values: Array) -> WeightContract:
    """Return a weight with what one draw of its values says about it."""
    if not math.isfinite(float(values.min()) + float(values.max())):
        if np.isnan(values).any():
            return replace(row, reason=NOT_FINITE)
        return replace(row, reason=INFINITE)
    value = float(values.flat[0]) + 0.0  # not -0
    if (values == value).all():
        return replace(row, kind="constant", value=value)
    return replace(
        row,
        kind="random",
        statistics=statistics_of(values, row.dtype),
        places=_places(values),
    )


def _places(values: Array) -> tuple[float, ...]:
    """Return some of the values, at even distances, with seven digits."""
    places = np.linspace(0, values.size - 1, min(values.size, _PLACES)).astype(int)
    return tuple(float(f"{value:.7g}") for value in values.reshape(-1)[places])


def _together(draws: Sequence[WeightContract]) -> WeightContract:
    """Return what several draws of a weight say about it."""
    first = draws[0]
    if len(draws) == 1:
        return first
    if first.digest is not None and all(draw.digest == first.digest for draw in draws):
        if first.kind in ("random", "unknown") and first.reason != NOT_FINITE:
            return replace(first, kind="fixed", reason="")
        return first
    unknown = [draw for draw in draws if draw.kind == "unknown"]
    if unknown:
        reason = unknown[0].reason
        if first.dtype not in DTYPES:
            reason = f"{first.dtype}, another in each draw"
        return WeightContract(first.path, first.shape, first.dtype, "unknown", reason)
    statistics = [draw.statistics for draw in draws if draw.statistics is not None]
    if len(statistics) < len(draws):
        reason = "constant in some draws" if statistics else "another constant in each draw"
        return WeightContract(first.path, first.shape, first.dtype, "unknown", reason)
    return replace(first, kind="random", digest=None, places=(), statistics=merged(statistics))


def _check_alike(draws: Sequence[Contract]) -> None:
    """Raise `ValueError` unless all draws have the same weights in the same order."""
    first = [(weight.path, weight.shape, weight.dtype) for weight in draws[0].weights]
    for number, draw in enumerate(draws[1:], 2):
        other = [(weight.path, weight.shape, weight.dtype) for weight in draw.weights]
        if other != first:
            differ = [f"{path!r} {shape} {dtype}" for path, shape, dtype in {*first} ^ {*other}]
            problem = truncated(sorted(differ)) or "another order"
            raise ValueError(
                "`build` must make the same weights each time. "
                f"Received: draw {number} differs from draw 1 in {problem}"
            )


# The file.


def _line(weight: WeightContract) -> dict[str, Any]:
    """Return a weight as a line of the file: the head first, what is usual left out."""
    line: dict[str, Any] = {
        "path": weight.path,
        "shape": list(weight.shape),
        "dtype": weight.dtype,
        "kind": weight.kind,
        "values": weight.text,
    }
    if weight.reason:
        line["reason"] = weight.reason
    if weight.value is not None:
        line["value"] = weight.value
    if weight.statistics is not None:
        line.update(asdict(weight.statistics))
    if weight.places:
        line["places"] = list(weight.places)
    if weight.digest is not None:
        line["digest"] = weight.digest
    return line


def is_contract(content: Any) -> bool:
    """Return whether what a JSON file holds is a contract."""
    return _FORMAT.is_in(content)


def contract_at(name: str, path: Any) -> Contract | None:
    """Return the contract in a file, `None` if it holds anything else or `path` is none.

    Args:
        name: Name of the argument in error messages.
        path: Anything.
    """
    if not isinstance(path, str | os.PathLike):
        return None
    path = os.fspath(path)
    # Weights have gigabytes.
    if names_weights(path) or not os.path.isfile(path):
        return None
    content = None
    with contextlib.suppress(ValueError):
        content = parse_json(Path(path).read_bytes())
    if not is_contract(content):
        return None
    return read_contract(name, path)


def read_contract(name: str, path: str) -> Contract:
    """Return the contract in a file.

    Args:
        name: Name of the argument in error messages.
        path: See `Contract.load`.
    """
    check_file(name, path)
    content = _FORMAT.read(name, path)
    weights = []
    try:
        for line in content["weights"]:
            weights.append(_weight_of(line))
        draws = int(content["draws"])
        equal = [[str(path) for path in paths] for paths in content["equal"]]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        place = f"weight {len(weights) + 1}"
        raise _FORMAT.refused(name, path, f"cannot be read at {place}: {error!r}") from error
    paths = [weight.path for weight in weights]
    if len(set(paths)) < len(paths):
        raise _FORMAT.refused(name, path, "has two weights of one path")
    return Contract(weights, draws, equal)


def _weight_of(line: Mapping[str, Any]) -> WeightContract:
    """Return the weight of a line."""
    line = dict(line)
    del line["values"]  # which follow from the rest
    weight: dict[str, Any] = {}
    for field in fields(WeightContract):
        if field.name in line:
            weight[field.name] = line.pop(field.name)
    if weight["kind"] not in KINDS:
        raise ValueError(f"unknown kind {weight['kind']!r}")
    weight["shape"] = tuple(int(length) for length in weight["shape"])
    weight["places"] = tuple(map(float, weight.get("places", ())))
    if line:
        parts = []
        for part in line.pop("parts"):
            stds, means = (tuple(map(float, part[name])) for name in ("stds", "means"))
            if len(stds) != len(means):
                raise ValueError(f"{len(stds)} deviations and {len(means)} means of parts")
            parts.append(Parts(int(part["axis"]), int(part["size"]), means, stds))
        quantiles = tuple(map(float, line.pop("quantiles")))
        if len(quantiles) != len(LEVELS):
            raise ValueError(f"{len(quantiles)} quantiles instead of {len(LEVELS)}")
        weight["statistics"] = Statistics(parts=tuple(parts), quantiles=quantiles, **line)
    result = WeightContract(**weight)
    if result.kind == "random" and result.statistics is None:
        raise ValueError(f"{result.path!r} is random, without statistics")
    if result.kind == "constant" and not is_real(result.value):
        raise ValueError(f"{result.path!r} is constant, without a value")
    return result
