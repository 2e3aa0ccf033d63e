"""What is kept of a tensor: its shape, its moments, and some of its values.

The places of these values follow from the number of values alone, so two runs keep the same ones.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from keras_initx._typing import Array, DType, Shape

# Of a larger tensor, so many values are kept.
MOST_VALUES = 4096
_GOLDEN = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True)
class Order:
    """An order in which the values of a tensor may be those of another one.

    Attributes:
        name: What differs from the order of the tensor, or nothing.
        view: The shape in which the tensor is looked at: that before it was flattened.
        axes: The axes of this shape, the outermost first.
        shape: The shape that the other tensor has.
    """

    name: str
    view: Shape
    axes: tuple[int, ...]
    shape: Shape

    def fits(self, shape: Shape) -> bool:
        """Return whether the other tensor may have this shape: axes of length 1 do not matter."""
        return _without_ones(self.shape) == _without_ones(shape)


def own_order(shape: Shape) -> Order:
    """Return the order of a tensor itself."""
    return Order("", shape, tuple(range(len(shape))), shape)


def orders_of(shape: Shape, before_flattened: Shape | None = None) -> list[Order]:
    """Return the orders in which another framework may have the values of a tensor.

    Args:
        shape: The shape of the tensor.
        before_flattened: The shape of the image that it was flattened from, if it was.
    """
    found = [own_order(shape)]
    if len(shape) > 2:
        for name, axes in _moved_axes(len(shape)).items():
            found.append(Order(name, shape, axes, tuple(shape[axis] for axis in axes)))
    elif before_flattened is not None:
        for name, axes in _moved_channels(len(before_flattened)).items():
            found.append(Order(f"{name} before it is flattened", before_flattened, axes, shape))
    return found


def _moved_axes(rank: int) -> dict[str, tuple[int, ...]]:
    return {**_moved_channels(rank), "time before the batch": (1, 0, *range(2, rank))}


def _moved_channels(rank: int) -> dict[str, tuple[int, ...]]:
    first = (0, rank - 1, *range(1, rank - 1))
    last = (0, *range(2, rank), 1)
    if first == last:
        return {"channels first": first}
    return {"channels first": first, "channels last": last}


def _without_ones(shape: Shape) -> Shape:
    return tuple(length for length in shape if length != 1)


def places(size: int) -> Array:
    """Return the places that are kept of a tensor with `size` values, all or `MOST_VALUES`.

    Their distance has no divisor in common with the size. So they meet all channels, whatever their
    number is, and all examples, equally often.
    """
    if size <= MOST_VALUES:
        return np.arange(size)
    step = int(size * _GOLDEN)
    while math.gcd(step, size) > 1:
        step += 1
    return np.arange(MOST_VALUES) * step % size


def sampled(values: Array, order: Order) -> Array:
    """Return the values of a tensor that are kept, in float32.

    Args:
        values: The values.
        order: The order in which they are counted.
    """
    viewed = values.reshape(order.view).transpose(order.axes)
    if not viewed.ndim:
        viewed = viewed.reshape(1)
    index = np.unravel_index(places(viewed.size), viewed.shape)
    with np.errstate(over="ignore"):  # of float64
        kept: Array = viewed[index].astype("float32")
    return kept


@dataclass(frozen=True, eq=False)
class RecordedTensor:
    """What is kept of a tensor.

    Attributes:
        shape: Its shape.
        dtype: The name of its dtype.
        mean: The mean of all its values.
        deviation: Their standard deviation.
        values: Some of its values, by the order in which they are counted, its own first.
        before_flattened: The shape of the image that was flattened to it, if it is known.
    """

    shape: Shape
    dtype: DType
    mean: float
    deviation: float
    values: dict[Order, Array] = field(repr=False)
    before_flattened: Shape | None = None

    @property
    def own_values(self) -> Array:
        """Those that are kept in its own order."""
        return next(iter(self.values.values()))

    @property
    def size(self) -> int:
        """The number of its values."""
        return math.prod(self.shape)

    def keep(self, array: Array, shape: Shape) -> None:
        """Keep values of the tensor, an array, in the orders that one of this shape may have."""
        for order in orders_of(self.shape, self.before_flattened):
            if order.fits(shape) and order not in self.values:
                self.values[order] = sampled(array, order)

    def in_orders_of(self, shape: Shape) -> Iterator[tuple[Order, Array]]:
        """Yield its values in each order that a tensor of this shape may have."""
        for order, values in self.values.items():
            if order.fits(shape):
                yield order, values
