"""What is audited: weights of a model, or arrays by name."""

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import keras
import numpy as np

from keras_initx._checks import DTYPES, check_type
from keras_initx._typing import Array, DType, Shape
from keras_initx.backends._backend import Region
from keras_initx.backends._current import backend
from keras_initx.checkpoints._checkpoint import Checkpoint, checkpoint_paths, open_checkpoint
from keras_initx.checkpoints._names_of_keras import source_names_by_path
from keras_initx.checkpoints._sources import check_arrays, find_ties, to_lazy
from keras_initx.files._formats import check_file
from keras_initx.files._keras_files import FORMATS_OF_KERAS
from keras_initx.files._lazy import LazyArray
from keras_initx.initializers._laws import FrameLaw, IndependentLaw
from keras_initx.inspection._architecture import read_architecture
from keras_initx.inspection._finite import find_not_finite
from keras_initx.inspection._inventory import Inventory, checked_inventory
from keras_initx.inspection._pairing import Pairs, canonical_weight_paths
from keras_initx.inspection._weights import ModelWeight
from keras_initx.sampling._conversion import NORMAL_REACH
from keras_initx.tools.audit._distribution import measure_parts, norms_of, parts_of_law
from keras_initx.tools.audit._equal_values import (
    bits_of,
    independent_of,
    ranks_of,
    repeated,
    signs_of,
)
from keras_initx.tools.audit._extremes import crowded, ends_of
from keras_initx.tools.audit._profile import (
    INFINITE,
    LEVELS,
    NOT_FINITE,
    NOTHING,
    Profile,
    Reading,
    epsilon,
    quantiles_of,
    reading_of,
    rounded,
)
from keras_initx.tools.audit._zeros import axis_of, connections_of, frames_of, places_of_zeros
from keras_initx.tools.initialize._digest import array_digest

# Profiles of values, of arrays and of laws.


# What is measured of random values, by the fields of a profile.
_MEASURES: dict[str, Callable[[Reading], Any]] = {
    "independent": independent_of,
    "zeros_at": places_of_zeros,
    "connections": connections_of,
    "bits": bits_of,
    "parts": measure_parts,
    "ends": ends_of,
    "frames": frames_of,
    "norms": norms_of,
    "repeated": repeated,
    "crowded": crowded,
    "signs": signs_of,
    "ranks": ranks_of,
}
# Values of a fixed weight that are kept, to compare those that differ in their last bits.
_PLACES = 64
# The values that a law stands for. Infinity has no share.
_ENDLESS = 1e12
# Points between which a distribution function is nearly linear.
_GRID = 4097
# No continuous distribution has so many exact zeros. Of normal draws, one in 65,536 is 0; of those
# that Keras makes in 16 bits, many more.
_ZEROS = {"bfloat16": 2.0**-7, "float16": 2.0**-9}
_ZEROS_ELSE = 1e-4


def of_array(stored: Array, dtype: DType) -> Profile:
    """Return the profile of an array in its own dtype: what one draw says."""
    if 0 in stored.shape:
        return Profile("unknown", "empty")
    if dtype not in DTYPES:
        return Profile("unknown", f"{dtype}, of one draw", digest=array_digest(stored))
    if dtype != "float64":  # which is float32 on JAX, without its option
        stored = stored.astype(dtype, copy=False)
    profile = of_values(as_numbers(stored), dtype)
    # Of a constant, the value says all.
    digest = None if profile.kind == "constant" else array_digest(stored)
    return replace(profile, digest=digest)


def as_numbers(array: Array) -> Array:
    """Return an array in float64 if it has that dtype, else in float32."""
    if array.dtype == np.float64:
        return array
    return np.asarray(array, "float32")


def of_values(values: Array, dtype: DType, share: float | None = None) -> Profile:
    """Return the profile of numbers, of which there is one at least, without a digest.

    Args:
        values: An array in float32 or float64.
        dtype: The dtype that they were rounded to.
        share: The share of the most frequent value that is expected, if that is known.
    """
    lowest = float(values.min())
    highest = float(values.max())
    if not math.isfinite(lowest + highest):
        reason = NOT_FINITE if np.isnan(values).any() else INFINITE
        return Profile("unknown", reason)
    if lowest == highest:
        return Profile("constant", value=lowest + 0.0, size=values.size, std=0.0)  # not -0
    reading = reading_of(values, dtype, share)
    sample = reading.sample
    profile: Profile = rounded(
        Profile(
            "random",
            places=_places(values),
            size=sample.size,
            mean=float(sample.mean()),
            std=float(sample.std()),
            kurtosis=_kurtosis(sample),
            total=values.size,
            zeros=reading.zeros,
            outliers=reading.outliers,
            lowest=lowest,
            highest=highest,
            quantiles=tuple(quantiles_of(reading.ordered, LEVELS).tolist()),
            **{name: measure(reading) for name, measure in _MEASURES.items()},
        )
    )
    return profile


def _kurtosis(sample: Array) -> float:
    """Return the fourth moment, in standard deviations."""
    std = sample.std()
    if not std:
        return 3.0
    squares = ((sample - sample.mean()) / std) ** 2
    return float(np.mean(squares * squares))


def _places(values: Array) -> tuple[float, ...]:
    """Return some of the values, at even distances."""
    places = np.linspace(0, values.size - 1, min(values.size, _PLACES)).astype(int)
    return tuple(values.reshape(-1)[places].tolist())


def of_law(law: IndependentLaw | FrameLaw, dtype: DType, shape: Shape) -> Profile:
    """Return the profile of infinitely many values of a law, as an array of a shape has them."""
    endless = Profile(
        "random",
        size=int(_ENDLESS),
        independent=_ENDLESS,
        std=law.std,
        total=int(_ENDLESS),
        bits=round(-math.log2(epsilon(dtype))),
        repeated=NOTHING,
        crowded=NOTHING,
    )
    if isinstance(law, FrameLaw):
        return replace(endless, frames=(law.blocks, axis_of(law)))
    low, high = law.bounds
    grid = np.linspace(
        max(low, law.mean - NORMAL_REACH * law.std),
        min(high, law.mean + NORMAL_REACH * law.std),
        _GRID,
    )
    probabilities = law.distribution_function(grid)
    middles = (grid[1:] + grid[:-1]) / 2
    fourth = float(((middles - law.mean) ** 4 * np.diff(probabilities)).sum())
    fourth += float((grid[0] - law.mean) ** 4 * probabilities[0])
    atom = max(probabilities[0], 1 - probabilities[-2])  # as of a lower bound
    return replace(
        endless,
        independent=_ENDLESS * float(1 - atom),
        mean=law.mean,
        kurtosis=fourth / law.std**4,
        zeros=_ZEROS.get(dtype, _ZEROS_ELSE),
        lowest=low,
        highest=high,
        quantiles=tuple(np.interp(LEVELS, probabilities, grid).tolist()),
        parts=parts_of_law(law.mean, law.std, int(_ENDLESS), shape),
        norms="",
        law=law,
    )


# A model, the path of a saved model, files of arrays, or a dict from names to arrays.
Audited: TypeAlias = keras.Model | Checkpoint | Mapping[str, Any]

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

    @property
    def shard_shape(self) -> Shape:
        """The shape of what lies on one device."""
        return self._stored.shape

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

    @property
    def shard_shape(self) -> Shape:
        return backend.shard_shape(self._variable.value)

    def stored(self) -> Array:
        return backend.host_view(self._variable.value)

    def parts(self) -> Iterator[tuple[Region | None, Array]]:
        for region, values in backend.parts(self._variable.value):
            yield region, as_numbers(values)


@dataclass(frozen=True)
class Subject:
    """A weight that is audited.

    Attributes:
        path: Its path in the model, or the name of the array.
        shape: Its shape.
        dtype: The name of its dtype.
        values: Its values.
        reason: Why it is not compared with others, otherwise empty.
        weight: The weight of a model, `None` of an array.
        place: Its place in the model, see `places_of`. That of an array is its name.
    """

    path: str
    shape: Shape
    dtype: DType
    values: Values
    reason: str = ""
    weight: ModelWeight | None = None
    place: str = ""

    def __post_init__(self) -> None:
        if not self.place:
            object.__setattr__(self, "place", self.path)

    def lost(self) -> str:
        """Return which of its values are not finite and cannot be meant, in words."""
        lost = None if self.weight is None else find_not_finite(self.weight, here=True)
        return "" if lost is None or lost.may_be_meant else str(lost)

    def makes_output(self) -> bool:
        """Return whether its layer is known to make an output of the model, without another."""
        if self.weight is None:
            return False
        model = self.weight.layers[0]
        is_model = isinstance(model, keras.Model)
        return is_model and self.weight.layer in read_architecture(model).outputs

    @property
    def shard_shape(self) -> Shape:
        """The shape of what lies on one device, its own where devices do not share it."""
        return self.values.shard_shape

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
def opened(name: str, weights: Any) -> Iterator[Inventory | Mapping[str, Any]]:
    """Open what is audited for the duration of the block: what a model holds, or arrays by name.

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
        check_arrays(name, weights)
        yield _some(name, weights)
        return
    required = (
        "a Keras model, a path, or a dict from names to arrays, as the `state_dict()` of a torch "
        "module"
    )
    check_type(name, weights, keras.Model, required)
    yield checked_inventory(name, weights)


def with_names_of(inventory: Inventory, arrays: Mapping[str, Any]) -> tuple[dict[str, Any], Pairs]:
    """Return arrays by the paths of the weights of a model, as far as their names tell them.

    The second is what pairs the weights with these arrays.
    """
    own = source_names_by_path(arrays, inventory)
    found = {path: arrays[name] for path, name in own.names.items()}
    named = set(own.names.values())
    found.update((name, array) for name, array in arrays.items() if name not in named)
    return found, replace(own, names={path: path for path in own.names})


def _some(name: str, arrays: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return arrays, of which there must be one at least."""
    if not arrays:
        raise ValueError(f"`{name}` must have at least one array. Received: none")
    return arrays


def _as_lazy(arrays: Mapping[str, Any]) -> dict[str, LazyArray]:
    """Return arrays of files or in memory as those of files."""
    found = {}
    for name, value in arrays.items():
        found[name] = value if isinstance(value, LazyArray) else to_lazy(value)
    return found


def subjects_of(found: Inventory | Mapping[str, Any]) -> list[Subject]:
    """Return the weights of what was opened."""
    if isinstance(found, Inventory):
        places = canonical_weight_paths(found, found.weights)
        return [of_weight(weight, places[weight.path]) for weight in found.weights]
    arrays = _as_lazy(found)
    ties = find_ties(found)
    result = []
    for name, stored in arrays.items():
        reason = f"{TIED} {ties[name]!r}" if name in ties else ""
        result.append(Subject(name, stored.shape, stored.dtype, Values(stored), reason))
    return result


def of_weight(weight: ModelWeight, place: str = "") -> Subject:
    """Return a weight of a model, with its place where that is needed."""
    values = VariableValues(weight.variable)
    return Subject(weight.path, weight.shape, weight.dtype, values, weight=weight, place=place)


def is_saved_model(path: str) -> bool:
    """Return whether the name of a file is that of a saved model, and not of weights alone."""
    return path.endswith(FORMATS_OF_KERAS) and not path.endswith(".weights.h5")
