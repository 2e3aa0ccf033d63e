"""The plan of one weight: its row, its initializer, and the values that the initializer makes.

    PlannedWeight
        row             WeightPlan("hidden/kernel", (8, 4), "float32", "HeNormal()", seed=7, ...)
        initializer     HeNormal(seed=7)
        canonical_path  "hidden/kernel"

The row is public, and the table shows it. It does not refer to the model, because a plan from a
file has none.
"""

import functools
from dataclasses import dataclass, replace

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
from keras_initx.tools.initialize._binding import unsuitable_error


@dataclass(frozen=True)
class WeightPlan:
    """The initialization of one weight.

    Attributes:
        path: Its path in your model, see `ModelWeight`.
        shape: Its shape.
        dtype: The name of its dtype.
        initializer: The initializer as text, or `None` if the weight keeps its values.
        detail: Why the weight keeps its values. If a recipe draws it, the role of the weight and
            what shows this role. Otherwise empty.
        fan_in: The number of inputs of a unit if this is a kernel, `None` if not. It is the mean if
            units differ, for example in a transposed convolution with strides.
        fan_out: The number of units connected to an input if this is a kernel, `None` if not.
        expected_std: The standard deviation that the initializer should give, or `None` if it is
            unknown.
        seed: The seed of the initializer. `None` if the initializer is deterministic, or your own
            object or function that cannot get a seed.
        std: The standard deviation of the drawn values, or `None` if none were drawn.
    """

    path: str
    shape: tuple[int, ...]
    dtype: str
    initializer: str | None
    detail: str = ""
    fan_in: float | None = None
    fan_out: int | None = None
    expected_std: float | None = None
    seed: int | None = None
    std: float | None = None

    @property
    def status(self) -> str:
        """The outcome: `"drawn"`, or `"left"` if the weight keeps its values."""
        return "left" if self.initializer is None else "drawn"

    @property
    def text(self) -> str:
        """The outcome, in words."""
        if self.initializer is None:
            return f"{self.path!r} {self.shape}: left: {self.detail}"
        seed = "" if self.seed is None else f", seed {self.seed}"
        return f"{self.path!r} {self.shape}: drawn by {self.initializer}{seed}"


def describe_initializer(
    row: WeightPlan, initializer: LayerInitializer, seed: int | None
) -> WeightPlan:
    """Fill the row of a weight with the facts about the initializer."""
    unmasked = initializer.initializer if isinstance(initializer, Masked) else initializer
    expected_std = None
    if isinstance(unmasked, Initializer):
        expected_std = unmasked.expected_std(row.shape)
    return replace(row, initializer=description(unmasked), expected_std=expected_std, seed=seed)


@dataclass(frozen=True, eq=False)
class PlannedWeight:
    """The plan of one weight, without reference to a model.

    Attributes:
        row: Its row in the plan.
        initializer: Its initializer, with a seed and axes. `None` if it keeps its values.
        shown: Its path for display, see `ModelWeight`. A plan from a file has only its own.
        digest: The digest of its values, or `None` if it is not known.
        is_by_layer: Whether the initializer is its layer's own, and not from a rule.
        canonical_path: Its canonical path, see `canonical_weight_paths`. It finds the weight in
            another build of the model. In plans of earlier versions it is the path.
    """

    row: WeightPlan
    initializer: LayerInitializer | None
    shown: str
    digest: str | None = None
    is_by_layer: bool = False
    canonical_path: str = ""

    def values(self, region: Region | None = None) -> Array:
        """Make a new array of its values, or of the values in a region.

        If they can only be made together, all of them are kept here for other regions.
        """
        if region is None:
            return np.array(backend.host_view(self.make()))
        shape, dtype = self.row.shape, self.row.dtype
        indices = _list_indices(shape, region)
        values = adapt_initializer(self.initializer).values_at(shape, dtype, indices.reshape(-1))
        if values is not None:
            return values.reshape(indices.shape)
        return np.array(self._whole[region])

    @functools.cached_property
    def _whole(self) -> Array:
        return backend.host_view(self.make())

    def make(self) -> Tensor:
        """Make its values, before they are distributed over devices.

        Raises:
            ValueError: If the weight cannot hold the values of its initializer.
        """
        assert self.initializer is not None
        value = self.initializer(self.row.shape, dtype=self.row.dtype)
        # A user's function may return anything.
        if isinstance(value, np.ma.MaskedArray):
            raise self.unsuitable_error(", which gives a masked array")
        if isinstance(value, np.ndarray) and can_be_cast(value.dtype.name, self.row.dtype):
            try:
                value = cast(value, self.row.dtype)
            except OverflowError as error:
                raise self.unsuitable_error(f", which gives {error}") from None
        tensor = keras.ops.convert_to_tensor(value)
        shape = tuple(tensor.shape)
        if shape != self.row.shape:
            raise self.unsuitable_error(f" of shape {self.row.shape}, which gives {shape}")
        dtype = keras.backend.standardize_dtype(tensor.dtype)
        if "complex" in dtype and "complex" not in self.row.dtype:
            raise self.unsuitable_error(", which gives complex numbers")
        return tensor

    def unsuitable_error(self, problem: str) -> ValueError:
        return unsuitable_error(self.row.initializer, self.row.path, problem)


def _list_indices(shape: Shape, region: Region) -> Array:
    """List the indices, in row-major order, of the elements of an array in a region.

    Rows 1 and 2 of an array of shape (3, 4) have the indices 4 to 7 and 8 to 11.
    """
    indices: Array = np.array(0, "int64")
    for length, axis_slice in zip(shape, region, strict=True):
        indices = indices[..., None] * length + np.arange(length)[axis_slice]
    return indices
