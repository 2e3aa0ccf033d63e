"""The record of a tensor: its shape, its moments, and some of its values.

The indices of these values follow from the number of values alone, so two runs keep the same ones.

An *order* is a way to arrange the values of a tensor. For example, torch has images of (2, 8, 8, 3)
as (2, 3, 8, 8), `Order("channels first", view=(2, 8, 8, 3), axes=(0, 3, 1, 2), shape=(2, 3, 8,
8))`. The *units* of a tensor are the sizes of its channels, the scale for differences.
"""

import functools
import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from keras_initx._typing import Array, DType, Shape
from keras_initx.backends._moments import CHUNK
from keras_initx.inspection._batch import to_floats

# Of a larger tensor, so many values are kept.
MOST_VALUES = 4096
_GOLDEN = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True)
class Order:
    """An order of the values of a tensor that may fit another tensor.

    Attributes:
        name: The difference from the own order of the tensor, empty for this order.
        view: The shape of the tensor, or of the image that was flattened to it.
        axes: The axes of `view` in the other tensor, from the outermost one on.
        shape: The shape of the other tensor.
    """

    name: str
    view: Shape
    axes: tuple[int, ...]
    shape: Shape

    def fits(self, shape: Shape) -> bool:
        """Say whether the other tensor may have this shape: axes of length 1 do not matter."""
        return squeeze_shape(self.shape) == squeeze_shape(shape)


def own_order(shape: Shape) -> Order:
    """Return the order of a tensor itself."""
    return Order("", shape, tuple(range(len(shape))), shape)


def list_orders(shape: Shape, before_flattened: Shape | None = None) -> list[Order]:
    """List the possible orders of the values of a tensor in another framework.

    Args:
        shape: The shape of the tensor.
        before_flattened: The shape of the image that it was flattened from, if it was.
    """
    orders = [own_order(shape)]
    if len(shape) > 2:
        for name, axes in _name_axis_orders(len(shape)).items():
            orders.append(Order(name, shape, axes, tuple(shape[axis] for axis in axes)))
    elif before_flattened is not None:
        for name, axes in _name_channel_orders(len(before_flattened)).items():
            orders.append(Order(f"{name} before it is flattened", before_flattened, axes, shape))
    return orders


def _name_axis_orders(rank: int) -> dict[str, tuple[int, ...]]:
    return {**_name_channel_orders(rank), "time before the batch": (1, 0, *range(2, rank))}


def _name_channel_orders(rank: int) -> dict[str, tuple[int, ...]]:
    first = (0, rank - 1, *range(1, rank - 1))
    last = (0, *range(2, rank), 1)
    if first == last:
        return {"channels first": first}
    return {"channels first": first, "channels last": last}


def squeeze_shape(shape: Shape) -> Shape:
    """Remove the axes of length 1 from a shape."""
    return tuple(length for length in shape if length != 1)


def choose_indices(size: int) -> Array:
    """Choose the kept flat indices of a tensor with `size` values, all or `MOST_VALUES`.

    Their distance has no divisor in common with the size. So they cover all channels and all
    examples equally often, whatever the number of channels is.
    """
    if size <= MOST_VALUES:
        return np.arange(size)
    step = int(size * _GOLDEN)
    while math.gcd(step, size) > 1:
        step += 1
    return np.arange(MOST_VALUES) * step % size


@functools.lru_cache(maxsize=256)
def locate_kept_values(order: Order) -> Array:
    """Locate the kept values, as flat indices of the tensor in its own order.

    Args:
        order: The order that `choose_indices` counts in.
    """
    viewed = tuple(order.view[axis] for axis in order.axes)
    index = np.unravel_index(choose_indices(math.prod(viewed)), viewed or (1,))
    own_index = [index[order.axes.index(axis)] for axis in range(len(order.view))]
    indices: Array = np.ravel_multi_index(own_index, order.view) if own_index else np.zeros(1, int)
    return indices


def sample_values(values: Array, order: Order) -> Array:
    """Take the kept values of a tensor: integers as int64, 16 bits as float32.

    Args:
        values: All values.
        order: The order that the kept values are counted in.
    """
    kept: Array = values.reshape(-1)[locate_kept_values(order)]
    if kept.dtype.kind in "biu":
        return kept.astype("int64")
    return to_floats(kept)


class Units(NamedTuple):
    """The scales for differences between the values of a tensor.

    Attributes:
        axis: The axis of its channels, `None` if it has one channel.
        sizes: The root mean square of the finite values of each channel.
        spread: The largest difference of an example from the first one, as a share of the size of
            its channel, or of the median channel if that is larger; NaN for a single example.
    """

    axis: int | None
    sizes: Array
    spread: float

    def scale_at(self, indices: Array, shape: Shape) -> Array:
        """Look up the scales for the values at flat `indices`."""
        sizes = _raise_to_median(self.sizes)
        if self.axis is None:
            return np.broadcast_to(sizes, indices.shape)
        scales: Array = sizes[np.unravel_index(indices, shape)[self.axis]]
        return scales


def _raise_to_median(sizes: Array) -> Array:
    """Raise the sizes of channels to at least the median of those that are not zero."""
    positive = sizes[sizes > 0]
    return np.maximum(sizes, np.median(positive)) if positive.size else sizes


def measure_units(values: Array, axis: int) -> Units:
    """Measure the sizes of the channels of a tensor.

    Args:
        values: The values.
        axis: The axis of their channels. Vectors and numbers have one channel.
    """
    has_channels = values.ndim > 1 and values.size > 0
    moved = np.moveaxis(values, axis, -1) if has_channels else values.reshape(-1, 1)
    count = moved.shape[-1]
    squares = np.zeros(count)
    numbers = np.zeros(count)
    largest = np.zeros(count)
    step = max(CHUNK * len(moved) // max(moved.size, 1), 1)
    for begin in range(0, len(moved), step):
        chunk = to_floats(moved[begin : begin + step]).astype("float64")
        with np.errstate(invalid="ignore"):  # of infinities
            change = np.abs(chunk - to_floats(moved[:1])).reshape(-1, count)
        largest = np.fmax(largest, change.max(axis=0, initial=0))
        chunk = chunk.reshape(-1, count)
        is_finite = np.isfinite(chunk)
        numbers += is_finite.sum(axis=0)
        squares += np.square(chunk, where=is_finite, out=np.zeros(chunk.shape)).sum(axis=0)
    sizes = np.sqrt(squares / np.maximum(numbers, 1))
    spread = math.nan
    if values.ndim and len(values) > 1:
        above = largest > 0
        spread = float((largest[above] / _raise_to_median(sizes)[above]).max(initial=0))
    return Units(axis if has_channels else None, sizes, spread)


@dataclass(frozen=True, eq=False)
class RecordedTensor:
    """The record of a tensor.

    Attributes:
        shape: Its shape.
        dtype: The name of its dtype.
        mean: The mean of all its values.
        deviation: Their standard deviation.
        values: Dict from orders to the kept values in this order, its own order first.
        before_flattened: The shape of the image that was flattened to it, if known.
        units: The sizes of its channels, `None` of a tensor in a file.
    """

    shape: Shape
    dtype: DType
    mean: float
    deviation: float
    values: dict[Order, Array] = field(repr=False)
    before_flattened: Shape | None = None
    units: Units | None = field(default=None, repr=False)

    @property
    def own_values(self) -> Array:
        """The values that are kept in its own order."""
        return next(iter(self.values.values()))

    @property
    def is_constant(self) -> bool:
        """Whether it is zero, or has several values, all the same."""
        return self.deviation == 0 and (math.prod(self.shape) > 1 or self.mean == 0)

    def keep(self, array: Array, other_shapes: Collection[Shape]) -> None:
        """Keep values of the tensor in the orders that tensors of another model may have.

        Args:
            array: All its values.
            other_shapes: The shapes of the other tensors, without axes of length 1.
        """
        for order in list_orders(self.shape, self.before_flattened):
            if squeeze_shape(order.shape) in other_shapes and order not in self.values:
                self.values[order] = sample_values(array, order)

    def iterate_orders(self, shape: Shape) -> Iterator[tuple[Order, Array]]:
        """Yield its values in each order that a tensor of this shape may have."""
        for order, values in self.values.items():
            if order.fits(shape):
                yield order, values
