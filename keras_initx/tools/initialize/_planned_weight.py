"""What a weight gets: its row in a plan, its initializer, and the values that this one makes."""

import functools
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np

from keras_initx._typing import Array, Shape, Tensor
from keras_initx.backends._backend import Region
from keras_initx.backends._current import backend
from keras_initx.files._casts import can_be_cast, cast
from keras_initx.initializers._as_ours import adapt_initializer
from keras_initx.initializers._description import description
from keras_initx.initializers._initializer import Initializer
from keras_initx.initializers._sparse import Masked
from keras_initx.inspection._hooks import LayerInitializer


@dataclass(frozen=True)
class WeightPlan:
    """The initialization of one weight.

    Attributes:
        path: Its path in the model, see `ModelWeight`.
        shape: Its shape.
        dtype: The name of its dtype.
        initializer: The initializer as text, or `None` if the weight is left unchanged.
        reason: Why it is left unchanged, otherwise empty.
        fan_in: The number of inputs of a unit if this is a kernel, otherwise `None`. Their mean
            where units differ: those of a transposed convolution with strides.
        fan_out: The number of units connected to an input if this is a kernel, otherwise `None`.
        expected_std: The standard deviation expected from the initializer, or `None` if it is
            unknown.
        seed: The seed of the initializer, or `None` if it is deterministic, or an object or
            function of a user that cannot be given a seed.
        std: The standard deviation of the drawn values, or `None` if none were drawn.
    """

    path: str
    shape: tuple[int, ...]
    dtype: str
    initializer: str | None
    reason: str = ""
    fan_in: float | None = None
    fan_out: int | None = None
    expected_std: float | None = None
    seed: int | None = None
    std: float | None = None


def row_with(row: WeightPlan, initializer: LayerInitializer, seed: int | None) -> WeightPlan:
    """Return the row of a weight, with what it says of the initializer."""
    values = initializer.initializer if isinstance(initializer, Masked) else initializer
    expected_std = None
    if isinstance(values, Initializer):
        expected_std = values.expected_std(row.shape)
    return replace(
        row, initializer=description(values), reason="", expected_std=expected_std, seed=seed
    )


@dataclass(frozen=True, eq=False)
class PlannedWeight:
    """What a weight of a model gets, without anything of the model.

    Attributes:
        row: Its row in the plan.
        initializer: Its initializer, with a seed and axes. `None` if it keeps its values.
        shown: Its path as it is shown, see `ModelWeight`. A plan that was read has only its own.
        digest: The digest of its values, or `None` if it is not known.
        by_layer: Whether its layer says so, and no rule.
        place: Its place, see `places_of`, by which a plan finds it in another build of the model.
            In plans of earlier versions it is the path.
    """

    row: WeightPlan
    initializer: LayerInitializer | None
    shown: str
    digest: str | None = None
    by_layer: bool = False
    place: str = ""

    def values(self, region: Region | None = None) -> Array:
        """Return a new array of its values, or of those in a region.

        Where they can only be made together, all are kept here for other regions.
        """
        if region is None:
            return np.array(backend.host_view(self.make()))
        shape, dtype = self.row.shape, self.row.dtype
        places = _places(shape, region)
        part = adapt_initializer(self.initializer).values_at(shape, dtype, places.reshape(-1))
        if part is not None:
            return part.reshape(places.shape)
        return np.array(self._whole[region])

    @functools.cached_property
    def _whole(self) -> Array:
        return backend.host_view(self.make())

    def make(self) -> Tensor:
        """Return its values, before they are distributed over devices.

        Raises:
            ValueError: If the weight cannot have what its initializer gives.
        """
        assert self.initializer is not None
        value = self.initializer(self.row.shape, dtype=self.row.dtype)
        if isinstance(value, np.ma.MaskedArray):
            raise self.unsuitable(", which gives a masked array")
        if isinstance(value, np.ndarray) and can_be_cast(value.dtype.name, self.row.dtype):
            try:
                value = cast(value, self.row.dtype)
            except OverflowError as error:
                raise self.unsuitable(f", which gives {error}") from None
        tensor = keras.ops.convert_to_tensor(value)
        shape = tuple(tensor.shape)
        if shape != self.row.shape:
            raise self.unsuitable(f" of shape {self.row.shape}, which gives {shape}")
        dtype = keras.backend.standardize_dtype(tensor.dtype)
        if "complex" in dtype and "complex" not in self.row.dtype:
            raise self.unsuitable(", which gives complex numbers")
        return tensor

    def unsuitable(self, problem: str) -> ValueError:
        """Return the error about an initializer that the weight cannot have."""
        return unsuitable(self.row.initializer, self.row.path, problem)


def _places(shape: Shape, region: Region) -> Array:
    """Return the places, in row-major order, of the elements of an array in a region."""
    places: Array = np.array(0, "int64")
    for length, part in zip(shape, region, strict=True):
        places = places[..., None] * length + np.arange(length)[part]
    return places


def unsuitable(initializer: Any, path: str, problem: str) -> ValueError:
    """Return the error about an initializer that the weight with this path cannot have."""
    return ValueError(
        f"`rules` must suit the weights. Received: {initializer} for {path!r}{problem}"
    )
