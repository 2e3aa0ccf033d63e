"""The audited weights of a model, or arrays by name, and the profiles of their values.

A `Subject` is an audited weight or array. Its values are read when they are needed. A `Profile` has
the known facts about values: measured in an array, or computed from a law.
"""

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import keras
import numpy as np

from keras_initx._checks import DTYPES, check_type
from keras_initx._typing import Array, DType, Shape
from keras_initx.backends._backend import Region
from keras_initx.backends._current import backend
from keras_initx.checkpoints._checkpoint import Checkpoint, checkpoint_paths, open_checkpoint
from keras_initx.checkpoints._keras_names import source_names_by_path
from keras_initx.checkpoints._sources import (
    TorchModule,
    check_arrays,
    find_ties,
    is_torch_module,
    open_source,
    to_lazy,
)
from keras_initx.files._formats import check_file
from keras_initx.files._keras_files import FORMATS_OF_KERAS
from keras_initx.files._lazy import LazyArray
from keras_initx.initializers._laws import FrameLaw, IndependentLaw
from keras_initx.inspection._finite import find_not_finite
from keras_initx.inspection._inventory import Inventory, checked_inventory
from keras_initx.inspection._pairing import Pairs, canonical_weight_paths
from keras_initx.inspection._weights import ModelWeight, has_memory
from keras_initx.sampling._conversion import NORMAL_REACH
from keras_initx.tools.audit._distribution import make_parts_of_law
from keras_initx.tools.audit._facts import FACTS
from keras_initx.tools.audit._profile import (
    INFINITE,
    LEVELS,
    NOT_FINITE,
    Profile,
    epsilon,
    make_reading,
    round_numbers,
)
from keras_initx.tools.audit._zeros import MOST_ZEROS, MOST_ZEROS_ELSE, get_frame_axis
from keras_initx.tools.initialize._digest import array_digest
from keras_initx.tools.load_pretrained._load_plan import plan_load

# The values that a law stands for. Infinity has no share. Unless tails are very long, they have
# more degrees of freedom than `INFINITE_DEGREES`, so that their variance is exact.
_ENDLESS = 1e12


def profile_array(stored: Array, dtype: DType) -> Profile:
    """Measure an array in its own dtype, as one draw."""
    if 0 in stored.shape:
        return Profile("unknown", "empty")
    if dtype not in DTYPES:
        return Profile("unknown", f"{dtype}, of one draw", digest=array_digest(stored))
    if dtype != "float64":  # which is float32 on JAX, without its option
        stored = stored.astype(dtype, copy=False)
    profile = profile_values(_to_floats(stored), dtype)
    # Of a constant, the value says all.
    digest = None if profile.kind == "constant" else array_digest(stored)
    return replace(profile, digest=digest)


def _to_floats(array: Array) -> Array:
    if array.dtype == np.float64:
        return array
    return np.asarray(array, "float32")


def profile_values(values: Array, dtype: DType) -> Profile:
    """Measure one number or more. The profile has no digest.

    Args:
        values: An array in float32 or float64.
        dtype: The dtype that they were rounded to.
    """
    lowest = float(values.min())
    highest = float(values.max())
    if not math.isfinite(lowest + highest):
        reason = NOT_FINITE if np.isnan(values).any() else INFINITE
        return Profile("unknown", reason)
    if lowest == highest:
        return Profile("constant", value=lowest + 0.0, size=values.size, std=0.0)  # not -0
    reading = make_reading(values, dtype)
    facts = {fact.name: fact.measure(reading) for fact in FACTS if fact.measure is not None}
    profile: Profile = round_numbers(Profile("random", **facts))
    return profile


def profile_law(law: IndependentLaw | FrameLaw, dtype: DType, shape: Shape) -> Profile:
    """Compute the profile of infinitely many values of a law, in an array of a shape."""
    endless = Profile(
        "random",
        size=int(_ENDLESS),
        independent=_ENDLESS,
        std=law.std,
        total=int(_ENDLESS),
        bits=round(-math.log2(epsilon(dtype))),
    )
    if isinstance(law, FrameLaw):
        return replace(endless, frames=(law.blocks, get_frame_axis(law)))
    low, high = law.bounds
    grid = np.linspace(
        max(low, law.mean - NORMAL_REACH * law.std),
        min(high, law.mean + NORMAL_REACH * law.std),
        4097,  # points, between which the distribution function is nearly linear
    )
    probabilities = law.distribution_function(grid)
    atom = max(probabilities[0], 1 - probabilities[-2])  # as of a lower bound
    return replace(
        endless,
        independent=_ENDLESS * float(1 - atom),
        mean=law.mean,
        kurtosis=_sum_fourth_moment(law.mean, grid, probabilities) / law.std**4,
        zeros=MOST_ZEROS.get(dtype, MOST_ZEROS_ELSE),
        lowest=low,
        highest=high,
        quantiles=tuple(np.interp(LEVELS, probabilities, grid).tolist()),
        parts=make_parts_of_law(law.mean, law.std, int(_ENDLESS), shape),
        law=law,
    )


def _sum_fourth_moment(mean: float, grid: Array, probabilities: Array) -> float:
    """Sum the fourth moment of a law over a grid.

    Each step between two points has its probability at its middle, and the first point has all
    probability below it.
    """
    middles = (grid[1:] + grid[:-1]) / 2
    fourth = float(((middles - mean) ** 4 * np.diff(probabilities)).sum())
    return fourth + float((grid[0] - mean) ** 4 * probabilities[0])


# A model, the path of a saved model, files of arrays, a module of torch, or a dict from names to
# arrays.
Audited: TypeAlias = keras.Model | Checkpoint | TorchModule | Mapping[str, Any]

# Why the second name of an array is not compared.
TIED = "tied to"


class Values:
    """The values of an array by its name or in a file, in float32 or float64.

    Attributes:
        is_shared: Whether other processes hold a part of them.
    """

    is_shared = False

    def __init__(self, stored: LazyArray) -> None:
        self._stored = stored

    def read_stored(self) -> Array:
        """Read all values in their own dtype. Processes that share them cannot."""
        return self._stored.read(...)

    def read(self) -> Array:
        """Read all values as numbers."""
        return _to_floats(self.read_stored())

    def parts(self) -> Iterator[tuple[Region | None, Array]]:
        """Yield the values that this process holds, each part with its region, `None` for all."""
        yield None, self.read()


class VariableValues(Values):
    """The values of a variable, which may be spread over devices and processes."""

    def __init__(self, variable: keras.Variable) -> None:
        self._variable = variable

    @property
    def is_shared(self) -> bool:  # type: ignore[override]
        return backend.is_shared(self._variable.value)

    def read_stored(self) -> Array:
        return backend.host_view(self._variable.value)

    def parts(self) -> Iterator[tuple[Region | None, Array]]:
        for region, values in backend.parts(self._variable.value):
            yield region, _to_floats(values)


@dataclass(frozen=True)
class Subject:
    """A weight that is audited.

    Attributes:
        path: Its path in the model, or the name of the array.
        shape: Its shape.
        dtype: The name of its dtype.
        values: Its values.
        reason: Why it is not compared with others, otherwise empty.
        weight: The weight of a model, `None` for an array.
        canonical_path: Its path by the types and ranks of layers, see `canonical_weight_paths`. It
            finds the weight in another model. An array has its name.
    """

    path: str
    shape: Shape
    dtype: DType
    values: Values
    reason: str = ""
    weight: ModelWeight | None = None
    canonical_path: str = ""

    def __post_init__(self) -> None:
        if not self.canonical_path:
            object.__setattr__(self, "canonical_path", self.path)

    def describe_not_finite(self) -> str:
        """Say which values are not finite without intention, empty if there are none."""
        problem = None if self.weight is None else find_not_finite(self.weight, here=True)
        return "" if problem is None or problem.may_be_meant else str(problem)

    @property
    def obstacle(self) -> str:
        """Why its values are not compared with others, otherwise empty."""
        if self.reason or _is_readable(self.dtype):
            return self.reason
        if self.weight is not None and self.weight.kind == "buffer" and has_memory(self.weight):
            return ""
        return "no array" if self.dtype == "object" else self.dtype


def _is_readable(dtype: DType) -> bool:
    # Numbers or truth values that NumPy reads. Those in 8 bits of `ml_dtypes` have the kind "V".
    try:
        return dtype in DTYPES or np.dtype(dtype).kind in "biucV"
    except TypeError:
        return False


@contextlib.contextmanager
def open_weights(name: str, weights: Any) -> Iterator[Inventory | Mapping[str, Any]]:
    """Open the audited weights for the block: a model's inventory, or arrays by name.

    The arrays are not read. A dict is returned itself, so that shared values stay shared.

    Args:
        name: Name of the argument in error messages.
        weights: See `audit`.
    """
    paths = checkpoint_paths(weights)
    if paths is not None and len(paths) == 1 and is_saved_model(paths[0]):
        check_file(name, paths[0])
        model = keras.saving.load_model(paths[0], compile=False)
        yield checked_inventory(name, model)
    elif paths is not None:
        with open_checkpoint(name, paths) as arrays:
            _check_not_empty(name, arrays)
            yield arrays
    elif is_torch_module(weights):
        state = weights.state_dict()
        _check_not_empty(name, state)
        yield state
    elif isinstance(weights, Mapping):
        check_arrays(name, weights)
        _check_not_empty(name, weights)
        yield weights
    else:
        required = (
            "a Keras model, a path, or a dict from names to arrays, as the `state_dict()` of a "
            "torch module, or this module"
        )
        check_type(name, weights, keras.Model, required)
        yield checked_inventory(name, weights)


def key_by_paths(inventory: Inventory, arrays: Mapping[str, Any]) -> tuple[dict[str, Any], Pairs]:
    """Call arrays by the paths of the weights of a model, as far as their names tell them.

    Returns:
        The arrays, and the pairs with weights. An array without a weight keeps its name. The
        counters of torch modules are left out.
    """
    pairs = source_names_by_path(arrays, inventory)
    counters = {buffer.path for buffer in inventory.buffers if buffer.kind == "counter"}
    names = {path: name for path, name in pairs.names.items() if path not in counters}
    arrays_by_path = {path: arrays[name] for path, name in names.items()}
    named = set(pairs.names.values())
    arrays_by_path.update((name, array) for name, array in arrays.items() if name not in named)
    return arrays_by_path, replace(pairs, names={path: path for path in names})


def key_module_by_paths(
    inventory: Inventory, state: Mapping[str, Any]
) -> tuple[dict[str, Any], Pairs]:
    """Call the arrays of a module of torch by the paths of the weights of a model.

    They get the order of axes of Keras, as `load_pretrained` would load them.

    Returns:
        See `key_by_paths`.
    """
    arrays: dict[str, Any] = {}
    used: set[str] = set()
    with open_source(state) as (contents, own_layout):
        plan = plan_load(inventory, contents, own_layout, None, "torch", {})
        for step in plan.steps:
            if not step.row.sources:
                continue
            used.update(step.row.sources)
            # An array of another shape is compared as it is.
            array = step.array or contents[step.row.sources[0]]
            if step.weight.kind != "counter":
                arrays[step.weight.path] = array
    pairs = replace(plan.own, names={path: path for path in arrays})
    if not arrays:
        pairs.remarks.append(
            "The module and the model have no name in common. Remedy: load the module into a copy "
            "of the model, by `load_pretrained` with `names`, and pass the copy as `like`."
        )
    for name, array in contents.items():
        is_counter = not array.shape and "float" not in array.dtype
        if name not in used and not is_counter:
            arrays[name] = array
    return arrays, pairs


def _check_not_empty(name: str, arrays: Mapping[str, Any]) -> None:
    if not arrays:
        raise ValueError(f"`{name}` must have at least one array. Received: none")


def _to_lazy_arrays(arrays: Mapping[str, Any]) -> dict[str, LazyArray]:
    lazy = {}
    for name, value in arrays.items():
        lazy[name] = value if isinstance(value, LazyArray) else to_lazy(value)
    return lazy


def list_subjects(content: Inventory | Mapping[str, Any]) -> list[Subject]:
    """List the weights that `open_weights` has opened."""
    if isinstance(content, Inventory):
        return list_weight_subjects(content, [*content.weights, *list_buffers(content)])
    arrays = _to_lazy_arrays(content)
    first_names = find_ties(content)
    subjects = []
    for name, stored in arrays.items():
        reason = f"{TIED} {first_names[name]!r}" if name in first_names else ""
        subjects.append(Subject(name, stored.shape, stored.dtype, Values(stored), reason))
    return subjects


def list_weight_subjects(inventory: Inventory, weights: Sequence[ModelWeight]) -> list[Subject]:
    """List some of the weights of a model, with their canonical paths."""
    canonical_paths = canonical_weight_paths(inventory, weights)
    return [weight_subject(weight, canonical_paths[weight.path]) for weight in weights]


def list_buffers(inventory: Inventory) -> list[ModelWeight]:
    """List the buffers of torch modules that are audited: those that are saved, but no counters."""
    return [buffer for buffer in inventory.buffers if buffer.kind != "counter"]


def weight_subject(weight: ModelWeight, canonical_path: str = "") -> Subject:
    """Return a weight of a model, with its canonical path if that is needed."""
    values = VariableValues(weight.variable)
    return Subject(
        weight.path,
        weight.shape,
        weight.dtype,
        values,
        weight=weight,
        canonical_path=canonical_path,
    )


def is_saved_model(path: str) -> bool:
    """Return whether a file holds a model, and not weights alone, by its name."""
    return path.endswith(FORMATS_OF_KERAS) and not path.endswith(".weights.h5")
