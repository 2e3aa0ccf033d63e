"""Find the weights that loading, or an initialization, never writes: by their bits."""

import contextlib
import math
import re
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import keras
import numpy as np

from keras_initx._checks import DTYPES, truncated
from keras_initx._typing import Array, Tensor
from keras_initx.backends._backend import Region
from keras_initx.backends._current import backend
from keras_initx.diagnostics._report import Report
from keras_initx.models._assign import assign, refresh_normalizations
from keras_initx.models._changes import Change, Changes
from keras_initx.models._given import RulesOrPlan
from keras_initx.models._initialize import Step, begun, draw
from keras_initx.models._paths import shown_paths
from keras_initx.models._reset import new_state, optimizers_of, states_of
from keras_initx.rendering._terminal import line_width
from keras_initx.rendering._text import in_common, without_numbers
from keras_initx.structure._former import Former, without_interruption
from keras_initx.structure._names import parts_of
from keras_initx.structure._optimizers import all_variables
from keras_initx.structure._weights import ModelWeight, check_model, held_by

# The bits of a value that was never written: a NaN, but none that computations or files have.
_POISON = {
    "float16": 0x7E5A,
    "bfloat16": 0x7FDA,
    "float32": 0x7FD2D5A5,
    "float64": 0x7FFA5A5A2D2D5A5A,
}


class Loaded:
    """What a block of `loading` has loaded. It is known once the block has ended without an error.

    `print` shows each weight that was missed, and in one line what was loaded, as patterns. The
    table of all weights is that of `changes`.
    """

    def __init__(self) -> None:
        self._changes: Changes | None = None

    @property
    def changes(self) -> Changes:
        """`Changes` with a row for each floating-point weight and buffer.

        `status` is `"loaded"` if all of its values were written, and otherwise `"drawn"`, or
        `"left"` if it has its former values where it was not written. `changed` is the number of
        values that were written.

        Raises:
            RuntimeError: Before the end of the block, or if that was an error.
        """
        if self._changes is None:
            raise RuntimeError(
                "what was loaded is known once the block of `loading` has ended without an error"
            )
        return self._changes

    @property
    def missed(self) -> list[str]:
        """The paths of the weights of which a value was never written.

        Raises:
            RuntimeError: See `changes`.
        """
        return [row.path for row in self.changes.rows if row.status != "loaded"]

    def __str__(self) -> str:
        changes = self.changes
        missed = [row for row in changes.rows if row.status != "loaded"]
        text = str(replace(changes, rows=missed)) if missed else changes.summary
        groups = _loaded_groups([row.path for row in changes.rows], self.missed)
        if not groups:
            return text
        line = f"Loaded: {truncated(groups)}."
        return f"{text}\n{textwrap.fill(line, line_width(), subsequent_indent='    ')}"

    def __repr__(self) -> str:
        if self._changes is None:
            return "<Loaded: not known yet>"
        return f"<Loaded: {self._changes.summary.removesuffix('.')}>"


@contextlib.contextmanager
def loading(
    model: keras.Model, rules: RulesOrPlan | Report | None = None, *, seed: int | None = None
) -> Iterator[Loaded]:
    """Watch the loading of weights, and draw those that it never writes.

    Loading by name, with `skip_mismatch=True` or with rules may miss weights without a word. In the
    block of this context each floating-point weight holds a certain NaN instead of its values, and
    so do moving statistics, states of layers, and the buffers that torch saves of a module. What
    still holds it at the end was never written, to the bit: not by `load_weights`, not by
    `load_pretrained`, not by code of your own that assigns weights. It gets the values that
    `initialize` with the same `rules` and `seed` gives. A weight that was written in part, such as
    the first rows of a table, keeps that part. Where `initialize` leaves a weight unchanged, it has
    its former values again: the statistics of a `Normalization`, quantized layers, layers without a
    known initializer, buffers.

    Weights and buffers of other dtypes, such as integers and the counter of batches of a
    normalization of torch, the states of random generators and the optimizer are not watched, and
    are as the block leaves them. Neither are buffers that torch does not save. JAX 0.5 loses the
    bits of NaN where it moves bfloat16 arrays between layouts: with it, a sharded weight that is
    read and assigned in the block counts as written.

    Messages of Keras, which show the values of a variable, say instead that these are not loaded
    yet. Who prints a tensor in the block sees NaN.

    After an error or an interruption all variables of the model, its optimizer and its metrics have
    their former values, which takes as much memory until then. Those that an optimizer or a metric
    has got in the block have their first values, as if it had never been used. The block must not
    compute with weights that are not loaded yet, which are NaN. What a block within another one
    draws is written for the outer one.

    Args:
        model: A built model.
        rules: See `initialize`.
        seed: See `initialize`.

    Yields:
        A `Loaded`. After the block it has `missed`, the paths of the weights of which a value was
        never written, and `changes`.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: As `initialize`, before anything is changed.

    Example:
        >>> import keras_initx
        >>> def network(classes):
        ...     hidden = keras.layers.Dense(8, "relu", name="hidden")
        ...     head = keras.layers.Dense(classes, name="head")
        ...     return keras.Sequential([keras.Input((4,)), hidden, head])
        >>> old, model = network(10), network(3)
        >>> with keras_initx.loading(model, seed=0) as loaded:
        ...     model.layers[0].set_weights(old.layers[0].get_weights())
        >>> loaded.missed
        ['head/kernel', 'head/bias']
        >>> loaded
        <Loaded: 2 of 4 weights were never written: drawn anew, seed 0>
    """
    check_model("model", model)
    started = begun(model, rules, seed)
    steps = {step.row.path: step for step in started.steps}
    weights = [weight for weight in held_by(model) if weight.dtype in DTYPES]
    drawn_seed = started.root if started.is_drawn else None
    loaded = Loaded()
    former = _former_values(model, weights)
    with _undone_after_error(model, former), _shown_as_not_loaded():
        _poison(weights)
        yield loaded
        # Before the first is completed, because two may have one tensor of torch.
        missed = [unwritten(weight.variable.value) for weight in weights]
        shown = shown_paths(weights)
        rows = []
        for weight, count in zip(weights, missed, strict=True):
            before = former.of(weight.variable)
            row = _completed(weight, count, steps.get(weight.path), before, drawn_seed)
            rows.append(replace(row, path=shown[weight.path]))
        refresh_normalizations(parts_of(model))
    loaded._changes = Changes(rows, _summary(rows, started.root), seed=started.root)


def unwritten(value: Tensor) -> int:
    """Return how many values of a weight were never written since `loading` has begun.

    Processes that share it agree.
    """
    count = 0
    for _, values in backend.parts(value, counted_once=True):
        count += int(np.count_nonzero(_is_unwritten(values)))
    if backend.is_shared(value):
        count = int(backend.from_processes(np.array([count], "uint64"), value).sum())
    return count


def _is_unwritten(values: Array) -> Array:
    mask: Array = _bits(values) == _POISON[values.dtype.name]
    return mask


def _bits(values: Array) -> Array:
    """Return the bits of values as integers."""
    return values.view(f"uint{8 * values.itemsize}")


@contextlib.contextmanager
def _shown_as_not_loaded() -> Iterator[None]:
    """Let messages of Keras, also of its warnings, have no NaN that the user has not made.

    Blocks of several threads may end in any order: what one leaves behind for all others only looks
    at the bits.
    """
    before = keras.Variable.__repr__

    def shown(variable: keras.Variable) -> str:
        text: str = before(variable)
        start, _, values = text.partition(", value=")
        if "nan" in values and _is_in_part_unwritten(variable):
            return f"{start}, not loaded yet>"
        return text

    keras.Variable.__repr__ = shown
    try:
        yield
    finally:
        keras.Variable.__repr__ = before


def _is_in_part_unwritten(variable: keras.Variable) -> bool:
    """Return whether a value was never written, as far as this process holds them."""
    if keras.backend.standardize_dtype(variable.dtype) not in DTYPES:
        return False
    parts = backend.parts(variable.value, counted_once=True)
    return any(_is_unwritten(values).any() for _, values in parts)


def _poison(weights: Iterable[ModelWeight]) -> None:
    """Assign to each value of weights the bits that tell that it was never written."""

    def filled(region: Region | None, values: Array) -> Array:
        result = np.empty_like(values)
        _bits(result).fill(_POISON[values.dtype.name])
        return result

    for weight in weights:
        weight.variable.assign(backend.changed_in_parts(weight.variable.value, filled))


def _former_values(model: keras.Model, weights: Iterable[ModelWeight]) -> Former:
    """Return all that loading may change, with the values that it has.

    Args:
        model: A model.
        weights: Those of its weights that get other values next.
    """
    former = Former(weight.variable for weight in weights)
    # On JAX, `predict` would overwrite a snapshot of these: the variable still has this array.
    for variable in model.variables:
        former.add(variable, lasting=True)
    for metric in _metrics_of(model):
        for variable in metric.variables:
            former.add(variable, lasting=True)
    for optimizer in optimizers_of(model):
        for variable in all_variables(optimizer, model.variables):
            former.add(variable, lasting=True)
    for part in parts_of(model):
        for variable in states_of(part):
            former.add(variable, lasting=True)
    for buffer in backend.buffers([model, *parts_of(model)]):
        former.add(buffer, lasting=True)
    return former


def _metrics_of(model: keras.Model) -> list[keras.metrics.Metric]:
    """Return the metrics of `model`, and those of models in it, which Keras does not list."""
    found: dict[int, keras.metrics.Metric] = {}
    for part in (model, *parts_of(model)):
        for metric in part.metrics:
            found[id(metric)] = metric
    return list(found.values())


@contextlib.contextmanager
def _undone_after_error(model: keras.Model, former: Former) -> Iterator[None]:
    """Put back former values after an error, or an interruption.

    What optimizers and metrics have got since then gets its first values.
    """
    try:
        yield
    except BaseException as error:
        _undo(model, former, error)
        raise


def _undo(model: keras.Model, former: Former, error: BaseException) -> None:
    def reset_new_metrics() -> None:
        for metric in _metrics_of(model):
            if any(variable not in former for variable in metric.variables):
                metric.reset_state()

    def reset_new_state() -> None:
        try:
            start = new_state(model, former)
        except ValueError:
            error.add_note(
                "An optimizer was first used in the block, and its initial state is unknown, "
                "because its config makes no equal one: compile the model again"
            )
        else:
            assign(start)

    # The last is called first. Each is called, whatever another raises.
    with contextlib.ExitStack() as undo:
        undo.callback(refresh_normalizations, parts_of(model))
        # Some optimizers start with a copy of the weights.
        undo.callback(without_interruption, reset_new_state)
        undo.callback(former.put_back)
        # Also variables that a metric had before, which then get their former values.
        undo.callback(without_interruption, reset_new_metrics)


def _completed(
    weight: ModelWeight, missed: int, step: Step | None, former: Tensor, drawn_seed: int | None
) -> Change:
    """Give a weight values where it was never written, and return what was done.

    Args:
        weight: The weight.
        missed: How many of its values were never written.
        step: Where its values come from, `None` for a buffer, of which a plan knows nothing.
        former: Its former values.
        drawn_seed: See `Computation`.
    """
    variable = weight.variable
    size = math.prod(weight.shape)
    row = Change(weight.path, "loaded", "", weight.shape, weight.dtype, size)
    if not missed:
        return replace(row, changed=size)
    if step is None:
        status = "left"
        how = "a buffer of torch"
        value = former
    elif step.said.initializer is None:
        status = "left"
        how = step.row.reason
        value = former
    else:
        status = "drawn"
        how = step.row.initializer or ""
        value, _ = draw(weight, step.said.initializer, step.row, drawn_seed)
    if missed < size:
        how = f"{missed} of {size} values, {how}"
        value = keras.ops.where(_mask(variable.value), value, variable.value)
    variable.assign(value)
    return replace(row, status=status, how=how, changed=size - missed)


def _mask(value: Tensor) -> Tensor:
    """Return where a weight was never written, in its layout."""

    def mask(region: Region | None, values: Array) -> Array:
        return np.asarray(_is_unwritten(values), "uint8")  # not all take over bools

    return keras.ops.cast(backend.changed_in_parts(value, mask), "bool")


def _loaded_groups(paths: Iterable[str], missed: Iterable[str]) -> list[str]:
    """Return the patterns of what was loaded: of the outermost layers without a missed weight.

    Those that differ in numbers only are one pattern, with their number.
    """
    with_missed = {around for path in missed for around in (*_around(path), path)}
    groups: dict[str, dict[str, None]] = {}
    for path in paths:
        if path not in with_missed:
            pattern = next((one for one in _around(path) if one not in with_missed), path)
            groups.setdefault(without_numbers(pattern), {})[pattern] = None
    return [in_common(list(group)) for group in groups.values()]


def _around(path: str) -> list[str]:
    """Return the patterns of the layers and the modules around a weight, the outermost first."""
    return [f"{path[: mark.end()]}*" for mark in re.finditer("[/.]", path)]


def _summary(rows: Sequence[Change], seed: int) -> str:
    """Return the result in one sentence."""
    counts = Counter(row.status for row in rows)
    missed = counts["drawn"] + counts["left"]
    if not missed:
        return f"All {len(rows)} weights were written."
    never = "never written"
    if any(row.changed for row in rows if row.status != "loaded"):
        never = "never written, or only in part"
    parts = []
    if counts["drawn"]:
        parts.append(f"{counts['drawn']} drawn anew, seed {seed}")
    if counts["left"]:
        parts.append(f"{counts['left']} as before")
    done = "; ".join(parts)
    if len(parts) == 1:
        done = done.removeprefix(f"{missed} ")
    were = "was" if missed == 1 else "were"
    return f"{missed} of {len(rows)} weights {were} {never}: {done}."
