"""The arrays of a file with the weights of a model, each made when it is written.

Each weight has a row. Its status decides the values that are written:

- `"kept"`: the weight has the values that a load of `like` gives. Its arrays are copied, bit for
  bit.
- `"saved"`: its values are written to their places in its arrays (see `_way_back.py`).
- `"left"`, `"error"`: nothing is written.

A step is the `Assignment` of a load from `like`. An array is made from its *uses*, the weights that
are loaded from it.

torch may compute a weight from two arrays, the direction and the norm of a weight normalization. An
array of this weight is made in the same way, and then split: it is the direction, and has the norm.
"""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from keras_initx._checks import DTYPES, EPSILONS, truncate
from keras_initx._received import show
from keras_initx._typing import Array, DType, Shape
from keras_initx.backends._current import backend
from keras_initx.files._casts import can_be_cast, cast
from keras_initx.files._formats import Contents
from keras_initx.files._lazy import LazyArray
from keras_initx.files._safetensors import ArraySpec, format_dtype
from keras_initx.inspection._weights import ModelWeight
from keras_initx.tools.load_pretrained._array_names import Candidate
from keras_initx.tools.load_pretrained._load_plan import Assignment, LoadPlan, Outcome
from keras_initx.tools.load_pretrained._parametrized import Parametrized, find_norm_axes
from keras_initx.tools.save_pretrained._save_report import SavedWeight
from keras_initx.tools.save_pretrained._way_back import (
    Destination,
    NoWayBackError,
    StandIn,
    count_differences,
    find_destination,
    find_positions,
    has_equal_bits,
)

# Values that are read at a time.
_BAND_SIZE = 1 << 20
# How much a function and its inverse may round together, in float spacings of the largest number.
_ROUNDING_SPACINGS = 4


class _Use(NamedTuple):
    """A weight that is saved in an array.

    Attributes:
        step: The assignment of the load.
        name: The name that the load uses for the array. Tied arrays have several names.
    """

    step: Assignment
    name: str


class _Way(NamedTuple):
    """The way of a weight to an array that is made.

    Attributes:
        use: The weight.
        destination: The places of its values, `None` if an inverse makes the whole array.
    """

    use: _Use
    destination: Destination | None


class NewArrays:
    """Makes the arrays of a file from the weights of a model.

    Args:
        contents: The arrays of `like`.
        stand_ins: The stand-ins through which the plan reads them.
        plan: The plan of a load from `like`.
        parametrized: The weights that torch computes from arrays of `like`, by name.
        ties: The names of arrays that share memory, with the first name of each.
        dtype: The dtype of the saved values, `None` for the dtype of `like`.

    Attributes:
        rows: The row of each weight, by its path.
    """

    def __init__(
        self,
        contents: Contents,
        stand_ins: Mapping[str, StandIn],
        plan: LoadPlan,
        parametrized: Mapping[str, Parametrized],
        ties: Mapping[str, str],
        dtype: DType | None,
    ) -> None:
        self._contents = contents
        self._stand_ins = stand_ins
        self._plan = plan
        self._ties = ties
        self._dtype = dtype
        self._parametrized = parametrized
        # For the direction and the norm of each weight that is loaded: the name of this weight.
        self._whole_names: dict[str, str] = {}
        self._uses: dict[str, list[_Use]] = {}
        self.rows: dict[str, SavedWeight] = {}
        uses = []
        for step in plan.steps:
            row = self._plan_row(step)
            self.rows[row.path] = row
            if row.status in ("saved", "kept"):
                uses += [_Use(step, name) for name in self._list_sources(step)]
        for use in uses:
            if use.name not in contents:
                members = parametrized[use.name].members
                self._whole_names.update(dict.fromkeys(members, use.name))
        for use in uses:
            self._uses.setdefault(self._find_whole(use.name), []).append(use)
        for path, row in self.rows.items():
            if row.arrays:
                self.rows[path] = replace(row, array_dtype=self.choose_dtype(row.arrays[0]))

    # Plan the row of each weight.

    def _plan_row(self, step: Assignment) -> SavedWeight:
        loaded = step.row
        row = SavedWeight(
            loaded.path,
            "saved",
            loaded.detail,
            loaded.shape,
            loaded.dtype,
            loaded.size,
            saved=loaded.size,
            arrays=loaded.sources,
            array_shape=loaded.source_shape,
        )
        if step.array is None or loaded.status == "error":
            return self._plan_without_array(step, row)
        candidate = self._plan.chosen[step.weight.path]
        assert candidate is not None
        unknown = []
        if self._plan.differences is not None and not callable(candidate.part):
            unknown = self._plan.differences.list_unknown_orders(step.weight)
        if unknown:
            return _fail_row(
                row,
                f"the order of its {' and '.join(unknown)} in torch is not known: pass "
                "`(name, function, inverse)` in `names`",
            )
        if self._is_computed(step):
            return self._plan_computed(step, row, candidate)
        if self._loses_bits(step, row, candidate) and self._is_unchanged(step):
            return replace(row, status="kept")
        return row

    def _plan_computed(
        self, step: Assignment, row: SavedWeight, candidate: Candidate
    ) -> SavedWeight:
        """Plan a weight that torch computes from several arrays."""
        if self._is_unchanged(step):
            return replace(row, status="kept")
        if len(candidate.names) > 1:
            names = " and ".join(map(repr, row.arrays))
            return _fail_row(
                row,
                f"torch computes it from {names} ({row.detail}), and it has changed: merge "
                "these in torch (`remove_parametrizations`) and pass "
                "`like=module.state_dict()`",
            )
        return row

    def _loses_bits(self, step: Assignment, row: SavedWeight, candidate: Candidate) -> bool:
        """Return whether the way back through rounding, a sum or an inverse loses bits of `like`.

        The arrays of an unchanged weight are copied then, unless they are saved in another dtype.
        """
        are_cast = self._dtype is not None and any(
            self._dtype_if_saved(name) != self._contents[name].dtype for name in row.arrays
        )
        was_rounded = any(
            not np.can_cast(self._contents[name].dtype, step.weight.dtype) for name in row.arrays
        )
        on_the_way = was_rounded or len(row.arrays) > 1 or candidate.inverse is not None
        return on_the_way and not are_cast

    def _plan_without_array(self, step: Assignment, row: SavedWeight) -> SavedWeight:
        row = replace(row, saved=0)
        if step.row.status == "error":
            # The text of a load offers to resize, which does not help here.
            if row.arrays and math.prod(row.shape or ()) != math.prod(row.array_shape or ()):
                names = " and ".join(map(repr, row.arrays))
                return _fail_row(
                    row,
                    f"{names} of `like` has the shape {row.array_shape}. If the weight was resized "
                    "or is of a new head, pass `like=target.state_dict()` of a module with the new "
                    "shapes",
                )
            return _fail_row(row, row.detail)
        if step.outcome is Outcome.SKIPPED or step.weight.kind == "counter":
            return replace(row, status="left")
        reason = self._plan.own.reasons.get(step.weight.path)
        because = f" ({reason})" if reason else ""
        return _fail_row(
            row,
            f"`like` has no array for it{because}: name one in `names`, or `None` to leave the "
            "weight out",
        )

    def _is_unchanged(self, step: Assignment) -> bool:
        return has_equal_bits(self._read_values(step.weight), _read_loaded(step))

    def _read_values(self, weight: ModelWeight) -> Array:
        return backend.host_view(weight.variable.value)

    def _is_computed(self, step: Assignment) -> bool:
        return any(name not in self._contents for name in self._list_sources(step))

    def _list_sources(self, step: Assignment) -> dict[str, LazyArray]:
        """List the arrays that a weight is loaded from, also one that torch computes, by name."""
        candidate = self._plan.chosen[step.weight.path]
        assert candidate is not None
        return {name: self._get_stored(name) for name in candidate.names}

    def _get_stored(self, name: str) -> LazyArray:
        if name in self._contents:
            return self._contents[name]
        array = self._parametrized[name].array
        assert array is not None
        return array

    def _find_whole(self, name: str) -> str:
        # The array that is made, of which the one of this name may be a part.
        name = self._ties.get(name, name)
        return self._whole_names.get(name, name)

    def _get_inverse(self, step: Assignment) -> Callable[[Array], Any] | None:
        candidate = self._plan.chosen[step.weight.path]
        return None if candidate is None else candidate.inverse

    def _has_function(self, step: Assignment) -> bool:
        candidate = self._plan.chosen[step.weight.path]
        return candidate is not None and callable(candidate.part)

    def _note_failure(self, step: Assignment, problem: str) -> None:
        path = step.row.path
        self.rows[path] = _fail_row(self.rows[path], problem)

    # Make the arrays.

    def _dtype_if_saved(self, name: str) -> DType:
        dtype = self._contents[name].dtype
        return self._dtype if self._dtype is not None and dtype in DTYPES else dtype

    def _is_changed(self, name: str) -> bool:
        uses = self._uses.get(self._find_whole(name), [])
        return any(self.rows[use.step.row.path].status == "saved" for use in uses)

    def choose_dtype(self, name: str) -> DType:
        return self._dtype_if_saved(name) if self._is_changed(name) else self._contents[name].dtype

    @property
    def names(self) -> list[str]:
        """The names of the arrays, in the order of `like`, without entries that are no arrays."""
        return [str(name) for name, array in self._contents.items() if array.dtype != "object"]

    @property
    def copied(self) -> dict[str, Shape]:
        """The shapes of the arrays that no weight uses, by name."""
        unused = [name for name in self.names if self._find_whole(name) not in self._uses]
        return {name: self._contents[name].shape for name in unused}

    def describe(self, name: str) -> ArraySpec:
        """Describe an array for the head of a file.

        Raises:
            ValueError: If NumPy or the format has no such dtype.
        """
        array = self._contents[name]
        dtype = self.choose_dtype(name)
        in_format = format_dtype(dtype)
        if in_format is None:
            raise ValueError(
                "`like` must have arrays of dtypes that NumPy and a `.safetensors` file have. "
                f"Received: {show(name)} of dtype {dtype}"
            )
        return ArraySpec(in_format, array.shape, math.prod(array.shape) * np.dtype(dtype).itemsize)

    def make(self, name: str) -> Array:
        """Make an array of the file: the values in `like`, overwritten by the weights of the model.

        Weights that cannot be saved are noted in `rows`.
        """
        name = self._ties.get(name, name)
        stored = self._contents[name]
        if not self._is_changed(name):
            return np.asarray(stored.read(...)).astype(stored.dtype, copy=False)
        whole = self._whole_names.get(name)
        if whole is not None:
            return self._make_part(name, whole)
        return self._fill(name, np.empty(stored.shape, self.choose_dtype(name)))

    def _make_part(self, name: str, whole: str) -> Array:
        """Make the direction or the norm of a weight.

        The weight itself is a direction, so that `g * v / |v|` is the weight if `g` is its norm.
        """
        direction, gain = self._parametrized[whole].members
        stored = self._contents[direction]
        axes = find_norm_axes(self._contents[gain].shape, stored.shape)
        values = self._fill(whole, np.empty(stored.shape, "float64"))
        norms = np.sqrt(np.sum(np.square(values), axis=axes, keepdims=True))
        # A weight of zeros has no direction, and keeps the one in `like`.
        values = np.where(norms > 0, values, np.asarray(stored.read(...)).astype("float64"))
        dtype = self.choose_dtype(direction)
        try:
            values = cast(values, dtype)
            if name == direction:
                for use in self._uses[whole]:
                    self._note_rounding(use.step, self._read_values(use.step.weight), dtype)
                return values
            # The norm of what is saved.
            squares = np.square(values.astype("float64"))
            gains = np.where(norms > 0, np.sqrt(np.sum(squares, axis=axes, keepdims=True)), 0)
            return cast(gains.reshape(self._contents[gain].shape), self.choose_dtype(gain))
        except OverflowError as error:
            for use in self._uses[whole]:
                self._note_failure(use.step, f"{name!r} cannot hold its values: {error}")
            return np.asarray(self._contents[name].read(...))

    def _fill(self, name: str, array: Array) -> Array:
        """Fill an array with the values in `like`, overwritten by the weights of the model."""
        ways = [self._find_way(use, array) for use in self._uses[name]]
        written = [way for way in ways if way is not None and self._is_saved(way.use)]
        views = [way.destination.view for way in written if way.destination is not None]
        if not any(view is not None and view.size == array.size for view in views):
            _copy_stored(array, self._get_stored(name))
        for way in written:
            self._write(way, array)
        if len(ways) > 1:
            self._note_conflicts([way for way in ways if way is not None], array)
        return array

    def _is_saved(self, use: _Use) -> bool:
        return self.rows[use.step.row.path].status == "saved"

    def _find_way(self, use: _Use, array: Array) -> _Way | None:
        """Find the way of a weight to an array, or note in its row that there is none."""
        step, name = use
        row = self.rows[step.row.path]
        assert step.array is not None
        if self._get_inverse(step) is not None:
            return _Way(use, None)
        sources = self._list_sources(step)
        try:
            return _Way(use, find_destination(step.array, array, name, sources, self._stand_ins))
        except NoWayBackError as reason:
            if self._is_saved(use) and self._is_unchanged(step):
                self.rows[row.path] = replace(row, status="kept")
            elif self._is_saved(use):
                self._note_failure(
                    step,
                    f"{row.detail} does not only move values ({reason}), and the weight has "
                    "changed: pass `(name, function, inverse)` in `names`",
                )
            return None

    def _write(self, way: _Way, array: Array) -> None:
        step, name = way.use
        values = self._read_values(step.weight)
        dtype = array.dtype.name
        inverse = self._get_inverse(step)
        try:
            if inverse is not None:
                array[...] = cast(self._apply_inverse(step, inverse, array), dtype, copy=False)
            elif way.destination is not None:
                way.destination.write(array, self._zero_written(way, values))
        except (OverflowError, _InverseError) as error:
            self._note_failure(step, f"{name!r} cannot hold its values: {error}")
            return
        if values.dtype != array.dtype and inverse is None:
            self._note_rounding(step, values, dtype)

    def _note_rounding(self, step: Assignment, values: Array, dtype: DType) -> None:
        path = step.row.path
        row = self.rows[path]
        note = f"rounded to {dtype}"
        if note not in row.detail and not has_equal_bits(values, values, dtype):
            how = f"{row.detail}, {note}" if row.detail else note
            self.rows[path] = replace(row, detail=how)

    def _zero_written(self, way: _Way, values: Array) -> Array:
        """Set to zero the values that an earlier array has, if a load adds several arrays.

        The weight is then the sum of the arrays. A negative zero changes no number in a sum, not
        even another negative zero.
        """
        step, name = way.use
        assert step.array is not None
        sources = self._list_sources(step)
        for earlier in list(sources)[: list(sources).index(name)]:
            positions = find_positions(step.array, earlier, sources, self._stand_ins)
            values = np.where(positions > 0, np.asarray(-0.0, values.dtype), values)
        return values

    def _apply_inverse(
        self, step: Assignment, inverse: Callable[[Array], Any], array: Array
    ) -> Array:
        try:
            values = np.asarray(inverse(np.array(self._read_values(step.weight))))
        except Exception as error:  # the function of a user may raise anything
            raise _InverseError(f"the inverse raises {type(error).__name__}: {error}") from error
        if values.shape != array.shape:
            raise _InverseError(f"the inverse returns the shape {values.shape}")
        if not can_be_cast(values.dtype.name, array.dtype.name):
            raise _InverseError(f"the inverse returns {values.dtype.name}")
        return values

    def _note_conflicts(self, ways: Sequence[_Way], array: Array) -> None:
        """Note weights that share places in an array, but have different values there."""
        for way in ways:
            step, name = way.use
            if not self._is_saved(way.use) or way.destination is None or len(step.row.sources) > 1:
                continue
            if not way.destination.holds(array, self._read_values(step.weight)):
                others = [repr(other.use.step.row.path) for other in ways if other is not way]
                self._note_failure(
                    step,
                    f"{truncate(others)} is saved in {name!r} too, and has other values now: name "
                    "another array, or `None` for one of them",
                )

    # Compare with a load of the new arrays.

    def _dtype_on_the_way(self, step: Assignment) -> DType | None:
        # The dtype that the weight was rounded to, `None` if it was not.
        row = self.rows[step.row.path]
        if row.status == "kept" or row.dtype not in DTYPES:
            return None
        return self.choose_dtype(row.arrays[0])

    def note_differences(self, plan: LoadPlan) -> None:
        """Note in `rows` which weights differ after a load of the new arrays.

        Args:
            plan: The plan of this load.
        """
        for step in plan.steps:
            row = self.rows[step.row.path]
            if row.status not in ("saved", "kept"):
                continue
            if step.array is None or step.row.status == "error":
                self._note_failure(step, f"a load of the new file leaves it out: {step.row.detail}")
                continue
            values = self._read_values(step.weight)
            if self._get_inverse(step) is not None or self._is_computed(step):
                self._compare_up_to_rounding(step, _read_loaded(step), values)
                continue
            count = self._count_differences(step, values)
            if count:
                problem = f"{count} of {values.size} values differ when they are loaded again"
                if self._has_function(step):
                    problem += (
                        f" with {row.detail}, which does not only move values: pass "
                        "`(name, function, inverse)` in `names`"
                    )
                self._note_failure(step, problem)

    def _count_differences(self, step: Assignment, values: Array) -> int:
        assert step.array is not None
        through = self._dtype_on_the_way(step)
        # Numbers that the dtype of the weight can hold are compared before they are cast to it.
        is_exact = through == step.array.dtype and np.can_cast(through, values.dtype)
        loaded = np.asarray(step.array.read(...)) if is_exact else _read_loaded(step)
        return count_differences(loaded, values, through)

    def _compare_up_to_rounding(self, step: Assignment, loaded: Array, expected: Array) -> None:
        """Note a weight that is computed by a load, and differs by more than rounding."""
        path = step.row.path
        row = self.rows[path]
        if row.status == "kept" or has_equal_bits(loaded, expected):
            return
        difference = np.abs(loaded.astype("float64") - expected.astype("float64"))
        stored = self._find_largest_stored(step)
        largest = max(float(np.max(np.abs(expected.astype("float64")), initial=0)), stored)
        dtypes = (row.array_dtype, expected.dtype.name)
        spacing = max(EPSILONS[dtype] for dtype in dtypes)
        error = float(np.max(difference, initial=0))
        if not error <= _ROUNDING_SPACINGS * spacing * largest:
            problem = "the function does not undo its inverse"
            if self._is_computed(step):
                problem = "it is not what torch computes from the new arrays"
            self._note_failure(step, f"{problem}: values are off by {error:.2g}")
            return
        self.rows[path] = replace(row, detail=f"{row.detail}, inverse exact to {error:.1g}")

    def _find_largest_stored(self, step: Assignment) -> float:
        # The numbers that the inverse returns may be larger than the weight, and were rounded.
        inverse = self._get_inverse(step)
        if inverse is None:
            return 0.0
        values = np.asarray(inverse(np.array(self._read_values(step.weight)))).astype("float64")
        return float(np.max(np.abs(values), initial=0))

    # Note what a user of the file should know.

    def list_notes(self) -> list[str]:
        """List sentences on weights that were rounded, on sums, and on omitted entries."""
        notes = []
        rounded = [row.path for row in self.rows.values() if "rounded to" in row.detail]
        if rounded:
            notes.append(f"Weights that were rounded: {truncate(rounded)}.")
        summed = []
        for row in self.rows.values():
            if row.status == "saved" and len(row.arrays) > 1 and "summed" in row.detail:
                summed.append(f"{row.path} ({' + '.join(row.arrays)})")
        if summed:
            notes.append(
                f"Weights that were saved in the first array, with zeros in the other: "
                f"{truncate(summed)}. torch trains both arrays, so their sum moves twice as far as "
                "a single bias."
            )
        omitted = [str(name) for name, array in self._contents.items() if array.dtype == "object"]
        if omitted:
            notes.append(
                f"Entries that were left out, because they are no arrays: {truncate(omitted)}."
            )
        return notes

    def note_equal_copies(self) -> list[str]:
        """Note copied arrays that have the bits of a saved array in `like`.

        A file does not show whether they are tied, or equal by chance, such as an average of
        weights that has just begun.
        """
        digests: dict[tuple[Any, ...], list[str]] = {}
        copied = self.copied
        shapes = {(shape, self._contents[name].dtype) for name, shape in copied.items()}
        equal = []
        # Saved arrays first, then copied ones.
        for name in sorted(self.names, key=copied.__contains__):
            stored = self._contents[name]
            kind = (stored.shape, stored.dtype)
            if len(stored.shape) < 2 or kind not in shapes:
                continue
            values = np.ascontiguousarray(stored.read(...))
            if (values == values.flat[:1]).all():
                continue  # zeros say nothing
            digest = hashlib.blake2b(values.reshape(-1).view("uint8").data).digest()
            saved = digests.setdefault((*kind, digest), [])
            if name in copied and saved:
                equal.append(f"{name} (as {saved[0]})")
            elif name not in copied:
                saved.append(name)
        if not equal:
            return []
        return [
            f"Arrays that were copied, but equal a saved array in `like`: {truncate(equal)}. "
            "Remedy: if torch ties them, pass `like=module.state_dict()`."
        ]


class _InverseError(Exception):
    """Raised if an inverse raises, or returns something that the array cannot hold."""


def _fail_row(row: SavedWeight, problem: str) -> SavedWeight:
    return replace(row, status="error", detail=problem, saved=0)


def _read_loaded(step: Assignment) -> Array:
    assert step.array is not None
    dtype = backend.available_dtype(step.weight.dtype)
    return cast(np.asarray(step.array.read(...)), dtype, copy=False)


def _copy_stored(array: Array, stored: Any) -> None:
    # By bands of rows, so that this takes no memory next to the array.
    dtype = array.dtype.name
    if not array.shape:
        array[...] = cast(np.asarray(stored.read(...)), dtype)
        return
    rows = max(1, _BAND_SIZE // max(1, math.prod(array.shape[1:])))
    whole_rows = (slice(None),) * (array.ndim - 1)
    for begin in range(0, array.shape[0], rows):
        band = slice(begin, begin + rows)
        array[band] = cast(np.asarray(stored.read((band, *whole_rows))), dtype, copy=False)
