"""The plan of an initialization: what each weight gets, as a table, as a file, and as values."""

import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import keras
import numpy as np

from keras_initx._checks import (
    check_number,
    check_root,
    check_shape,
    check_type,
    close_matches,
    first_of,
    truncated,
)
from keras_initx._typing import Array, Shape, Tensor
from keras_initx.arrays._casts import can_be_cast, cast
from keras_initx.arrays._formats import check_file
from keras_initx.backends._backend import Region
from keras_initx.backends._current import backend
from keras_initx.initializers._as_ours import as_ours
from keras_initx.initializers._description import description
from keras_initx.initializers._initializer import Initializer
from keras_initx.initializers._seeds import initializers_within
from keras_initx.initializers._sharding import is_exact
from keras_initx.initializers._sparse import Masked, kept_sparse
from keras_initx.models._digest import array_digest
from keras_initx.models._plan_file import FORMAT, checked_digest, plan_text, restored, written
from keras_initx.rendering._figures import styles_of
from keras_initx.rendering._order import Points, plot_in_order
from keras_initx.rendering._results import Tabular
from keras_initx.rendering._table import Column
from keras_initx.rendering._terminal import line_width
from keras_initx.rendering._text import in_common, short_number, without_numbers
from keras_initx.structure._hooks import LayerInitializer
from keras_initx.structure._weights import ModelWeight

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# The keys of a line in the file of a plan.
_IN_LINE = ("path", "shape", "dtype", "fans", "initializer", "zeros", "reason", "digest")


@dataclass(frozen=True)
class WeightPlan:
    """The initialization of one weight.

    Attributes:
        path: Its path in the model, see `ModelWeight`.
        shape: Its shape.
        dtype: The name of its dtype.
        initializer: The initializer as text, or `None` if the weight is left unchanged.
        reason: Why it is left unchanged, otherwise empty.
        fan_in: The number of inputs of a unit if this is a kernel, otherwise `None`. Their mean
            where units differ: those of a transposed convolution with strides.
        fan_out: The number of units connected to an input if this is a kernel, otherwise `None`.
        expected_std: The standard deviation expected from the initializer, or `None` if it is
            unknown.
        seed: The seed of the initializer, or `None` if it is deterministic, or an object or
            function of a user that cannot be given a seed.
        std: The standard deviation of the drawn values, or `None` if none were drawn.
    """

    path: str
    shape: tuple[int, ...]
    dtype: str
    initializer: str | None
    reason: str = ""
    fan_in: float | None = None
    fan_out: int | None = None
    expected_std: float | None = None
    seed: int | None = None
    std: float | None = None


class Said(NamedTuple):
    """What a rule, a layer or the line of a plan says of the values of a weight.

    Attributes:
        initializer: Its initializer, in a plan with a seed and axes. `None` if it keeps its values.
        reason: Why it keeps them.
        digest: The digest of its values, or `None` if it is not known.
        by_layer: Whether its layer says so, and no rule.
    """

    initializer: LayerInitializer | None
    reason: str = ""
    digest: str | None = None
    by_layer: bool = False


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
    plan: "InitializationPlan | None" = None


class DrawnAlike(NamedTuple):
    """Weights with the same initializer whose paths differ in numbers at most: a row of the table.

    Attributes:
        paths: The paths of the weights, as they are shown.
        weights: The weights, in the order of the layers.
    """

    paths: list[str]
    weights: list[WeightPlan]

    @property
    def path(self) -> str:
        """The path of a single weight; of several a path with stars for numbers, and how many."""
        return in_common(self.paths)

    def range_of(self, field_name: str, write: Callable[[Any], str] = str) -> str:
        """Return the value of a field, or the least and the greatest, as text.

        Where one is not finite, neither the least nor the greatest is known.
        """
        values = [getattr(weight, field_name) for weight in self.weights]
        known = [value for value in values if value is not None]
        if not known:
            return ""
        if not all(map(math.isfinite, known)):
            return "not finite"
        return "...".join(dict.fromkeys([write(min(known)), write(max(known))]))

    def only(self, field_name: str) -> Any:
        """Return the value of a field if all weights have the same, otherwise `None`."""
        values = {getattr(weight, field_name) for weight in self.weights}
        return values.pop() if len(values) == 1 else None


@dataclass(frozen=True, eq=False, repr=False)
class InitializationPlan(Tabular[DrawnAlike]):
    """The initialization of each weight of a model, in the form of all results.

    The table has the weights that are drawn, in one row those with the same initializer whose paths
    differ in numbers only. `to_csv` has a row for each weight. `plot` shows the standard deviations
    of the weights, or those expected for a dry run, in the colors of their initializers. `save`
    writes a file that `initialize` executes and `audit` compares weights with.

    Attributes:
        rows: A `WeightPlan` for each weight, in the order of the layers.
        seed: The seed from which all others are derived.
        dry_run: Whether the model was left unchanged.
        notes: What a recipe has recognized in the model, which remedies of a report are applied and
            which are left to the user, which weights of other names a pattern matches, which
            layers are not built, and which weights are not finite, as lines of text.
    """

    rows: list[WeightPlan]
    seed: int
    dry_run: bool
    notes: tuple[str, ...] = ()
    _said: Mapping[str, Said] = field(default_factory=dict)
    # The paths that are shown, see `shown_paths`. A plan that was read has only its own.
    _shown: Mapping[str, str] = field(default_factory=dict)

    @property
    def left(self) -> list[WeightPlan]:
        """The weights that are left unchanged."""
        return [weight for weight in self.rows if weight.initializer is None]

    def save(self, path: str | Path) -> None:
        """Write the plan to a JSON file with a line for each weight.

        A line has the path, shape, dtype and fans of a weight, its initializer as class and config,
        with its seed, and the digest of its values, which are drawn for it once more. The digest is
        `null` where processors differ in the last bits, for initializers of a user, and for all
        weights after a dry run. The digest is that of BLAKE2b with 16 bytes: of the name of the
        dtype and the shape, as in `float32 64x32`, of a line feed, and of the values in row-major
        order, little-endian.

        A weight is written without an initializer, and with the reason, if it is left unchanged, or
        if its initializer cannot be written: a function; or an object of a user whose config lacks
        arguments, or whose class is not registered with Keras. Who executes the file leaves it
        unchanged too.

        Args:
            path: Path of the file. An older one is replaced when this one is complete.

        Raises:
            OSError: If the file cannot be written.
            ValueError: If `path` is a URL.

        Example:
            >>> import keras_initx
            >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="logits")])
            >>> plan = keras_initx.initialize(model, seed=0)
            >>> plan.save("init.json")
            >>> again = keras_initx.initialize(model, "init.json")
            >>> keras_initx.audit(model, "init.json").summary
            '2 of 2 weights are as the plan says.'
        """
        self.to_json(path)

    def _json(self) -> str:
        """Return the text that `save` writes, with a line for each weight."""
        lines = [self._line(weight) for weight in self.rows]
        return plan_text(self.seed, lines)

    def _line(self, weight: WeightPlan) -> dict[str, Any]:
        """Return a weight as a line of the file."""
        line: dict[str, Any] = {
            "path": weight.path,
            "shape": list(weight.shape),
            "dtype": weight.dtype,
        }
        if weight.fan_in is not None:
            line["fans"] = [weight.fan_in, weight.fan_out]
        said = self._said.get(weight.path)
        if said is None:
            return {**line, "initializer": None, "reason": weight.reason}
        data, problem = written(said.initializer)
        if data is None:
            return {**line, "initializer": None, "reason": problem}
        line["initializer"] = data
        line["digest"] = said.digest
        if not self.dry_run:  # a line that was edited may have the digest of other values
            line["digest"] = None
            if is_exact(said.initializer):
                line["digest"] = array_digest(self.draw(weight.path))
        return line

    @classmethod
    def load(cls, path: str | Path) -> "InitializationPlan":
        """Return the plan that `save` wrote.

        Its weights have no statistics.

        Args:
            path: Path of the file.

        Raises:
            OSError: If the file cannot be read.
            ValueError: If there is none, or it is incomplete, of another version, or has an
                initializer that is not known here. The message names the weight.

        Example:
            >>> import keras_initx
            >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="logits")])
            >>> keras_initx.initialize(model, seed=0, dry_run=True).save("init.json")
            >>> InitializationPlan.load("init.json")
            <InitializationPlan: 2 of 2 weights to be drawn; seed 0>
        """
        return read_plan("path", path)

    def draw(self, path: str, region: Region | None = None) -> Array:
        """Return the values of a weight, those that `initialize` assigns, or a region of them.

        A region is made alone, in memory and time of its size, where each value follows from its
        place: for constants of Keras, for initializers whose law is one distribution, such as
        `RandomNormal`, `VarianceScaling` and `TimeStepBias`, and for `Scaled` with one of these.
        For all others the whole is drawn and cut.

        Args:
            path: The path of the weight.
            region: A tuple of a slice for each axis, such as `numpy.s_[2:4, :]` or the index of a
                shard in JAX. By default the whole.

        Returns:
            A new array. It is on the host, wherever Keras has its weights.

        Raises:
            TypeError: If `region` is no tuple of slices.
            ValueError: If it has another number of them, or if the plan has no such weight, or
                leaves it unchanged, or is none of `initialize`.

        Example:
            >>> import keras_initx
            >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="logits")])
            >>> plan = keras_initx.initialize(model, seed=0, dry_run=True)
            >>> whole = plan.draw("logits/kernel")
            >>> part = plan.draw("logits/kernel", np.s_[2:, :1])
            >>> bool((part == whole[2:, :1]).all())
            True
        """
        drawing = self._drawing(path)
        if region is not None:
            _check_region(path, region, drawing.shape)
        return drawing.at(region)

    def instructions(self, weights: Sequence[ModelWeight]) -> Instructions:
        """Return what `initialize(model, plan)` does.

        Args:
            weights: All weights of the model, in the order of its layers.

        Raises:
            ValueError: If they are not those of the plan.
        """
        rows = {row.path: row for row in self.rows}
        problems = []
        by_path = {}
        for weight in weights:
            row = rows.pop(weight.path, None)
            if row is None:
                problems.append(f"the plan has no {weight.path!r}")
                continue
            said = self._said.get(row.path, Said(None, row.reason))
            problem = _difference(weight, row, said.initializer)
            if problem:
                problems.append(f"{weight.path!r} {problem}")
            by_path[weight.path] = said
        problems += [f"the model has no {path!r}" for path in rows]
        if problems:
            raise ValueError(
                "`rules` must be a plan of the weights of `model`. "
                f"Received: rules={self!r}; {truncated(sorted(problems), '; ')}"
            )
        return Instructions(by_path, self.notes, self)

    def _drawing(self, path: str) -> "Drawing":
        """Return the values of a weight, to be drawn."""
        weight = self._weight(path)
        said = self._said.get(weight.path)
        if said is None or said.initializer is None:
            raise ValueError(
                "`path` must be that of a weight that is drawn. "
                f"Received: {path=!r}, which is left unchanged: {weight.reason}"
            )
        return Drawing(weight, said.initializer)

    def _weight(self, path: str) -> WeightPlan:
        """Return the row of a weight."""
        paths = []
        for weight in self.rows:
            shown = self._shown_path(weight)
            if path in (weight.path, shown):
                return weight
            paths.append(shown)
        raise ValueError(
            f"`path` must be that of a weight. Received: {path=!r}{close_matches(path, paths)}"
        )

    def _shown_path(self, weight: WeightPlan) -> str:
        return self._shown.get(weight.path, weight.path)

    def _rows(self) -> list[DrawnAlike]:
        """Return the weights that are drawn in groups, in the order of the first of each."""
        groups: dict[tuple[str, str], DrawnAlike] = {}
        for weight in self.rows:
            if weight.initializer is not None:
                path = self._shown_path(weight)
                key = without_numbers(path), weight.initializer
                group = groups.setdefault(key, DrawnAlike([], []))
                group.paths.append(path)
                group.weights.append(weight)
        return list(groups.values())

    def _columns(self) -> list[Column[DrawnAlike]]:
        return [
            Column("weight", lambda row: row.path, is_text=True),
            Column("shape", lambda row: row.only("shape")),
            Column("initializer", lambda row: row.only("initializer"), is_text=True),
            Column("fan in", lambda row: row.range_of("fan_in"), is_optional=True),
            Column("fan out", lambda row: row.range_of("fan_out"), is_optional=True),
            Column("expected", lambda row: row.range_of("expected_std", short_number)),
            Column("std", lambda row: row.range_of("std", short_number)),
            Column("seed", lambda row: row.only("seed"), is_optional=True),
        ]

    @property
    def summary(self) -> str:
        """The result in one sentence."""
        total = len(self.rows)
        left = len(self.left)
        would = "to be drawn" if self.dry_run else "drawn"
        text = f"{total - left} of {total} weights {would}"
        anew = sum(said.by_layer for said in self._said.values())
        if 0 < anew < total - left:
            text += f" ({total - left - anew} by your rules, {anew} anew by their layers)"
        if left:
            text += f", {left} left unchanged"
        return f"{text}; seed {self.seed}."

    def _below(self) -> list[str]:
        lines = [self.summary, *self.notes]
        if self.left:
            lines.insert(1, self._left_in_words())
        width = line_width()
        return ["", *(textwrap.fill(line, width, subsequent_indent="    ") for line in lines)]

    def _left_in_words(self) -> str:
        """Return how many weights are left unchanged for each reason, and the first of them."""
        paths: dict[str, list[str]] = {}
        for weight in self.left:
            paths.setdefault(weight.reason, []).append(self._shown_path(weight))
        parts = []
        for reason, left in paths.items():
            parts.append(f"{first_of(left, shown=1)} ({reason})")
        return f"Left unchanged: {', '.join(parts)}."

    def _figure(self) -> "Figure":
        deviations: dict[str, dict[int, float]] = {}  # by place, of each class of initializers
        for place, weight in enumerate(self.rows):
            deviation = weight.expected_std if weight.std is None else weight.std
            if weight.initializer is not None and deviation is not None:
                name, _, _ = weight.initializer.partition("(")
                deviations.setdefault(name, {})[place] = deviation
        groups = {}
        for name, (color, marker) in styles_of(deviations).items():
            groups[name] = Points(deviations[name], color, marker)
        label = "standard deviation"
        if self.dry_run:
            label = "expected standard deviation"
        paths = [self._shown_path(weight) for weight in self.rows]
        return plot_in_order(paths, {label: groups}, of="weight")


class Drawing:
    """The values of a weight, of which regions are drawn."""

    def __init__(self, weight: WeightPlan, initializer: LayerInitializer) -> None:
        self._weight = weight
        self._initializer = initializer
        self._whole: Array | None = None

    @property
    def shape(self) -> Shape:
        """The shape of the weight."""
        return self._weight.shape

    def at(self, region: Region | None) -> Array:
        """Return those in a region, or all, see `InitializationPlan.draw`.

        If they can only be made together, all are drawn once.
        """
        weight = self._weight
        if region is not None and self._whole is None:
            places = _places(weight.shape, region)
            part = as_ours(self._initializer).values_at(
                weight.shape, weight.dtype, places.reshape(-1)
            )
            if part is not None:
                return part.reshape(places.shape)
        whole = self._whole
        if whole is None:
            value = self._initializer(weight.shape, dtype=weight.dtype)
            whole = backend.host_view(checked_tensor(value, weight))
        if region is None:
            return np.array(whole)
        self._whole = whole  # for other regions
        return np.array(whole[region])


def _difference(weight: ModelWeight, row: WeightPlan, initializer: LayerInitializer | None) -> str:
    """Return how a weight differs from the one that a plan was made for; nothing if it does not."""
    if weight.shape != row.shape:
        return f"has the shape {weight.shape}, and {row.shape} in the plan"
    if weight.dtype != row.dtype:
        return f"has the dtype {weight.dtype}, and {row.dtype} in the plan"
    if initializer is None:
        return ""
    keeps = kept_sparse(weight.variable)
    if keeps is not None and keeps == initializer:
        return ""  # all of its zeros are there anyway
    zeros = initializer.zeros if isinstance(initializer, Masked) else None
    if keeps != zeros:
        return f"keeps the zeros of {keeps}, and those of {zeros} in the plan"
    return ""


def _check_region(path: str, region: Any, shape: Shape) -> None:
    """Raise an error unless `region` has a slice for each axis of a weight."""
    required = f"`region` must be a tuple of a slice for each axis of {path!r}, of shape {shape}"
    if not isinstance(region, tuple) or not all(isinstance(part, slice) for part in region):
        raise TypeError(f"{required}. Received: {region=}")
    if len(region) != len(shape):
        raise ValueError(f"{required}. Received: {region=}")


def _places(shape: Shape, region: Region) -> Array:
    """Return the places, in row-major order, of the elements of an array in a region."""
    places: Array = np.array(0, "int64")
    for length, part in zip(shape, region, strict=True):
        places = places[..., None] * length + np.arange(length)[part]
    return places


def checked_tensor(value: Any, row: WeightPlan) -> Tensor:
    """Return what an initializer gives for a weight as a tensor, if the weight can have it."""
    if isinstance(value, np.ma.MaskedArray):
        raise unsuitable(row.initializer, row.path, ", which gives a masked array")
    if isinstance(value, np.ndarray) and can_be_cast(value.dtype.name, row.dtype):
        try:
            value = cast(value, row.dtype)
        except OverflowError as error:
            raise unsuitable(row.initializer, row.path, f", which gives {error}") from None
    tensor = keras.ops.convert_to_tensor(value)
    shape = tuple(tensor.shape)
    if shape != row.shape:
        problem = f" of shape {row.shape}, which gives {shape}"
        raise unsuitable(row.initializer, row.path, problem)
    dtype = keras.backend.standardize_dtype(tensor.dtype)
    if "complex" in dtype and "complex" not in row.dtype:
        raise unsuitable(row.initializer, row.path, ", which gives complex numbers")
    return tensor


def unsuitable(initializer: str | None, path: str, problem: str) -> ValueError:
    return ValueError(
        f"`rules` must suit the weights. Received: {initializer} for {path!r}{problem}"
    )


def read_plan(name: str, path: str | Path) -> InitializationPlan:
    """Return the plan in a file.

    Args:
        name: Name of the argument in error messages.
        path: See `InitializationPlan.load`.
    """
    path = str(path)
    check_file(name, path)
    fields, found = FORMAT.read(name, path, _parsed)
    with FORMAT.refusing(name, path, "the seed"):
        seed = check_root("seed", fields["seed"])
    rows = [row for row, _ in found.values()]
    drawn = {row.path: said for row, said in found.values() if said is not None}
    return InitializationPlan(rows, seed, True, _said=drawn)


def _parsed(line: Mapping[str, Any]) -> tuple[WeightPlan, Said | None]:
    """Return the row of a line, and where its values come from."""
    unknown = line.keys() - set(_IN_LINE)
    if unknown:
        raise ValueError(f"unknown key {min(unknown)!r}")
    shape = check_shape(line["shape"])
    dtype = check_type("dtype", line["dtype"], str, "a text")
    np.dtype(dtype)  # raises the error of an unknown one
    fan_in, fan_out = line.get("fans", (None, None))
    for fan in (fan_in, fan_out):
        if fan is not None:
            check_number("fans", fan, positive=True)
    row = WeightPlan(line["path"], shape, dtype, None, line.get("reason", ""), fan_in, fan_out)
    if line["initializer"] is None:
        return row, None
    initializer = restored(line["initializer"])
    if "zeros" in line:  # as version 0.1 writes it
        initializer = Masked(initializer, restored(line["zeros"]))
    row = with_initializer(row, initializer, _seed_of(initializer))
    return row, Said(initializer, digest=checked_digest(line.get("digest")))


def with_initializer(
    row: WeightPlan, initializer: LayerInitializer, seed: int | None
) -> WeightPlan:
    """Return the row of a weight, with what it says of the initializer."""
    values = initializer.initializer if isinstance(initializer, Masked) else initializer
    expected_std = None
    if isinstance(values, Initializer):
        expected_std = values.expected_std(row.shape)
    return replace(
        row, initializer=description(values), reason="", expected_std=expected_std, seed=seed
    )


def _seed_of(initializer: Any) -> int | None:
    """Return the first seed in an initializer, not that of the zeros which a weight keeps."""
    if isinstance(initializer, Masked):
        initializer = initializer.initializer
    for part in initializers_within(initializer):
        seed = getattr(part, "seed", None)
        if isinstance(seed, int):
            return seed
    return None
