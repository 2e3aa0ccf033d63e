"""Resize arrays along an axis: with other channels, rows, units or positions of an image.

    Rows().of(table of (6, 4), axis=0, new=8)               rows 0 to 5, and their mean twice
    Channels().of(kernel of (3, 3, 3, 8), axis=2, new=1)    the mean over channels, times 3
    Grid((14, 14), (16, 16), leading=1)                     interpolated positions of patches

All computations are in float64, which can hold every number of the other dtypes. So results are
rounded once, to the dtype of a weight. Terms are added one after the other, in the order of the
array, because `sum` and matrix products use another order on other machines.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from keras_initx._checks import check_count, check_type, is_integer
from keras_initx._received import show
from keras_initx._typing import Array, Shape
from keras_initx.files._lazy import LazyArray


class Resizing(ABC):
    """A way to make an array longer or shorter along an axis.

    Attributes:
        what: The items along this axis, in words.
    """

    what: str

    def of(self, array: LazyArray, axis: int, new: int) -> LazyArray:
        """Return an array whose length along `axis` is `new`, in float64.

        It is read whole for each region.

        Raises:
            ValueError: If this cannot be done with its length.
        """
        shape = (*array.shape[:axis], new, *array.shape[axis + 1 :])
        how = self.described(array.shape, axis, new)
        changed = array.changed(lambda values: self.resized(values, axis, new), shape, how)
        return replace(changed, dtype="float64")

    @abstractmethod
    def described(self, shape: Shape, axis: int, new: int) -> str:
        """Describe in words how an array of a shape is resized.

        Raises:
            ValueError: If it cannot be done.
        """

    @abstractmethod
    def resized(self, array: Array, axis: int, new: int) -> Array:
        """Return an array in float64 whose length along `axis` is `new`."""

    @property
    def changes_equal(self) -> bool:
        """Whether an array that already has the right shape is changed too."""
        return False


class Channels(Resizing):
    """Resizes input channels, as `"channels"` does for a convolution.

    - If the model has more channels, the old ones stay and each further one gets their mean.
    - If it has fewer, each gets the mean.

    Then the kernel is multiplied by `old / new`. So an input with equal channels, such as a gray
    image, gives the same output. The statistics of a normalization are not multiplied. The output
    is the same if the normalization makes the channels equal.

    You pass both arguments if the inputs of a layer are flattened patches with their channels
    innermost, as Keras flattens them: for a dense layer, or for a convolution of such patches.

    Args:
        old: The number of channels in the array. By default, the kernel of the convolution has it.
        new: The number of channels in the model.

    Raises:
        TypeError: If one of the numbers is no integer, or missing.
        ValueError: If it is not positive.

    Example:
        >>> from keras_initx.types import Channels
        >>> Channels(3, 5)
        Channels(3, 5)

    Reference:
        Wang and others, "Temporal segment networks", ECCV 2016, section 3.2, for the mean.
        Carreira and Zisserman, "Quo vadis, action recognition?", CVPR 2017, section 2.4, for the
        factor that keeps the output.
    """

    what = "channels"

    def __init__(self, old: int | None = None, new: int | None = None) -> None:
        if old is not None or new is not None:
            check_count("old", old)
            check_count("new", new)
        self.old: int | None = old
        self.new: int | None = new

    def __repr__(self) -> str:
        if self.old is None:
            return "Channels()"
        return f"Channels({self.old}, {self.new})"

    def described(self, shape: Shape, axis: int, new: int) -> str:
        positions, channels, new_channels = self._patches(shape[axis], new)
        text = f"{channels} to {new_channels} channels: "
        if new_channels > channels:
            text += f"first {channels}, mean for {new_channels - channels}"
        else:
            text += "mean for each"
        if positions > 1:
            text += f" at each of {positions} places"
        if len(shape) > 1:
            text += f", times {channels / new_channels:.4g}"
        return text

    def resized(self, array: Array, axis: int, new: int) -> Array:
        positions, channels, new_channels = self._patches(array.shape[axis], new)
        moved = np.moveaxis(array, axis, 0)
        others = moved.shape[1:]
        moved = np.moveaxis(moved.reshape(positions, channels, *others), 1, 0)
        if new_channels > channels:
            result = _append_mean(moved, range(channels), new_channels)
        else:
            result = np.repeat(_mean_in_order(moved)[np.newaxis], new_channels, axis=0)
        if array.ndim > 1:  # a kernel; statistics have a single axis
            result *= channels / new_channels
        result = np.moveaxis(result, 0, 1).reshape(new, *others)
        return np.moveaxis(result, 0, axis)

    def _patches(self, old: int, new: int) -> "_Patches":
        if self.old is None or self.new is None:
            return _Patches(1, old, new)
        positions = old // self.old
        if (positions * self.old, positions * self.new) != (old, new):
            raise ValueError(
                f"{old} and {new} inputs are not patches of {self.old} and {self.new} channels"
            )
        return _Patches(positions, self.old, self.new)


class _Patches(NamedTuple):
    """Inputs that are patches with their channels innermost. Plain channels have one position."""

    positions: int
    old_channels: int
    new_channels: int


class ListResizing(Resizing):
    """Resizes a list: the first entries or chosen entries stay, and further ones get their mean."""

    def __init__(self, chosen: Iterable[int] | None = None) -> None:
        self.chosen: tuple[int, ...] | None = None
        if chosen is not None:
            check_type("chosen", chosen, Iterable, f"indices of {self.what}, such as [3, 17]")
            self.chosen = tuple(check_count("chosen", index, least=0) for index in chosen)
            if not self.chosen:
                raise ValueError(f"`chosen` must not be empty. Received: chosen={show(chosen)}")

    def __repr__(self) -> str:
        chosen = "" if self.chosen is None else list(self.chosen)
        return f"{type(self).__name__}({chosen})"

    @property
    def changes_equal(self) -> bool:
        return self.chosen is not None

    def described(self, shape: Shape, axis: int, new: int) -> str:
        old = shape[axis]
        kept = self._list_kept(old, new)
        if max(kept) >= old:
            raise ValueError(f"the array has {old} {self.what}, and no index {max(kept)}")
        if len(kept) > new:
            raise ValueError(f"{len(kept)} {self.what} are chosen, and the model has {new}")
        which = "first" if self.chosen is None else "chosen"
        text = f"{old} to {new} {self.what}: {which} {len(kept)}"
        if new > len(kept):
            text += f", mean for {new - len(kept)}"
        return text

    def leaves_out(self, array: LazyArray, axis: int, new: int) -> bool:
        """Return whether a mean leaves out infinite values. This reads the array."""
        kept = self._list_kept(array.shape[axis], new)
        return new > len(kept) and bool(np.isinf(array.read(...)).take(kept, axis).any())

    def resized(self, array: Array, axis: int, new: int) -> Array:
        moved = np.moveaxis(array, axis, 0)
        result = _append_mean(moved, self._list_kept(len(moved), new), new, finite=True)
        return np.moveaxis(result, 0, axis)

    def _list_kept(self, old: int, new: int) -> Sequence[int]:
        # The indices of the old entries that stay.
        if self.chosen is not None:
            return self.chosen
        return range(min(old, new))


class Rows(ListResizing):
    """Resizes the words of an embedding or the positions of a sequence, as `"rows"` does.

    - If the model has more rows, the old ones stay, bit for bit, and each further one gets their
      mean.
    - If it has fewer, the first ones stay.

    The mean leaves out infinite values, such as those in rows of masked words. If your logits are
    linear in the rows, and in the bias if there is one, `m` new rows next to `n` old rows raise the
    loss of a softmax by at most `log(1 + m / n)`.

    Args:
        chosen: The indices of the rows that stay, in their new order; by default the first ones.
            You may choose a row twice.

    Raises:
        TypeError: If an index is no integer.
        ValueError: If an index is negative, or none is chosen.

    Example:
        >>> from keras_initx.types import Rows
        >>> Rows([3, 17, 40])
        Rows([3, 17, 40])

    Reference:
        Hewitt, "Initializing new word embeddings for pretrained language models", 2021.
    """

    what = "rows"


class Units(ListResizing):
    """Resizes the units of a head, in its kernel and its bias, as `"units"` does.

    It does the same as `Rows`, along the axis of units. If your task is new, redraw the head
    instead.

    Args:
        chosen: The indices of the units that stay, in their new order; by default the first ones.
            You may choose a unit twice.

    Raises:
        TypeError: If an index is no integer.
        ValueError: If an index is negative, or none is chosen.

    Example:
        >>> from keras_initx.types import Units
        >>> Units([3, 17, 40])
        Units([3, 17, 40])

    Reference:
        Hewitt, "Initializing new word embeddings for pretrained language models", 2021.
    """

    what = "units"


class Grid(Resizing):
    """Resizes learned positions of an image to another number of patches.

    Use it if you train a vision transformer on images of another size. It interpolates by cubic
    convolution with `a = -0.5`. The weights are normalized at the edges, and spread if the grid
    shrinks. The centres of the outer patches stay half a patch away from the edge.

    Args:
        old: The numbers of patches along the axes of the image in the array, e.g. height and width.
        new: The numbers of patches in the model.
        leading: The number of rows before the positions, such as one for a class token. They stay.

    Raises:
        TypeError: If a number is no integer.
        ValueError: If it is negative, or the grids have different numbers of axes.

    Example:
        >>> from keras_initx.types import Grid
        >>> Grid((14, 14), (16, 16), leading=1)
        Grid((14, 14), (16, 16), leading=1)

    Reference:
        Dosovitskiy and others, "An image is worth 16x16 words", ICLR 2021, section 3.2. Keys,
        "Cubic convolution interpolation for digital image processing", IEEE Transactions on
        Acoustics, Speech, and Signal Processing 29(6), 1981.
    """

    what = "positions"

    def __init__(self, old: Sequence[int], new: Sequence[int], *, leading: int = 0) -> None:
        self.old: tuple[int, ...] = _check_grid("old", old)
        self.new: tuple[int, ...] = _check_grid("new", new)
        if len(self.old) != len(self.new):
            raise ValueError(
                f"`new` must have as many axes as `old`. Received: old={show(old)}, new={show(new)}"
            )
        self.leading: int = check_count("leading", leading, least=0)

    def __repr__(self) -> str:
        return f"Grid({self.old}, {self.new}, leading={self.leading})"

    @property
    def changes_equal(self) -> bool:
        return self.old != self.new and math.prod(self.old) == math.prod(self.new)

    @property
    def lengths(self) -> tuple[int, int]:
        """The numbers of rows before and after."""
        return self.leading + math.prod(self.old), self.leading + math.prod(self.new)

    def described(self, shape: Shape, axis: int, new: int) -> str:
        for length, grid in ((shape[axis], self.old), (new, self.new)):
            if length != self.leading + math.prod(grid):
                raise ValueError(f"{length} rows are not {self._name_grid(grid)}")
        text = f"{_format_grid(self.old)} to {_format_grid(self.new)} positions: cubic"
        return f"{text}, first {self.leading} kept" if self.leading else text

    def resized(self, array: Array, axis: int, new: int) -> Array:
        moved = np.moveaxis(array, axis, 0).astype("float64")
        others = moved.shape[1:]
        grid = moved[self.leading :].reshape(*self.old, *others)
        for axis_of_grid, length in enumerate(self.new):
            grid = np.moveaxis(
                _interpolate(np.moveaxis(grid, axis_of_grid, 0), length), 0, axis_of_grid
            )
        result = np.concatenate([moved[: self.leading], grid.reshape(-1, *others)])
        return np.moveaxis(result, 0, axis)

    def _name_grid(self, grid: tuple[int, ...]) -> str:
        leading = f" with leading={self.leading}" if self.leading else ""
        return f"the positions of {_format_grid(grid)} patches{leading}"


def _check_grid(name: str, grid: Sequence[int]) -> tuple[int, ...]:
    required = (
        f"`{name}` must be the numbers of patches along the axes of an image, such as (14, 14). "
        f"Received: {name}={show(grid)}"
    )
    if not isinstance(grid, Sequence) or not all(map(is_integer, grid)):
        raise TypeError(required)
    if not grid or min(grid) < 1:
        raise ValueError(required)
    return tuple(map(int, grid))


def _format_grid(grid: tuple[int, ...]) -> str:
    return " x ".join(map(str, grid))


def _sum_in_order(arrays: Array) -> Array:
    total: Array = arrays[0].astype("float64")
    for array in arrays[1:]:
        total = total + array
    return total


def _mean_in_order(arrays: Array) -> Array:
    return _sum_in_order(arrays) / len(arrays)


def _finite_mean(arrays: Array) -> Array:
    # Of the values that are not infinite; of all where there are no others.
    is_infinite = np.isinf(arrays)
    counts = len(arrays) - np.sum(is_infinite, axis=0)
    with np.errstate(invalid="ignore"):
        overall = _mean_in_order(arrays)
    means = _sum_in_order(np.where(is_infinite, 0, arrays)) / np.maximum(counts, 1)
    return np.where(counts > 0, means, overall)


def _append_mean(arrays: Array, kept: Sequence[int], length: int, *, finite: bool = False) -> Array:
    """Take chosen entries of the first axis, and append their mean up to a length.

    Args:
        arrays: The entries.
        kept: The indices of the chosen entries.
        length: The length.
        finite: Whether infinite values are left out of the mean.
    """
    result = np.empty((length, *arrays.shape[1:]), "float64")
    result[: len(kept)] = np.take(arrays, kept, axis=0)
    if length > len(kept):
        mean = _finite_mean if finite else _mean_in_order
        result[len(kept) :] = mean(result[: len(kept)])
    return result


def _interpolate(rows: Array, length: int) -> Array:
    # Along the first axis, by cubic convolution.
    result = np.zeros((length, *rows.shape[1:]), "float64")
    for index, weights in enumerate(_make_cubic_weights(len(rows), length)):
        for source in np.flatnonzero(weights):
            result[index] = result[index] + weights[source] * rows[source]
    return result


def _make_cubic_weights(old: int, new: int) -> Array:
    # Row i has the weights of all old positions at the new position i.
    scale = old / new
    centres = (np.arange(new) + 0.5) * scale
    distances = np.arange(old) + 0.5 - centres[:, np.newaxis]
    # To fewer positions, the kernel is wider, so that each takes in all that lie around it.
    weights = _cubic_kernel(distances / max(scale, 1.0))
    return weights / _sum_in_order(weights.T)[:, np.newaxis]


def _cubic_kernel(distances: Array) -> Array:
    # The weights of Keys (1981) by distance, with `a = -0.5`.
    x = np.abs(distances)
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))
