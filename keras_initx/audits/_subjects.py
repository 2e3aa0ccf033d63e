"""What is audited: weights of a model, or arrays by name, each with the initializer expected."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import keras
import numpy as np

from keras_initx._checks import DTYPES, check_type, truncated
from keras_initx._typing import Array, DType, RolesGiven, Shape
from keras_initx.arrays import Checkpoint, LazyArray, check_file, checkpoint_paths, open_checkpoint
from keras_initx.audits._profile import as_numbers
from keras_initx.backends import Region, backend
from keras_initx.initializers import Masked
from keras_initx.models import (
    InitializationPlan,
    RulesOrPlan,
    WeightPlan,
    description,
    initialize,
    plan_of,
    with_seed_and_axes,
)
from keras_initx.pretrained import as_lazy, checked_arrays, ties_of
from keras_initx.structure import (
    LayerInitializer,
    ModelWeight,
    check_model,
    find_weights,
    layer_initializers,
    not_finite,
)

# A model, the path of a saved model, files of arrays, or a dict from names to arrays.
Audited: TypeAlias = keras.Model | Checkpoint | Mapping[str, Any]

# Why the second name of an array is not compared.
TIED = "tied to"
_MODEL_FILES = (".keras", ".h5", ".hdf5")


class Values:
    """The values of an array by its name or in a file, in float32 or float64.

    Attributes:
        is_shared: Whether other processes hold a part of them.
    """

    is_shared = False

    def __init__(self, stored: LazyArray) -> None:
        self._stored = stored

    def stored(self) -> Array:
        """Return them all in their own dtype, which processes that share them cannot."""
        return self._stored.read(...)

    def read(self) -> Array:
        """Return them all as numbers."""
        return as_numbers(self.stored())

    def parts(self) -> Iterator[tuple[Region | None, Array]]:
        """Yield those that are here in parts, each with its region, or `None` for the whole."""
        yield None, self.read()


class VariableValues(Values):
    """The values of a variable, which may be spread over devices and processes."""

    def __init__(self, variable: keras.Variable) -> None:
        self._variable = variable

    @property
    def is_shared(self) -> bool:  # type: ignore[override]
        return backend.is_shared(self._variable.value)

    def stored(self) -> Array:
        return backend.host_view(self._variable.value)

    def parts(self) -> Iterator[tuple[Region | None, Array]]:
        for region, values in backend.parts(self._variable.value):
            yield region, as_numbers(values)


@dataclass(frozen=True)
class Planned:
    """The values that a weight must have.

    Attributes:
        source: Who says so: `"plan"` or `"seed"`.
        dtype: The name of their dtype.
        digest: Their digest, or `None` if it is not known.
        is_cut: Whether a constraint sets some of them to zero, so that no law is known.
        draw: Function that returns those in a region, or all for `None`.
    """

    source: str
    dtype: DType
    digest: str | None
    is_cut: bool
    draw: Callable[[Region | None], Array]


@dataclass(frozen=True)
class Subject:
    """A weight that is audited.

    Attributes:
        path: Its path in the model, or the name of the array.
        shape: Its shape.
        dtype: The name of its dtype.
        values: Its values.
        initializer: The initializer that it should come from, or `None`.
        reason: Why there is none.
        fans: Fan-in and fan-out if it is a kernel, otherwise `None`.
        declared: Function that returns the initializer of its layer, as Keras calls it and with the
            fans of the layer. Keras takes those of the shape, also of depthwise kernels.
        has_rule: Whether a rule says how it should be, and not its layer.
        planned: The values that it must have, or `None` if they are not known.
        lost: Function that returns which of its values are not finite and cannot be meant, in
            words, otherwise nothing.
    """

    path: str
    shape: Shape
    dtype: DType
    values: Values
    initializer: LayerInitializer | None
    reason: str = ""
    fans: tuple[float, int] | None = None
    declared: Callable[[], tuple[LayerInitializer, ...]] = tuple
    has_rule: bool = False
    planned: Planned | None = None
    lost: Callable[[], str] = str

    @property
    def description(self) -> str | None:
        """The initializer as text."""
        if self.initializer is None:
            return None
        return description(self.initializer)

    @property
    def obstacle(self) -> str:
        """Why its values are not compared with others, otherwise empty."""
        if self.reason or _is_readable(self.dtype):
            return self.reason
        return _dtype_text(self.dtype)


def _is_readable(dtype: DType) -> bool:
    """Return whether values of a dtype are real numbers or truth values that NumPy reads."""
    try:
        return dtype in DTYPES or np.dtype(dtype).kind in "biu"
    except TypeError:
        return False


def _dtype_text(dtype: DType) -> str:
    """Return a dtype that is not compared in words."""
    return "no array" if dtype == "object" else dtype


@contextlib.contextmanager
def opened(name: str, weights: Any) -> Iterator[keras.Model | Mapping[str, Any]]:
    """Open what is audited for the duration of the block: as a model, or as arrays by name.

    The arrays are not read. A dict is returned as it is, also for what its values share.

    Args:
        name: Name of the argument in error messages.
        weights: See `audit`.
    """
    paths = checkpoint_paths(weights)
    if paths is not None:
        if len(paths) != 1 or not is_saved_model(paths[0]):
            with open_checkpoint(name, paths) as arrays:
                yield _some(name, arrays)
            return
        check_file(name, paths[0])
        weights = keras.saving.load_model(paths[0], compile=False)
    if isinstance(weights, Mapping):
        checked_arrays(name, weights)
        yield _some(name, weights)
        return
    required = (
        "a Keras model, a path, or a dict from names to arrays, as the `state_dict()` of a torch "
        "module"
    )
    check_type(name, weights, keras.Model, required)
    yield check_model(name, weights)


def _some(name: str, arrays: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return arrays, of which there must be one at least."""
    if not arrays:
        raise ValueError(f"`{name}` must have at least one array. Received: none")
    return arrays


def _as_lazy(arrays: Mapping[str, Any]) -> dict[str, LazyArray]:
    """Return arrays of files or in memory as those of files."""
    found = {}
    for name, value in arrays.items():
        found[name] = value if isinstance(value, LazyArray) else as_lazy(value)
    return found


@contextlib.contextmanager
def subjects(
    weights: Audited,
    expected: RulesOrPlan | None,
    root: int | None,
    roles: RolesGiven | None,
) -> Iterator[list[Subject]]:
    """Open what is audited for the duration of the block.

    Args:
        weights: See `audit`.
        expected: See `audit`.
        root: The seed from which those of the weights are derived, or `None` if it is unknown.
        roles: See `audit`.
    """
    with opened("weights", weights) as found:
        if isinstance(found, keras.Model):
            yield _of_model(found, expected, root, roles)
            return
        if roles is not None:
            raise ValueError(f"`roles` must be `None` for arrays. Received: {roles=!r}")
        yield _of_arrays(_as_lazy(found), expected, root)


def plain_subjects(found: keras.Model | Mapping[str, Any]) -> list[Subject]:
    """Return the weights of what was opened, without what is expected of them."""
    result = []
    if isinstance(found, keras.Model):
        for weight in find_weights(found):
            result.append(_of_weight(weight))
        return result
    arrays = _as_lazy(found)
    ties = ties_of(found)
    for name, stored in arrays.items():
        reason = f"{TIED} {ties[name]!r}" if name in ties else ""
        result.append(Subject(name, stored.shape, stored.dtype, Values(stored), None, reason))
    return result


def _of_weight(weight: ModelWeight) -> Subject:
    """Return a weight of a model, without what is expected of it."""
    return Subject(
        weight.path,
        weight.shape,
        weight.dtype,
        VariableValues(weight.variable),
        None,
        lost=functools.partial(_lost, weight),
    )


def _lost(weight: ModelWeight) -> str:
    """Return which values of a weight are not finite and cannot be meant, in words."""
    lost = not_finite(weight)
    return "" if lost is None or lost.may_be_meant else str(lost)


def is_saved_model(path: str) -> bool:
    """Return whether the name of a file is that of a saved model, and not of weights alone."""
    return path.endswith(_MODEL_FILES) and not path.endswith(".weights.h5")


def _of_model(
    model: keras.Model, expected: RulesOrPlan | None, root: int | None, roles: RolesGiven | None
) -> list[Subject]:
    weights = find_weights(model)
    declared = _Declared(weights)
    found = []
    for weight in weights:
        of_layer = functools.partial(declared.of, weight)
        found.append(replace(_of_weight(weight), fans=weight.fans, declared=of_layer))
    given = plan_of("expected", expected, root)
    if given is not None and roles is None:
        return _by_plan(found, given)
    plan = initialize(model, expected, seed=root or 0, roles=roles, dry_run=True)
    result = []
    for subject, line in zip(found, plan.weights, strict=True):
        subject = _by_line(subject, line, plan, "seed")
        is_cut = subject.planned is not None and subject.planned.is_cut
        if root is None and is_cut:
            subject = replace(subject, initializer=None, reason="zeros of a constraint")
        if root is None or line.seed is None:
            subject = replace(subject, planned=None)
        result.append(subject)
    return result


class _Declared:
    """The initializers of layers, found at the first question: layers may have to be copied."""

    def __init__(self, weights: Sequence[ModelWeight]) -> None:
        self._weights = weights

    @functools.cached_property
    def _initializers(self) -> dict[str, tuple[LayerInitializer | None, str]]:
        return layer_initializers(self._weights)

    def of(self, weight: ModelWeight) -> tuple[LayerInitializer, ...]:
        """Return that of a weight as Keras calls it, and with the fans of the layer."""
        declared, _ = self._initializers[weight.path]
        if declared is None:
            return ()
        if not isinstance(declared, keras.initializers.Initializer):
            return (declared,)
        return declared, with_seed_and_axes(declared, 0, weight)


def _by_plan(found: Sequence[Subject], plan: InitializationPlan) -> list[Subject]:
    """Return the subjects with the initializers and digests of a plan.

    Raises:
        ValueError: If one has another shape than in the plan, or is missing.
    """
    lines = {row.path: row for row in plan.weights}
    result = []
    problems = []
    for subject in found:
        # Other packages join names by dots.
        line = lines.pop(subject.path, None) or lines.pop(subject.path.replace(".", "/"), None)
        if line is None:
            result.append(replace(subject, reason="not in the plan"))
        elif line.shape != subject.shape:
            problems.append(
                f"{subject.path!r} has the shape {subject.shape}, and {line.shape} in the plan"
            )
        else:
            result.append(_by_line(subject, line, plan, "plan"))
    problems += [f"there is no {path!r}" for path in lines]
    if problems:
        raise ValueError(
            "`expected` must be a plan of these weights. "
            f"Received: expected={plan!r}; {truncated(problems, '; ')}"
        )
    return result


def _by_line(subject: Subject, line: WeightPlan, plan: InitializationPlan, name: str) -> Subject:
    """Return a subject with the initializer and the values of its line in a plan."""
    source = plan._origins.get(line.path)
    if source is None:
        return replace(subject, reason=line.reason)
    if subject.dtype not in DTYPES:
        return replace(subject, reason=subject.dtype)
    draw = plan._drawing(line.path).at
    planned = Planned(name, line.dtype, source.digest, isinstance(source.initializer, Masked), draw)
    return replace(
        subject, initializer=source.initializer, planned=planned, has_rule=source.has_rule
    )


def _of_arrays(arrays: Mapping[str, LazyArray], expected: Any, root: int | None) -> list[Subject]:
    plan = plan_of("expected", expected, root)
    if plan is None:
        raise ValueError(
            "`expected` must be a plan, a contract or other weights if `weights` are arrays, which "
            f"have no layers; rules and recipes are for models. Received: {expected=!r}"
        )
    found = []
    for name, stored in arrays.items():
        found.append(Subject(name, stored.shape, stored.dtype, Values(stored), None))
    return _by_plan(found, plan)
