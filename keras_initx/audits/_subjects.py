"""What is audited: weights of a model, or arrays by name."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import keras
import numpy as np

from keras_initx._checks import DTYPES, check_type
from keras_initx._typing import Array, DType, Shape
from keras_initx.arrays._formats import check_file
from keras_initx.arrays._keras_files import FORMATS_OF_KERAS
from keras_initx.arrays._lazy import LazyArray
from keras_initx.audits._measured import as_numbers
from keras_initx.backends._backend import Region
from keras_initx.backends._current import backend
from keras_initx.checkpoints._checkpoint import Checkpoint, checkpoint_paths, open_checkpoint
from keras_initx.checkpoints._names_of_keras import own_names
from keras_initx.checkpoints._sources import as_lazy, checked_arrays, ties_of
from keras_initx.structure._architecture import architecture_of
from keras_initx.structure._finite import not_finite
from keras_initx.structure._inventory import Inventory, checked_inventory
from keras_initx.structure._pairing import Pairs, weight_places
from keras_initx.structure._weights import ModelWeight

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
        lost = None if self.weight is None else not_finite(self.weight, here=True)
        return "" if lost is None or lost.may_be_meant else str(lost)

    def makes_output(self) -> bool:
        """Return whether its layer is known to make an output of the model, without another."""
        if self.weight is None:
            return False
        model = self.weight.layers[0]
        is_model = isinstance(model, keras.Model)
        return is_model and self.weight.layer in architecture_of(model).outputs

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
        checked_arrays(name, weights)
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
    own = own_names(arrays, inventory)
    found = {path: arrays[name] for path, name in own.names.items()}
    named = set(own.names.values())
    found.update((name, array) for name, array in arrays.items() if name not in named)
    return found, Pairs({path: path for path in own.names}, own.reasons, own.notes)


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


def subjects_of(found: Inventory | Mapping[str, Any]) -> list[Subject]:
    """Return the weights of what was opened."""
    if isinstance(found, Inventory):
        places = weight_places(found, found.weights)
        return [of_weight(weight, places[weight.path]) for weight in found.weights]
    arrays = _as_lazy(found)
    ties = ties_of(found)
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
