"""Load the weights of a whole model from arrays with other names and layouts."""

import dataclasses
import difflib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_initx._checks import DTYPES, check_choice, check_flag
from keras_initx._typing import Array, Shape
from keras_initx.initializers._array_files import Stored
from keras_initx.models._arrays import Candidate, NameRules, Source, in_memory, named, opened, wanted
from keras_initx.models._layouts import Layout, arrangements
from keras_initx.models._weights import ModelWeight, check_model, find_weights
from keras_initx.rendering._table import Column, Tabular
from keras_initx.rendering._terminal import progress

# Maximum number of names and problems that a text lists.
LISTED = 20


@dataclass(frozen=True)
class LoadedWeight:
    """The source of one weight in `load_pretrained`.

    Attributes:
        path: Its path in the model, see `ModelWeight`.
        shape: Its shape.
        dtype: The name of its dtype.
        names: The names of the arrays that it is loaded from, empty if there are none.
        source_shape: Their shape, or `None` if there are none.
        change: How they are converted; empty if they are used as they are.
        reason: Why the weight is left unchanged, otherwise empty.
        problem: Why it cannot be loaded, otherwise empty.
    """

    path: str
    shape: Shape
    dtype: str
    names: tuple[str, ...] = ()
    source_shape: Shape | None = None
    change: str = ""
    reason: str = ""
    problem: str = ""


_COLUMNS: Sequence[Column[LoadedWeight]] = (
    Column("weight", lambda weight: weight.path, is_text=True),
    Column("shape", lambda weight: weight.shape),
    Column("array", lambda weight: " + ".join(weight.names), is_text=True, max_width=40),
    Column("array shape", lambda weight: weight.source_shape or ""),
    Column("conversion", lambda weight: _done(weight), is_text=True, max_width=30),
)


def _done(weight: LoadedWeight) -> str:
    if weight.problem:
        return f"ERROR: {weight.problem}"
    return f"({weight.reason})" if weight.reason else weight.change


@dataclass(frozen=True, eq=False, repr=False)
class LoadingPlan(Tabular[LoadedWeight]):
    """The source of each weight in `load_pretrained`, shown as a table by `print` and in notebooks.

    Attributes:
        weights: A `LoadedWeight` for each weight, in the order of the layers.
        unused: Dict from the names of the unused arrays to their shapes.
        dry_run: Whether the model was left unchanged.
    """

    weights: list[LoadedWeight]
    unused: Mapping[str, Shape]
    dry_run: bool
    _columns = _COLUMNS

    @property
    def left(self) -> list[LoadedWeight]:
        """The weights that are left unchanged."""
        return [weight for weight in self.weights if weight.reason]

    @property
    def problems(self) -> list[str]:
        """A message for each weight that cannot be loaded. Only the plan of a dry run can have any."""
        return [f"{weight.path!r} {weight.shape}: {weight.problem}" for weight in self.weights if weight.problem]

    def _summary(self) -> str:
        problems, left = self.problems, self.left
        parts = [
            f"{len(self.weights) - len(left) - len(problems)} of {len(self.weights)} weights "
            + ("to be loaded" if self.dry_run else "loaded")
        ]
        if left:
            parts.append(f"{len(left)} left unchanged")
        if problems:
            parts.append(f"{len(problems)} with errors")
        arrays = [f"{name} {shape}" for name, shape in self.unused.items()]
        unused = f"; unused arrays: {listed(arrays)}" if arrays else ""
        return f"{', '.join(parts)}{unused}."


def listed(texts: Sequence[str], mark: str = ", ") -> str:
    """Join `texts` in one line, truncating a long list."""
    more = [f"and {len(texts) - LISTED} more"] if len(texts) > LISTED else []
    return mark.join([*texts[:LISTED], *more])


@dataclass(frozen=True)
class Step:
    """A weight, its row in the plan, and a function that makes its values, or `None` if it is left unchanged."""

    weight: ModelWeight
    row: LoadedWeight
    make: Callable[[], Array] | None = None


def loading_steps(
    weights: Sequence[ModelWeight], contents: Mapping[str, Stored], rules: NameRules | None, layout: Layout
) -> list[Step]:
    """Return a step for each weight. Mismatches are reported in its row."""
    hints = iter(range(LISTED))  # comparing all names with all others would be slow
    if rules is None:
        candidates = [list(named(weight, layout)) for weight in weights]
        return [
            _step(weight, contents, found, layout, hints)
            if _there(found, contents)
            else _left(weight, "not in the source")
            for weight, found in zip(weights, candidates, strict=True)
        ]
    by_rule = wanted(weights, rules, layout)
    steps = []
    for weight in weights:
        found = by_rule.get(weight.path)
        if found is None:
            steps.append(_left(weight, "by rule" if weight.path in by_rule else "no rule"))
        else:
            steps.append(_step(weight, contents, found, layout, hints))
    return steps


def _left(weight: ModelWeight, reason: str) -> Step:
    return Step(weight, LoadedWeight(weight.path, weight.shape, weight.dtype, reason=reason))


def _there(candidates: Sequence[Candidate], contents: Mapping[str, Stored]) -> Candidate | None:
    return next((candidate for candidate in candidates if contents.keys() >= set(candidate.names)), None)


def _step(
    weight: ModelWeight,
    contents: Mapping[str, Stored],
    candidates: Sequence[Candidate],
    layout: Layout,
    hints: Iterator[int],
) -> Step:
    row = LoadedWeight(weight.path, weight.shape, weight.dtype)
    candidate = _there(candidates, contents)
    if candidate is None:
        return Step(weight, dataclasses.replace(row, problem=_missing(candidates, contents, hints)))
    stored = [contents[name] for name in candidate.names]
    row = dataclasses.replace(row, names=candidate.names, source_shape=stored[0].shape)
    for array in stored:
        if not _can_be_cast(array, weight):
            return Step(weight, dataclasses.replace(row, problem=f"cannot cast {array.dtype} to {weight.dtype}"))
    if callable(candidate.part):
        return _by_function(weight, row, stored[0], candidate.part)
    if candidate.third is not None and math.prod(stored[0].shape[:1]) % 3:
        return Step(weight, dataclasses.replace(row, problem=f"the shape {stored[0].shape} has no thirds"))
    return _arranged(weight, row, stored, _index(candidate, stored[0].shape), layout)


def _can_be_cast(array: Stored, weight: ModelWeight) -> bool:
    return array.dtype == weight.dtype or {array.dtype, weight.dtype} <= set(DTYPES)


def _missing(candidates: Sequence[Candidate], contents: Mapping[str, Stored], hints: Iterator[int]) -> str:
    names = [" and ".join(map(repr, candidate.names)) for candidate in candidates]
    is_told = next(hints, None) is not None
    close = difflib.get_close_matches(candidates[-1].names[0], contents, cutoff=0.5) if is_told else []
    similar = f"; close matches are {', '.join(map(repr, close))}" if close else ""
    return f"no array {' or '.join(dict.fromkeys(names))}{similar}"


def _by_function(weight: ModelWeight, row: LoadedWeight, stored: Stored, function: Callable[[Array], Any]) -> Step:
    made = in_memory(function(stored.read()))
    if made.shape != weight.shape:
        return Step(weight, dataclasses.replace(row, problem=f"the function returns shape {made.shape}"))
    if not _can_be_cast(made, weight):
        return Step(weight, dataclasses.replace(row, problem=f"the function returns {made.dtype}"))
    change = f"{getattr(function, '__name__', type(function).__name__)}()"
    return Step(weight, dataclasses.replace(row, change=change), lambda: made.read().astype(weight.dtype))


def _index(candidate: Candidate, shape: Shape) -> Any:
    if candidate.third is None:
        return candidate.part
    length = shape[0] // 3
    return slice(candidate.third * length, (candidate.third + 1) * length)


def _arranged(weight: ModelWeight, row: LoadedWeight, stored: Sequence[Stored], index: Any, layout: Layout) -> Step:
    shapes = [array.shape for array in stored]
    if index is not None:
        try:
            # Arrays of these shapes that take no memory.
            shapes = [np.broadcast_to(np.int8(0), shape)[index].shape for shape in shapes]
        except (IndexError, TypeError) as error:
            return Step(weight, dataclasses.replace(row, problem=f"no part {_text(index)}: {error}"))
    ways = arrangements(weight, layout)
    way = next((way for way in ways if way.fits(shapes)), None)
    if way is None:
        return Step(weight, dataclasses.replace(row, problem=_misfit(weight, shapes, [way.source for way in ways])))

    def make() -> Array:
        arrays = [array.read() for array in stored]
        parts = arrays if index is None else [array[index] for array in arrays]
        return np.asarray(way.apply([part.astype(weight.dtype) for part in parts], weight.shape), order="C")

    steps = [_text(index) if index is not None else "", way.description(shapes, weight.shape)]
    return Step(weight, dataclasses.replace(row, change=", ".join(filter(None, steps))), make)


def _misfit(weight: ModelWeight, shapes: Sequence[Shape], expected: Sequence[Shape]) -> str:
    if not expected:
        return (
            f"the order of axes of a {type(weight.layer).__name__} in torch is unknown; pass a function of the array, "
            "as in `(name, function)`"
        )
    return f"the shape is {' and '.join(map(str, shapes))} instead of {' or '.join(map(str, expected))}"


def _text(index: Any) -> str:
    """Return an index as source text."""

    def part(value: Any) -> str:
        if not isinstance(value, slice):
            return "..." if value is ... else str(value)
        ends = ["" if end is None else str(end) for end in (value.start, value.stop)]
        return ":".join(ends if value.step is None else [*ends, str(value.step)])

    return f"[{', '.join(map(part, index if isinstance(index, tuple) else (index,)))}]"


def load_pretrained(
    model: keras.Model,
    source: Source,
    rules: NameRules | None = None,
    *,
    layout: Layout | None = None,
    dry_run: bool = False,
) -> LoadingPlan:
    """Load the weights of a built model from arrays with other names and another layout.

    A rule maps a path in the model to a name in the source: `{"block_*/dense": "blocks.{0}.fc"}`,
    where `*` matches any part of one name and `{0}` is the text that the first `*` matched. The
    pattern of a layer covers all weights inside it; the names below it must be the same in the
    source, or those of torch: `weight` for `kernel`, `running_mean` for `moving_mean`. The first
    matching rule is used. Weights that no rule matches are left unchanged. Without rules, each
    weight is looked up by its own path, with `/` or `.` as separator, and left unchanged if it is
    not found.

    With `layout="torch"`, kernels are transposed as their layers require: dense and einsum layers;
    convolutions, including transposed, depthwise and separable ones; attention from a fused
    `in_proj_weight`; `LSTM` and `GRU` from `weight_ih_l0` and the like, with both biases and the
    order of gates. With `layout="keras"`, the order of axes is kept. The layout cannot be inferred
    from shapes, because a square kernel fits both ways. An array must have exactly the shape that
    its layer has in that layout, also where an axis has length 1; an index adds or drops such axes,
    as in `("conv.weight", numpy.s_[:, :, 0, 0])` for a dense layer. Two differences are not
    handled: in torch, a dense layer after a flattened image has its inputs in another order,
    channels first; and torch has other defaults, such as an epsilon of 1e-5 in normalization
    layers.

    All names, shapes and dtypes are checked, and all arrays read, before the first weight is
    assigned: after an error the model is unchanged. Values are cast to the dtype of the weight.
    Only the arrays that are used are read from a file.

    Args:
        model: A built model.
        source: The path of a file: `.safetensors` (with the extra `safetensors`), `.npz`, `.h5`,
            `.hdf5` or `.keras`; another Keras model; or a dict from names to arrays or tensors,
            such as the `state_dict()` of a torch module, where entries that no weight needs may be
            anything. Nothing is unpickled.
        rules: Dict from patterns to names, tried in order. If the pattern is that of a weight, the
            value may be a pair `(name, part)`: an index such as `numpy.s_[:64]` selects a part of
            the source array, before any transposition; a function takes the array and returns the
            weight, and `layout` is ignored. `None` leaves the matching weights unchanged.
        layout: The order of axes in the source, `"torch"` or `"keras"`. Required unless the source
            is from Keras, whose layout is `"keras"`: a model, or a file that ends in `.weights.h5` or
            `.keras`.
        dry_run: If true, only return the plan and do not change the model. Missing names and shapes
            that do not fit are then reported in the plan instead of raising an error.

    Returns:
        A `LoadingPlan` with a row for each weight, and the unused arrays.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If the model is not built, a rule matches nothing, an array does not exist or
            does not fit, is masked or complex, no weight is found at all, the layout is unknown or
            not that of the source, or the file cannot be read.
        ImportError: If the package `safetensors` is needed but not installed.

    Example:
        >>> import numpy as np
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="dense")])
        >>> state = {"fc.weight": np.array([[1, 2, 3], [4, 5, 6.0]]), "fc.bias": np.zeros(2)}
        >>> plan = load_pretrained(model, state, {"dense": "fc"}, layout="torch")
        >>> keras.ops.convert_to_numpy(model.layers[0].kernel).tolist()
        [[1.0, 4.0], [2.0, 5.0], [3.0, 6.0]]
    """
    check_model("model", model)
    check_flag("dry_run", dry_run)
    with opened(source) as (contents, own_layout):
        steps = loading_steps(find_weights(model), contents, rules, _layout(layout, own_layout))
        used = {name for step in steps for name in step.row.names}
        unused = {name: stored.shape for name, stored in contents.items() if name not in used}
        plan = LoadingPlan([step.row for step in steps], unused, dry_run)
        if dry_run:
            return plan
        _check(plan)
        values = []
        with progress("Loading weights", len(steps), "weights") as advance:
            for step in steps:
                values.append(step.make() if step.make else None)
                advance(1)
    for step, value in zip(steps, values, strict=True):
        if value is not None:
            step.weight.variable.assign(value)
    return plan


def _check(plan: LoadingPlan) -> None:
    """Raise `ValueError` if the plan has problems or loads nothing."""
    if plan.problems:
        raise ValueError(
            f"`source` must have an array for each weight that is to be loaded. Received: {listed(plan.problems, '; ')}"
        )
    if not any(weight.names for weight in plan.weights):
        paths, names = ([*map(repr, found)] for found in ((weight.path for weight in plan.weights), plan.unused))
        raise ValueError(
            "`rules` must map weights to arrays, because no array has the name of a weight. "
            f"Received: weights {listed(paths)}; arrays {listed(names)}"
        )


def _layout(layout: Layout | None, own: Layout | None) -> Layout:
    if own is not None:
        if layout not in (None, own):
            raise ValueError(f"`layout` must be {own!r} or `None` for this source. Received: layout={layout!r}")
        return own
    if layout is None:
        raise ValueError(
            "`layout` must be 'torch' or 'keras': names and shapes do not show the order of axes. Received: layout=None"
        )
    return check_choice("layout", layout, ("torch", "keras"))
