"""Compare the weights of a ported model with the arrays of its source.

The arrays become weights as in `load_pretrained`: `fc.weight (4, 8)` is compared as
`head/kernel (8, 4)`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from keras_initx._checks import summarize_names
from keras_initx._typing import Array, Shape
from keras_initx.backends._current import backend
from keras_initx.checkpoints._sources import LayoutName, find_ties, open_source
from keras_initx.files._casts import cast
from keras_initx.files._lazy import Selection
from keras_initx.inspection._inventory import Inventory
from keras_initx.report._text import format_number
from keras_initx.tools.load_pretrained._array_names import NamesDict
from keras_initx.tools.load_pretrained._load_plan import Assignment, plan_load
from keras_initx.tools.load_pretrained._load_report import LoadReport

# The values along each axis that are compared before the whole array is.
_CORNER = 8
# Of weights that are tied, so many have their names in a sentence.
_MOST_TIED = 3

Status: TypeAlias = Literal["equal", "differs", "not loaded", "left out", "not compared"]


@dataclass(frozen=True)
class PortedWeight:
    """A weight of a ported model compared with the arrays of its source.

    Attributes:
        path: The path of the weight, see `ModelWeight`.
        status: `"equal"`, `"differs"`, `"not loaded"` if the source has no array that fits, `"left
            out"` if your `names` skip it or it is no parameter, or `"not compared"`.
        detail: How its arrays become the weight, or why there is no array.
        shape: Its shape.
        sources: The names of its arrays.
        difference: The largest absolute difference, `None` if it was not compared.
        cause: The known cause of a difference.
    """

    path: str
    status: Status
    detail: str = ""
    shape: Shape = ()
    sources: tuple[str, ...] = ()
    difference: float | None = None
    cause: str = ""

    @property
    def text(self) -> str:
        """The difference, in words."""
        text, reason = f"{self.path}: {self.status}", self.detail
        if self.difference:
            text = f"{self.path} differs by up to {format_number(self.difference)}"
            reason = self.cause
        return f"{text} ({reason})" if reason else text


@dataclass(frozen=True)
class ParameterCount:
    """The number of values of a kind on both sides.

    Attributes:
        kind: `"trained parameters"`, `"frozen parameters"`, `"statistics and buffers"`, or
            `"counters"`, such as the `num_batches_tracked` of torch.
        model: How many the model has.
        module: How many the module has.
    """

    kind: str
    model: int
    module: int


@dataclass(frozen=True)
class PortedTie:
    """One parameter on one side, and several on the other. Training moves them apart.

    Attributes:
        paths: The paths of the weights of the model.
        sources: The names of the arrays of the module.
        text: The tie, in words.
    """

    paths: tuple[str, ...]
    sources: tuple[str, ...]
    text: str


class PortedWeights(NamedTuple):
    """The weights of a ported model compared with the weights of its source.

    Attributes:
        rows: A row for each weight.
        counts: How many values of each kind both sides have.
        unused: Dict from the names of arrays that no weight uses to their shapes, without counters
            and other names of an array that a weight uses.
        ties: The parameters that are one on one side alone.
        notes: The notes of `load_pretrained`.
    """

    rows: list[PortedWeight]
    counts: list[ParameterCount]
    unused: dict[str, Shape]
    ties: list[PortedTie]
    notes: list[str]


def compare_weights(
    inventory: Inventory,
    module: Any,
    names: NamesDict | None,
    layout: LayoutName,
    loaded: LoadReport | None,
) -> PortedWeights:
    """Compare the weights of a model with the values that a load from a module would give.

    Args:
        inventory: The weights and layers of the model.
        module: The module of torch.
        names: See `load_pretrained`.
        layout: See `load_pretrained`.
        loaded: The report of the load, if there was one. It lists the resized weights.
    """
    state = module.state_dict()
    with open_source(state) as (contents, own_layout):
        plan = plan_load(inventory, contents, own_layout, names, layout, {})
        comparison = _Comparison(plan.steps)
        rows = [comparison.compare(step, loaded) for step in plan.steps]
    first_names = find_ties(state)
    used = {first_names.get(name, name) for step in plan.steps for name in step.row.sources}
    unused = {}
    for name, shape in plan.report.unused.items():
        if not _is_counter(state[name]) and first_names.get(name, name) not in used:
            unused[name] = shape
    trained = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        if parameter.requires_grad:
            trained[name] = parameter.detach()
    trained_steps = [step for step in plan.steps if set(step.row.sources) & trained.keys()]
    ties = [
        *_list_ties_there(trained_steps, trained, first_names),
        *_list_ties_here(trained_steps, trained, unused),
    ]
    return PortedWeights(
        rows,
        _count_parameters(inventory, module, state),
        unused,
        ties,
        list(plan.report.notes),
    )


def _list_ties_there(
    steps: Sequence[Assignment], trained: Mapping[str, Any], first_names: Mapping[str, str]
) -> list[PortedTie]:
    """List the parameters of the module that are several weights of the model.

    A weight with a part of a parameter, such as the queries of a fused kernel, is no second one.
    """
    paths_by_name: dict[str, list[str]] = {}
    for step in steps:
        if len(step.row.sources) == 1:
            (name,) = step.row.sources
            if math.prod(step.weight.shape) == trained[name].numel():
                first_name = first_names.get(name, name)
                paths_by_name.setdefault(first_name, []).append(step.row.path)
    ties = []
    for first_name, paths in paths_by_name.items():
        if len(paths) > 1:
            names = [name for name in trained if first_names.get(name, name) == first_name]
            verb = "is" if len(names) == 1 else "are"
            text = (
                f"{_join(names)} {verb} one parameter there and {len(paths)} weights here, "
                f"{_join(paths)}, which part at the first update"
            )
            ties.append(PortedTie(tuple(paths), tuple(names), text))
    return ties


def _list_ties_here(
    steps: Sequence[Assignment], trained: Mapping[str, Any], unused: Mapping[str, Shape]
) -> list[PortedTie]:
    """List the weights of the model that are several parameters of the module.

    Only one of these parameters is loaded. The others have its values, and no weight of their own.
    """
    ties = []
    for step in steps:
        if len(step.row.sources) > 1:
            continue
        (source,) = step.row.sources
        tensor = trained[source]
        names = [source]
        for name in (name for name in trained if name in unused):
            is_alike = unused[name] == tuple(tensor.shape) and trained[name].dtype == tensor.dtype
            # Values that are all the same, as those of a bias of zeros, show nothing.
            if is_alike and bool((trained[name] == tensor).all()) and tensor.min() != tensor.max():
                names.append(name)
        if len(names) > 1:
            text = (
                f"{_join(names)} are {len(names)} parameters with equal values there, which "
                f"part at the first update, and one weight here, {step.row.path}"
            )
            ties.append(PortedTie((step.row.path,), tuple(names), text))
    return ties


def _join(names: Sequence[str]) -> str:
    return summarize_names(names, " and ", shown=_MOST_TIED)


class _Comparison:
    """Compares each weight with the values from its arrays.

    Args:
        steps: The planned assignment of each weight.
    """

    def __init__(self, steps: Sequence[Assignment]) -> None:
        self._steps = steps

    def compare(self, step: Assignment, loaded: LoadReport | None) -> PortedWeight:
        """Compare a weight, and make its row."""
        status: Status
        difference = None
        detail = step.row.detail
        cause = ""
        if step.array is None:
            status, detail = _explain_missing_array(step, loaded)
        else:
            values = _to_float64(backend.host_view(step.weight.variable.value))
            expected = _read_expected(step)
            difference = _find_largest_difference(values, expected)
            status = "differs" if difference else "equal"
            cause = self._cause(step, values, expected) if difference else ""
        return PortedWeight(
            step.row.path, status, detail, step.weight.shape, step.row.sources, difference, cause
        )

    def _cause(self, step: Assignment, values: Array, expected: Array) -> str:
        """Find the known cause if the values of a weight differ; nothing if they do not."""
        if not values.any():
            return "it is all zero"
        is_matrix = expected.ndim == 2 and values.shape == expected.T.shape
        if is_matrix and np.array_equal(values, expected.T):
            return "its transpose is equal"
        for other in self._steps:
            if other is step or other.array is None or other.weight.shape != step.weight.shape:
                continue
            # A corner is read first: all arrays of one shape, each whole, would take long.
            corner = tuple(slice(0, min(length, _CORNER)) for length in step.weight.shape)
            if not np.array_equal(values[corner], _read_expected(other, corner)):
                continue
            if np.array_equal(values, _read_expected(other)):
                return f"it has the values of {' + '.join(other.row.sources)}"
        if np.array_equal(np.sort(values, axis=None), np.sort(expected, axis=None)):
            return "it has the same values in another order"
        is_known = expected != 0  # where both are 0, each ratio would do
        ratios = values[is_known] / expected[is_known]
        ratio = float(np.median(ratios)) if ratios.size else math.nan
        if math.isfinite(ratio) and np.allclose(values, ratio * expected, rtol=1e-4, atol=0):
            return f"it is {ratio:.4g} times as large"
        return ""


def _explain_missing_array(step: Assignment, loaded: LoadReport | None) -> tuple[Status, str]:
    """Say what a weight without an array is, and why it has none."""
    outcome, detail = step.row.status, step.row.detail
    if loaded is not None and outcome == "error":
        for former in loaded.rows:
            if former.path == step.row.path and former.status == "loaded":
                return "not compared", former.detail or detail
    if outcome == "left" and (step.is_skipped or step.weight.kind in ("counter", "state")):
        return "left out", detail
    return "not loaded", detail


def _find_largest_difference(values: Array, expected: Array) -> float:
    """Find the largest difference of two arrays: 0 only if they are equal, also in their NaN."""
    is_equal = (values == expected) | (np.isnan(values) & np.isnan(expected))
    if is_equal.all():
        return 0.0
    with np.errstate(invalid="ignore"):  # of infinities
        difference = np.abs(values - expected)
    return math.inf if np.isnan(difference).any() else float(difference.max())


def _read_expected(step: Assignment, region: Selection = ...) -> Array:
    """Read the values that a load would give to a weight, or to a region of it."""
    if step.array is None:
        raise ValueError("`step` must have an array")
    dtype = backend.available_dtype(step.weight.dtype)
    return _to_float64(cast(step.array.read(region), dtype))


def _to_float64(values: Array) -> Array:
    return np.asarray(values).astype("float64")


def _count_parameters(
    inventory: Inventory, module: Any, state: Mapping[str, Any]
) -> list[ParameterCount]:
    kinds = ("trained parameters", "frozen parameters", "statistics and buffers", "counters")
    ours = dict.fromkeys(kinds, 0)
    theirs = dict.fromkeys(kinds, 0)
    for weight in inventory.weights_and_buffers:
        kind = "statistics and buffers"
        if weight.kind == "parameter":
            kind = kinds[0] if weight.variable.trainable else kinds[1]
        elif weight.kind == "counter":
            kind = "counters"
        ours[kind] += math.prod(weight.shape)
    for parameter in module.parameters():
        theirs[kinds[0] if parameter.requires_grad else kinds[1]] += parameter.numel()
    for name, buffer in module.named_buffers():
        if name in state:  # and not computed when the module is made, such as positions
            kind = "counters" if _is_counter(buffer) else "statistics and buffers"
            theirs[kind] += buffer.numel()
    return [ParameterCount(kind, ours[kind], theirs[kind]) for kind in kinds]


def _is_counter(tensor: Any) -> bool:
    # Such as the `num_batches_tracked` of a normalization.
    return not tensor.ndim and not tensor.is_floating_point()
