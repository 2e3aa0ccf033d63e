"""The step of a module of torch as that of the weights that its arrays are loaded into.

There is no second map: `load_pretrained` is asked where the values of the arrays go. It gets an
array of numbers, and zeros for all others: `fc.weight` of `[[1, 2], [3, 4]]` comes back as
`[[1, 3], [2, 4]]`, so the second value of the kernel is the third of the array. A sum has a value
of each of its parts.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from keras_initx._typing import Array, Shape
from keras_initx.checkpoints._sources import open_source
from keras_initx.inspection._inventory import Inventory
from keras_initx.tools.compare_outputs._recorded_step import (
    ArrayChange,
    Kind,
    RecordedArray,
    RecordedChange,
    RecordedStep,
    RecordedWeight,
    compute_rms,
)
from keras_initx.tools.compare_outputs._samples import places
from keras_initx.tools.load_pretrained._array_names import NamesDict
from keras_initx.tools.load_pretrained._load_pretrained import Assignment, plan_load


class Summand(NamedTuple):
    """What an array has of a weight, at the places that are kept.

    Attributes:
        array: The array.
        indices: The places of its values among those that are kept of it, -1 for none.
    """

    array: RecordedArray
    indices: Array


class MappedWeight(NamedTuple):
    """A weight whose values are those of arrays.

    Attributes:
        recorded: What is kept of it, under the names of the arrays.
        kept_at: The places in the weight that are kept, `None` if nothing is known of it.
        summands: The arrays, of which those at one place are summed.
    """

    recorded: RecordedWeight
    kept_at: Array | None = None
    summands: Sequence[Summand] = ()


class MappedStep(NamedTuple):
    """The step of a module, as that of a model.

    Attributes:
        weights: The weights of the model that have arrays, by their paths.
        unused: What is kept of the other arrays.
    """

    weights: Mapping[str, MappedWeight]
    unused: Sequence[RecordedWeight]

    @property
    def kept_at(self) -> dict[str, Array]:
        """The places of each weight that are kept."""
        found = {}
        for path, weight in self.weights.items():
            if weight.kept_at is not None:
                found[path] = weight.kept_at
        return found


class _Probe:
    """An array whose values say which they are, or are what they are set to."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.dtype = np.dtype("float64")
        self.values: Array = self.numbers

    @property
    def numbers(self) -> Array:
        """Its values by their places, from 1."""
        return np.arange(1.0, math.prod(self.shape) + 1).reshape(self.shape)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return self.values if dtype is None else self.values.astype(dtype)


def mapped_step(step: RecordedStep, inventory: Inventory, names: NamesDict | None) -> MappedStep:
    """Return the step of a module as that of the weights of a model.

    Args:
        step: The step, which has arrays.
        inventory: What the model holds.
        names: See `load_pretrained`.

    Raises:
        TypeError: If `names` is no such dict.
        ValueError: If a pattern matches no weight, or leads to no name.
    """
    arrays = {array.name: array for array in step.arrays}
    probes = {name: _Probe(array.shape) for name, array in arrays.items()}
    weights: dict[str, MappedWeight] = {}
    used: set[str] = set()
    with open_source(probes) as (contents, own_layout), np.errstate(all="ignore"):
        plan = plan_load(inventory, contents, own_layout, names, "torch", {})
        for assignment in plan.steps:
            sources = assignment.row.sources
            used.update(sources)
            if sources or assignment.row.status == "error":
                own = [arrays[name] for name in sources]
                weight = _mapped(assignment, own, probes, is_whole=step.is_whole)
                weights[assignment.weight.path] = weight
    unused = []
    used_tensors = {arrays[name].tied_to or name for name in used}
    for name, array in arrays.items():
        if (array.tied_to or name) not in used_tensors:
            unused.append(RecordedWeight(name, array.kind, array.shape, array.dtype))
    return MappedStep(weights, unused)


def _mapped(
    assignment: Assignment,
    arrays: Sequence[RecordedArray],
    probes: Mapping[str, _Probe],
    *,
    is_whole: bool,
) -> MappedWeight:
    weight = assignment.weight
    name = " + ".join(array.name for array in arrays)
    kind = _kind(arrays)
    dtype = arrays[0].dtype if arrays else ""
    if assignment.array is None:
        how = assignment.row.how
        return MappedWeight(RecordedWeight(name, kind, weight.shape, dtype, obstacle=how))
    numbers = _numbers(assignment, [probes[array.name] for array in arrays])
    if numbers is None:
        how = f"it is computed of {name}"
        return MappedWeight(RecordedWeight(name, kind, weight.shape, dtype, obstacle=how))
    summands = []
    is_kept = np.any(numbers, axis=0)
    for array, own in zip(arrays, numbers, strict=True):
        size = math.prod(array.shape)
        indices = np.full(size + 1, -1)
        kept = np.arange(size) if is_whole else places(size)
        indices[kept + 1] = np.arange(kept.size)
        is_kept &= (own == 0) | (indices[own] >= 0)
        summands.append(Summand(array, indices[own]))
    kept_at = np.flatnonzero(is_kept)
    summands = [one._replace(indices=one.indices[kept_at]) for one in summands]
    recorded = RecordedWeight(
        name,
        kind,
        weight.shape,
        dtype,
        _gradient(summands, math.prod(weight.shape)),
        _update(summands, math.prod(weight.shape)),
    )
    return MappedWeight(recorded, kept_at, summands)


def _kind(arrays: Sequence[RecordedArray]) -> Kind:
    kinds = [array.kind for array in arrays]
    return "trained" if "trained" in kinds or not kinds else kinds[0]


def _numbers(assignment: Assignment, probes: Sequence[_Probe]) -> list[Array] | None:
    """Return which value of each array the values of a weight have, from 1, and 0 for none.

    `None` if they are more than values of arrays, or sums of them.
    """
    array = assignment.array
    if array is None:
        return None

    def loaded(**values: Array) -> Array:
        for place, probe in enumerate(probes):
            probe.values = values.get(f"{place}", np.zeros(probe.shape))
        return np.asarray(array.read(...), "float64").reshape(-1)

    rng = np.random.default_rng(0)
    base = loaded()
    drawn = [rng.random(probe.shape) for probe in probes]
    expected = base
    found = []
    for place, probe in enumerate(probes):
        own = loaded(**{f"{place}": probe.numbers}) - base
        numbers = np.nan_to_num(own).astype(int)
        if not np.array_equal(numbers, own) or numbers.min(initial=0) < 0:
            return None
        if numbers.max(initial=0) > math.prod(probe.shape):
            return None
        found.append(numbers)
        expected = expected + np.concatenate([[0.0], drawn[place].reshape(-1)])[numbers]
    is_moved = np.allclose(
        loaded(**{f"{place}": values for place, values in enumerate(drawn)}), expected, rtol=1e-6
    )
    return found if is_moved else None


def _gradient(summands: Sequence[Summand], size: int) -> RecordedChange | None:
    """Return the gradient of a weight: that of a sum is the gradient of each part of it."""
    trained = []
    for one in summands:
        if one.array.gradient is not None:
            trained.append((one.array, one.array.gradient, one.indices))
    if not trained:
        return None
    count = trained[0][2].size
    values = np.zeros(count, "float32")
    deviations = np.zeros(count, "float32")
    is_open = np.ones(count, bool)
    for _, change, indices in trained:
        chosen = is_open & (indices >= 0)
        values[chosen] = change.values[indices[chosen]]
        if change.deviations.size:
            deviations[chosen] = change.deviations[indices[chosen]]
        is_open &= ~chosen
    norm = _norm([one.array for one in summands], [one[1] for one in trained], values, size)
    return RecordedChange(norm, values, compute_rms(deviations))


def _update(summands: Sequence[Summand], size: int) -> RecordedChange | None:
    """Return what a step adds to a weight: the sum of what it adds to the parts of a sum."""
    changes = []
    values = np.zeros(summands[0].indices.size, "float64")
    for array, indices in summands:
        if array.update is None:
            if array.kind != "frozen":
                return None
            continue
        changes.append(array.update)
        values += np.where(indices >= 0, array.update.values[indices], 0)
    if not changes:
        return None
    norm = _norm([one.array for one in summands], changes, values, size)
    return RecordedChange(norm, values.astype("float32"))


def _norm(
    arrays: Sequence[RecordedArray], changes: Sequence[ArrayChange], values: Array, size: int
) -> float:
    """Return the norm of a change, NaN if what is kept does not say it."""
    if values.size == size:
        return math.sqrt(float(np.sum(np.square(values.astype("float64")))))
    # All values of the arrays, each at one place.
    if sum(math.prod(array.shape) for array in arrays) == size:
        return math.sqrt(sum(change.norm**2 for change in changes))
    return math.nan
