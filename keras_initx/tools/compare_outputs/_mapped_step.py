"""Map the step of a module of torch to the weights that its arrays are loaded into.

`load_pretrained` itself moves the values of the arrays, so there is no second map. It gets a
*probe*, an array of numbers, and zeros for all other arrays:

    fc.weight = [[1, 2], [3, 4]]  ->  fc/kernel = [[1, 3], [2, 4]]

So the second value of the kernel is the third of the array. A weight may be the sum of several
arrays (*summands*): then each of its values has one of each array.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from keras_initx._typing import Array, Shape
from keras_initx.backends._moments import compute_rms
from keras_initx.checkpoints._sources import LayoutName, open_source
from keras_initx.inspection._inventory import Inventory
from keras_initx.tools.compare_outputs._recorded_step import (
    ArrayChange,
    Kind,
    RecordedArray,
    RecordedChange,
    RecordedStep,
    RecordedWeight,
)
from keras_initx.tools.compare_outputs._samples import choose_indices
from keras_initx.tools.load_pretrained._array_names import NamesDict
from keras_initx.tools.load_pretrained._load_plan import Assignment, plan_load


class Summand(NamedTuple):
    """An array that a weight is the sum of, or the weight itself.

    Attributes:
        array: The array.
        indices: For each kept value of the weight, the index of the value of the array among those
            that are kept of it, -1 for none.
    """

    array: RecordedArray
    indices: Array


class MappedWeight(NamedTuple):
    """A weight whose values come from arrays.

    Attributes:
        recorded: Its record, under the names of the arrays.
        indices: The flat indices of its kept values, `None` if they are unknown.
    """

    recorded: RecordedWeight
    indices: Array | None = None


class MappedStep(NamedTuple):
    """The step of a module, as the step of a model.

    Attributes:
        weights: The weights of the model that have arrays, by their paths.
        unused: The records of the other arrays.
    """

    weights: Mapping[str, MappedWeight]
    unused: Sequence[RecordedWeight]

    @property
    def indices_by_path(self) -> dict[str, Array]:
        """The flat indices of the values of each weight that are kept."""
        indices_by_path = {}
        for path, weight in self.weights.items():
            if weight.indices is not None:
                indices_by_path[path] = weight.indices
        return indices_by_path


class _Probe:
    """An array whose values are numbered from 1, or set to given values."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.dtype = np.dtype("float64")
        self.values: Array = self.numbers

    @property
    def numbers(self) -> Array:
        """The number of each value, from 1. The number 0 means none."""
        return np.arange(1.0, math.prod(self.shape) + 1).reshape(self.shape)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return self.values if dtype is None else self.values.astype(dtype)


def map_step(
    step: RecordedStep, inventory: Inventory, names: NamesDict | None, layout: LayoutName
) -> MappedStep:
    """Map the step of a module to the weights of a model.

    Args:
        step: The step, which has arrays.
        inventory: The weights and layers of the model.
        names: See `load_pretrained`.
        layout: See `load_pretrained`.

    Raises:
        TypeError: If `names` is no such dict.
        ValueError: If a pattern matches no weight, or leads to no name.
    """
    arrays = {array.name: array for array in step.arrays}
    probes = {name: _Probe(array.shape) for name, array in arrays.items()}
    weights: dict[str, MappedWeight] = {}
    used: set[str] = set()
    with open_source(probes) as (contents, own_layout), np.errstate(all="ignore"):
        plan = plan_load(inventory, contents, own_layout, names, layout, {})
        for assignment in plan.steps:
            sources = assignment.row.sources
            used.update(sources)
            if sources or assignment.row.status == "error":
                own_arrays = [arrays[name] for name in sources]
                weight = _map_weight(assignment, own_arrays, probes, is_whole=step.is_whole)
                weights[assignment.weight.path] = weight
    unused = []
    used_tensors = {arrays[name].tied_to or name for name in used}
    for name, array in arrays.items():
        if (array.tied_to or name) not in used_tensors:
            unused.append(RecordedWeight(name, array.kind, array.shape, array.dtype))
    return MappedStep(weights, unused)


def _map_weight(
    assignment: Assignment,
    arrays: Sequence[RecordedArray],
    probes: Mapping[str, _Probe],
    *,
    is_whole: bool,
) -> MappedWeight:
    weight = assignment.weight
    name = " + ".join(array.name for array in arrays)
    kind = _classify(arrays)
    dtype = arrays[0].dtype if arrays else ""
    if assignment.array is None:
        obstacle = assignment.row.detail
        return MappedWeight(RecordedWeight(name, kind, weight.shape, dtype, obstacle=obstacle))
    numbers = _number_values(assignment, [probes[array.name] for array in arrays])
    if numbers is None:
        obstacle = f"it is computed of {name}"
        return MappedWeight(RecordedWeight(name, kind, weight.shape, dtype, obstacle=obstacle))
    summands = []
    is_kept = np.any(numbers, axis=0)
    for array, array_numbers in zip(arrays, numbers, strict=True):
        size = math.prod(array.shape)
        indices = np.full(size + 1, -1)
        kept_indices = np.arange(size) if is_whole else choose_indices(size)
        indices[kept_indices + 1] = np.arange(kept_indices.size)
        is_kept &= (array_numbers == 0) | (indices[array_numbers] >= 0)
        summands.append(Summand(array, indices[array_numbers]))
    weight_indices = np.flatnonzero(is_kept)
    summands = [summand._replace(indices=summand.indices[weight_indices]) for summand in summands]
    recorded = RecordedWeight(
        name,
        kind,
        weight.shape,
        dtype,
        _combine_gradients(summands, math.prod(weight.shape)),
        _take_update(summands, math.prod(weight.shape)),
    )
    return MappedWeight(recorded, weight_indices)


def _classify(arrays: Sequence[RecordedArray]) -> Kind:
    kinds = [array.kind for array in arrays]
    return "trained" if "trained" in kinds or not kinds else kinds[0]


def _number_values(assignment: Assignment, probes: Sequence[_Probe]) -> list[Array] | None:
    """Number the values of a weight by the values of each array, from 1, and 0 for none.

    Two tests show that a weight only has values of arrays, or their sums. Its values are whole
    numbers of the probe. Random arrays lead to the values that the numbers predict. If a test
    fails, the result is `None`.
    """
    array = assignment.array
    if array is None:
        return None

    def load(values_by_position: Mapping[int, Array]) -> Array:
        for position, probe in enumerate(probes):
            probe.values = values_by_position.get(position, np.zeros(probe.shape))
        return np.asarray(array.read(...), "float64").reshape(-1)

    rng = np.random.default_rng(0)
    base = load({})
    random_values = [rng.random(probe.shape) for probe in probes]
    expected = base
    numbers_by_array = []
    for position, probe in enumerate(probes):
        loaded_numbers = load({position: probe.numbers}) - base
        numbers = np.nan_to_num(loaded_numbers).astype(int)
        if not np.array_equal(numbers, loaded_numbers) or numbers.min(initial=0) < 0:
            return None
        if numbers.max(initial=0) > math.prod(probe.shape):
            return None
        numbers_by_array.append(numbers)
        expected = expected + np.concatenate([[0.0], random_values[position].reshape(-1)])[numbers]
    loaded = load(dict(enumerate(random_values)))
    return numbers_by_array if np.allclose(loaded, expected, rtol=1e-6) else None


def _combine_gradients(summands: Sequence[Summand], size: int) -> RecordedChange | None:
    """Take the gradient of a weight from its arrays: in a sum, each array has this gradient."""
    changes = []
    values = np.zeros(summands[0].indices.size, "float32")
    deviations = np.zeros(values.size, "float32")
    is_open = np.ones(values.size, bool)
    for array, indices in summands:
        change = array.gradient
        if change is None:
            continue
        changes.append(change)
        chosen = is_open & (indices >= 0)
        values[chosen] = change.values[indices[chosen]]
        if change.deviations.size:
            deviations[chosen] = change.deviations[indices[chosen]]
        is_open &= ~chosen
    if not changes:
        return None
    norm = _compute_norm([summand.array for summand in summands], changes, values, size)
    return RecordedChange(norm, values, compute_rms(deviations))


def _take_update(summands: Sequence[Summand], size: int) -> RecordedChange | None:
    """Take the change of a state by a call from its buffers. A sum of buffers has none."""
    changes = []
    values = np.zeros(summands[0].indices.size, "float32")
    is_open = np.ones(values.size, bool)
    for array, indices in summands:
        is_there = indices >= 0
        if array.update is None or (is_there & ~is_open).any():
            return None
        changes.append(array.update)
        values[is_there] = array.update.values[indices[is_there]]
        is_open &= ~is_there
    norm = _compute_norm([summand.array for summand in summands], changes, values, size)
    return RecordedChange(norm, values)


def _compute_norm(
    arrays: Sequence[RecordedArray], changes: Sequence[ArrayChange], values: Array, size: int
) -> float:
    """Compute the norm of a change, NaN if the kept values are not enough."""
    if values.size == size:
        return math.sqrt(float(np.sum(np.square(values.astype("float64")))))
    # The weight has all values of the arrays, each once.
    if sum(math.prod(array.shape) for array in arrays) == size:
        return math.sqrt(sum(change.norm**2 for change in changes))
    return math.nan
