"""Load the weights of a whole model from arrays with other names and layouts."""

import contextlib
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, TypeAlias

import keras
import numpy as np

from keras_initx._array_files import Region, Stored
from keras_initx._casts import can_be_cast, cast
from keras_initx._checks import LISTED, check_flag, close_matches, truncated
from keras_initx._typing import Array, DType, Shape, Tensor
from keras_initx.backends import backend
from keras_initx.models import _arrays, _layouts
from keras_initx.models._assign import refresh_normalizations, undone_after_error
from keras_initx.models._changes import Change, Changes
from keras_initx.models._load_lora import Lora
from keras_initx.rendering import progress
from keras_initx.sampling import HOST
from keras_initx.structure import ModelWeight, check_model, find_weights

__all__ = ["load_pretrained"]


def load_pretrained(
    model: keras.Model,
    source: _arrays.Source,
    rules: _arrays.NameRules | None = None,
    *,
    layout: _layouts.LayoutName | None = None,
    atomic: bool = True,
    dry_run: bool = False,
) -> Changes:
    """Load the weights of a built model from arrays with other names and another layout.

    A rule maps a path in the model to a name in the source: `{"block_*/dense": "blocks.{0}.fc"}`,
    with a pattern as in `initialize`. `{0}` is the text that the first `*` stands for: from the
    left, each stands for as little as possible. The pattern of a layer covers all weights inside
    it, the outermost layer that it matches; the names below it must be the same in the source, or
    those of torch: `weight` for `kernel`, `running_mean` for `moving_mean`. The first matching rule
    is used. Weights that no rule matches are left unchanged. Without rules, each
    weight is looked up by its own path, with `/` or `.` as separator, and left unchanged if it is
    not found.

    With `layout="torch"`, kernels are transposed as their layers require: dense and einsum layers;
    convolutions, including transposed, depthwise and separable ones; attention from a fused
    `in_proj_weight`; `LSTM` and `GRU` from `weight_ih_l0` and the like, with both biases and the
    order of gates. With `layout="keras"`, the order of axes is kept. The layout cannot be inferred
    from shapes, because a square kernel fits both ways. An array must have exactly the shape that
    its layer has in that layout, also where an axis has length 1; an index adds or drops such axes,
    as in `("conv.weight", numpy.s_[:, :, 0, 0])` for a dense layer. Parameters of a single axis,
    such as the slopes of a `PReLU`, need no index. Two differences are not handled: in torch, a
    dense layer after a flattened image has its inputs in another order, channels first; and torch
    has other defaults, such as an epsilon of 1e-5 in normalization layers.

    A kernel of a source model whose layer adds factors of LoRA is refused, unless these are loaded
    too, into factors with the same `lora_alpha / lora_rank`. Save such a model with Keras, which
    merges them, and pass the one that it loads. A kernel of the model whose layer adds factors that
    are not zero is refused too, unless these are loaded or a rule leaves them.

    All names, shapes and dtypes are checked before the first array is read, except by a function,
    which is called twice: to check what it returns, and to load it. Values are cast to the dtype of
    the weight, once. A finite number beyond its range is refused when it is read; infinities and
    NaN are loaded. Only the arrays that are used are read from files, one at a time. If a weight
    is sharded, a process reads the regions that its devices hold: from `.safetensors`, `.h5`,
    `.hdf5` and `.keras` nothing else, as long as the axes of the array are at most in another
    order.

    Args:
        model: A built model.
        source: The path of a file: `.safetensors` (with the extra `safetensors`), `.npz`, `.h5`,
            `.hdf5` or `.keras`; of the index of several files, `model.safetensors.index.json`; of a
            folder with one, or with `.safetensors` files; or a list of files. Or another Keras
            model; or a dict from names to arrays or tensors, such as the `state_dict()` of a torch
            module, where entries that no weight needs may be anything. An object with the
            attributes `shape` and `dtype` and the method `__array__` is read when its weight is
            loaded. Weights of the model itself and views of them are copied first. Nothing is
            unpickled.
        rules: Dict from patterns to names, tried in order. If the pattern is that of a weight, the
            value may be a pair `(name, part)`: an index such as `numpy.s_[:64]` selects a part of
            the source array, before any transposition; a function takes the array and returns the
            weight, and `layout` is ignored, and must not use weights of the model, which may have
            changed when it is called again. `None` leaves the matching weights unchanged.
        layout: The order of axes in the source, `"torch"` or `"keras"`. Required unless the source
            is from Keras, whose layout is `"keras"`: a model, or a file that ends in `.weights.h5`
            or `.keras`.
        atomic: Whether the model is as before after an error or an interruption. For this the
            former values are kept until the end, which takes as much memory as the weights. Without
            it, a note of the exception says how many weights have new values.
        dry_run: If true, only return the plan and do not change the model. Missing names and shapes
            that do not fit are then reported in the plan instead of raising an error.

    Returns:
        `Changes` with a row for each weight, and the unused arrays. The rows have the names of the
        arrays as `sources`, and say how they were converted.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If the model is not built, a rule matches nothing, an array does not exist or
            does not fit, is masked or complex, or has a finite number beyond the range of its
            weight, factors of LoRA would be lost or are in the way, no weight is found at all,
            the layout is unknown or not that of the source, a file cannot be read or lacks an array
            that the index promises, two files have arrays of one name, or on JAX other processes
            hold parts of a source model.
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
    check_flag("atomic", atomic)
    check_flag("dry_run", dry_run)
    weights = find_weights(model)
    lora = Lora(weights, find_weights(source) if isinstance(source, keras.Model) else [])
    with _arrays.open_source(source) as (contents, own_layout):
        source_layout = _arrays.layout_of_source(layout, own_layout)
        steps = _steps(weights, contents, rules, source_layout, lora)
        used = {name for step in steps for name in step.row.sources}
        unused = {name: stored.shape for name, stored in contents.items() if name not in used}
        rows = [step.row for step in steps]
        summary = _summary(rows, unused, dry_run)
        changes = Changes(rows, summary, dry_run=dry_run, unused=unused)
        if dry_run:
            return changes
        _check_can_load(changes)
        _arrays.copy_shared([contents[name] for name in used], weights)
        _load(steps, contents, atomic)
    return changes


def _summary(rows: Sequence[Change], unused: Mapping[str, Shape], dry_run: bool) -> str:
    counts = Counter(row.status for row in rows)
    text = f"{counts['loaded']} of {len(rows)} weights {'to be loaded' if dry_run else 'loaded'}"
    if counts["left"]:
        text += f", {counts['left']} left unchanged"
    if counts["error"]:
        text += f", {counts['error']} with errors"
    if unused:
        text += (
            f"; unused arrays: {truncated([f'{name} {shape}' for name, shape in unused.items()])}"
        )
    return f"{text}."


# Reads a region of the new values of a weight.
_Read: TypeAlias = Callable[[Region], Array]


class _Step(NamedTuple):
    """What is done to a weight.

    Attributes:
        weight: The weight.
        row: Its row in the result.
        read: What reads its new values, `None` if it is left.
    """

    weight: ModelWeight
    row: Change
    read: _Read | None = None


def _steps(
    weights: Sequence[ModelWeight],
    contents: Mapping[str, Stored],
    rules: _arrays.NameRules | None,
    layout: _layouts.KerasLayout,
    lora: Lora,
) -> list[_Step]:
    """Return a step for each weight. Mismatches are reported in its row."""
    found = _arrays.candidates_of(weights, rules, layout)
    skipped = {path for path, candidates in found.items() if candidates is None}
    chosen = {}
    for path, candidates in found.items():
        candidate = _first_stored(candidates or [], contents)
        if candidate is not None:
            chosen[path] = candidate
    steps = []
    missing = 0
    for weight in weights:
        size = math.prod(weight.shape)
        row = Change(weight.path, "left", "", weight.shape, weight.dtype, size, changed=0)
        read = None
        candidates = found.get(weight.path)
        candidate = chosen.get(weight.path)
        if candidate is not None:
            stored = [contents[name] for name in candidate.names]
            row = replace(row, sources=candidate.names, source_shape=stored[0].shape)
            try:
                problem = lora.problem(weight, candidate.names[0], chosen, skipped)
                if problem:
                    raise _MismatchError(problem)
                change, read = _conversion(weight, candidate, stored, layout)
                row = replace(row, status="loaded", how=change, changed=size)
            except _MismatchError as mismatch:
                row = replace(row, status="error", how=str(mismatch))
        elif weight.path in skipped:
            row = replace(row, how="by rule")
        elif candidates is None:
            row = replace(row, how="no rule")
        elif rules is None:
            row = replace(row, how="not in the source")
        else:
            missing += 1
            # Comparing all names with all others would be slow.
            known = contents if missing <= LISTED else ()
            row = replace(row, status="error", how=_no_array(candidates, known))
        steps.append(_Step(weight, row, read))
    return steps


def _first_stored(
    candidates: Sequence[_layouts.Candidate], contents: Mapping[str, Stored]
) -> _layouts.Candidate | None:
    """Return the first candidate whose arrays all exist, or `None` without one."""
    for candidate in candidates:
        if all(name in contents for name in candidate.names):
            return candidate
    return None


def _no_array(candidates: Sequence[_layouts.Candidate], known: Iterable[str]) -> str:
    names = dict.fromkeys(" and ".join(map(repr, candidate.names)) for candidate in candidates)
    hint = close_matches(candidates[-1].names[0], known)
    return f"no array {' or '.join(names)}{hint}"


def _check_can_load(changes: Changes) -> None:
    """Raise `ValueError` if an array is missing or does not fit, or if no weight is found."""
    if changes.problems:
        raise ValueError(
            "`source` must have an array for each weight that is to be loaded. Received: "
            f"{truncated(changes.problems, '; ')}"
        )
    if not any(row.sources for row in changes.rows):
        paths = [repr(row.path) for row in changes.rows]
        names = [repr(name) for name in changes.unused]
        raise ValueError(
            "`rules` must map weights to arrays, because no array has the name of a weight. "
            f"Received: weights {truncated(paths)}; arrays {truncated(names)}"
        )


def _load(steps: Sequence[_Step], contents: Mapping[str, Stored], atomic: bool) -> None:
    """Read the new values of each weight and assign them."""
    with (
        undone_after_error(atomic) as assign,
        progress("Loading weights", len(steps), "weights") as advance,
    ):
        for step in steps:
            if step.read is not None:
                arrays = [contents[name] for name in step.row.sources]
                value = _new_value(step, step.read, arrays)
                assign(step.weight.variable, value)
                del value  # which the next one would come beside
            advance(1)
        refresh_normalizations(step.weight.layer for step in steps if step.read is not None)


def _new_value(step: _Step, read: _Read, arrays: Sequence[Stored]) -> Tensor:
    """Return the new value of a weight, distributed like the one that it has."""
    layout = backend.layout_of(step.weight.variable.value)
    if layout is None:
        return backend.to_tensor(read(...))
    if _arrays.are_in_memory(arrays):
        # They may be spread over devices and processes, which bring them together once.
        read = read(...).__getitem__
    return backend.placed(read, step.weight.shape, layout)


class _MismatchError(Exception):
    """Says why arrays cannot be converted to a weight."""


def _conversion(
    weight: ModelWeight,
    candidate: _layouts.Candidate,
    stored: Sequence[Stored],
    layout: _layouts.KerasLayout,
) -> tuple[str, _Read]:
    """Return how arrays are converted to `weight`, as text and as a function.

    The function reads and converts what a region of the weight is made from.
    """
    for array in stored:
        if not can_be_cast(array.dtype, weight.dtype):
            raise _MismatchError(f"cannot cast {array.dtype} to {weight.dtype}")
    if callable(candidate.part):
        return _made_by_function(weight, candidate, candidate.part, stored[0])
    return _rearranged(weight, candidate, stored, layout)


def _made_by_function(
    weight: ModelWeight,
    candidate: _layouts.Candidate,
    function: Callable[[Array], Any],
    stored: Stored,
) -> tuple[str, _Read]:
    """Return the conversion by a function of a user, which is called to check what it returns."""

    def result() -> Stored:
        array = np.array(stored.read(...))  # a copy, which it may change
        return _arrays.as_stored(function(array))

    made = result()
    if made.shape != weight.shape:
        raise _MismatchError(f"the function returns shape {made.shape}")
    if not can_be_cast(made.dtype, weight.dtype):
        raise _MismatchError(f"the function returns {made.dtype}")
    dtype = _own_dtype(weight)

    def read(region: Region) -> Array:
        again = result()  # so that not all results are kept until the end
        with _in_range(weight, candidate):
            return _own(cast(again.read(region), dtype, copy=False))

    name = getattr(function, "__name__", type(function).__name__)
    return f"{name}()", read


def _rearranged(
    weight: ModelWeight,
    candidate: _layouts.Candidate,
    stored: Sequence[Stored],
    layout: _layouts.KerasLayout,
) -> tuple[str, _Read]:
    """Return the conversion of arrays, or parts of them, to the order of axes of Keras."""
    index = _index(candidate, stored[0].shape)
    shapes = [array.shape for array in stored]
    if index is not None:
        try:
            # Arrays of these shapes that take no memory.
            shapes = [np.broadcast_to(np.int8(0), shape)[index].shape for shape in shapes]
        except (IndexError, TypeError) as error:
            raise _MismatchError(f"no part {_index_text(index)}: {error}") from None
    arrangement = _arrangement(weight, shapes, layout)
    is_sum = arrangement.combined == "summed" and len(stored) > 1
    dtype = _own_dtype(weight)
    computing_dtype = "float64" if is_sum else dtype

    def read(region: Region) -> Array:
        source_region: Region = ...
        if index is None:
            source_region = arrangement.source_region(region, weight.shape)
        parts = []
        with _in_range(weight, candidate):
            for array in stored:
                part = array.read(source_region)
                if index is not None:
                    part = part[index]
                parts.append(cast(part, computing_dtype, copy=False))
            value = arrangement.apply(parts)
            if is_sum:
                value = cast(value, dtype)  # rounded once
        if source_region is ...:
            value = value.reshape(weight.shape)[region]
        return _own(value)

    change = arrangement.description(shapes, weight.shape)
    if index is not None:
        change = ", ".join(filter(None, [_index_text(index), change]))
    return change, read


def _index(candidate: _layouts.Candidate, shape: Shape) -> Any:
    """Return the index of the part of an array of this shape to use, or `None` for the whole."""
    if candidate.third is None:
        return candidate.part
    if math.prod(shape[:1]) % 3:
        raise _MismatchError(f"the shape {shape} has no thirds")
    length = shape[0] // 3
    return slice(candidate.third * length, (candidate.third + 1) * length)


def _arrangement(
    weight: ModelWeight, shapes: Sequence[Shape], layout: _layouts.KerasLayout
) -> _layouts.Arrangement:
    """Return the first arrangement that converts arrays of these shapes to `weight`."""
    arrangements = layout.arrangements(weight)
    for arrangement in arrangements:
        if arrangement.can_convert(shapes):
            return arrangement
    if arrangements:
        given = " and ".join(str(shape) for shape in shapes)
        expected = " or ".join(str(arrangement.source) for arrangement in arrangements)
        raise _MismatchError(f"the shape is {given} instead of {expected}")
    raise _MismatchError(
        f"the order of axes of a {type(weight.layer).__name__} in {layout.name} is unknown; pass "
        "a function of the array, as in `(name, function)`"
    )


def _own_dtype(weight: ModelWeight) -> DType:
    """Return the dtype that `weight` has on this backend."""
    return backend.available_dtype(weight.dtype)


def _own(value: Array) -> Array:
    """Return a copy of an array that a backend takes over."""
    own = HOST.empty(value.shape, value.dtype)
    np.copyto(own, value)
    return own


@contextlib.contextmanager
def _in_range(weight: ModelWeight, candidate: _layouts.Candidate) -> Iterator[None]:
    """Name the arrays of which `weight` cannot hold all numbers."""
    try:
        yield
    except OverflowError as error:
        names = " + ".join(map(repr, candidate.names))
        raise ValueError(
            "`source` must have numbers that the weights can hold. "
            f"Received: {names} for {weight.path!r}, with {error}"
        ) from None


def _index_text(index: Any) -> str:
    """Return an index as source text."""
    parts = index if isinstance(index, tuple) else (index,)
    texts = [_part_text(part) for part in parts]
    return f"[{', '.join(texts)}]"


def _part_text(part: Any) -> str:
    if part is ...:
        return "..."
    if not isinstance(part, slice):
        return str(part)
    start = "" if part.start is None else part.start
    stop = "" if part.stop is None else part.stop
    if part.step is None:
        return f"{start}:{stop}"
    return f"{start}:{stop}:{part.step}"
