"""The axes of a tensor, and where torch has its values.

torch has the channels of an image before its places, and Keras mostly after them. That is all that
differs: a sequence, or a vector that was never an image, is the same in both.
"""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

import keras
import numpy as np

from keras_initx._typing import Array

UNKNOWN: Literal["unknown"] = "unknown"
# The places in torch of the values along an axis: `None` if they are the same, or not known.
Order: TypeAlias = Array | Literal["unknown"] | None
# What an axis is: one as in torch, or one of an image, whose channels are elsewhere in torch.
AxisKind: TypeAlias = Literal["same", "space", "channels"]
# A length, `None` if it is not known.
Length: TypeAlias = int | None


def simplify(order: Order) -> Order:
    """Return an order, as `None` if all values are at the same places."""
    if isinstance(order, np.ndarray) and np.array_equal(order, np.arange(order.size)):
        return None
    return order


def is_same_known_order(order: Order, other: Order) -> bool:
    """Return whether two orders are the same and known."""
    if isinstance(order, np.ndarray) and isinstance(other, np.ndarray):
        return np.array_equal(order, other)
    return order is None and other is None


@dataclass(frozen=True, eq=False)
class Axis:
    """An axis of a tensor.

    Attributes:
        length: Its length.
        kind: What it is.
        place: Where an axis of space is among the others of its image.
        order: Where torch has the values along it.
        makers: The layers whose outputs are along it, in their order.
        others: The layers whose outputs are among the values along it.
    """

    length: Length
    kind: AxisKind = "same"
    place: tuple[int, ...] = ()
    order: Order = None
    makers: frozenset[keras.Operation] = frozenset()
    others: frozenset[keras.Operation] = frozenset()


@dataclass(frozen=True, eq=False)
class SplitAxis:
    """Axes that were one axis.

    Attributes:
        makers: The layers whose outputs were along it, in their order.
        others: The layers whose outputs were among its values.
        places: Where each value was along it, `None` if that is not known.
        is_all: Whether it was the only axis of an example.
    """

    makers: frozenset[keras.Operation]
    others: frozenset[keras.Operation]
    places: Array | None
    is_all: bool

    def orders(self, channels: int, rank: int) -> Iterable[tuple[keras.Operation, Order]]:
        """Yield the orders that the layers need if these are the axes of an image.

        Args:
            channels: The axis of channels.
            rank: The number of axes of the image.
        """
        order: Order = UNKNOWN
        if self.places is not None and self.places.ndim == rank:
            shape = self.places.shape
            first = (shape[channels], *shape[:channels], *shape[channels:][1:])
            wanted = np.moveaxis(np.arange(self.places.size).reshape(first), 0, channels)
            order = np.empty(self.places.size, int)
            order[self.places.reshape(-1)] = wanted.reshape(-1)
            # A vector becomes a sequence in torch too, which is then transposed for a convolution.
            if self.places.ndim < 3 and simplify(order) is not None:
                order = UNKNOWN
        for maker in self.makers:
            yield maker, order
        for maker in self.others:
            yield maker, UNKNOWN if simplify(order) is not None else order


@dataclass(frozen=True, eq=False)
class Layout:
    """The axes of a tensor, the first of which are the examples.

    Attributes:
        axes: The axes.
        is_certain: Whether torch has an image with its channels first. It may have them last too
            where it has a layer that works on the last axis, and all is possible after other moves.
        made: What it was before it became an image, or may have become one.
    """

    axes: tuple[Axis, ...]
    is_certain: bool = True
    made: tuple[SplitAxis, ...] = field(default=())

    @property
    def shape(self) -> tuple[Length, ...]:
        """The lengths of the axes."""
        return tuple(axis.length for axis in self.axes)

    @property
    def long(self) -> list[Axis]:
        """The axes of an example with more than one value."""
        return [axis for axis in self.axes[1:] if axis.length != 1]

    @property
    def is_image(self) -> bool:
        """Whether some axes are those of an image."""
        return any(axis.kind != "same" for axis in self.axes)

    @property
    def is_unknown(self) -> bool:
        """Whether the order along an axis is not known."""
        return any(isinstance(axis.order, str) for axis in self.axes)

    @property
    def is_plain(self) -> bool:
        """Whether torch has the same tensor."""
        return not self.is_image and self.has_usual_orders

    @property
    def has_usual_orders(self) -> bool:
        """Whether the order along each axis is that of torch."""
        return all(axis.order is None for axis in self.axes)

    def moved(self, axes: Sequence[int], *, keeps_torch: bool = False) -> "Layout":
        """Return the layout of a tensor with its axes in another order.

        Args:
            axes: The present places of the axes.
            keeps_torch: Whether torch certainly does not move them too.
        """
        moved = tuple(self.axes[axis] for axis in axes)
        is_certain = keeps_torch and self.is_certain
        before = _list_kinds(self.axes)
        after = _list_kinds(moved)
        if before == after:
            is_certain = self.is_certain
        # The order of torch, which thus needs no move.
        if after == sorted(after, key=_rank_in_torch):
            is_certain = True
        made = []
        for one in self.made:
            is_whole = axes[0] == 0 and one.places is not None and self._has_all(one.places)
            places = None
            if is_whole and one.places is not None:
                places = one.places.transpose([axis - 1 for axis in axes[1:]])
            made.append(replace(one, places=places))
        return make_layout(moved, is_certain=is_certain, made=made)

    def _has_all(self, places: Array) -> bool:
        return places.shape == self.shape[1:]

    def reshaped(self, shape: Sequence[Length]) -> "Layout":
        """Return the layout of a tensor in another shape."""
        groups = _group_axes([axis for axis in self.axes if axis.length != 1], shape)
        if groups is None:
            return self.lost(shape)
        long: list[Axis] = []
        is_certain = self.is_certain
        made = [self._reshaped(one, shape) for one in self.made]
        for axes, lengths in groups:
            axis = axes[0] if len(axes) == 1 else self.merged(axes)
            if len(lengths) == 1:
                long.append(axis)
            elif isinstance(axis.order, np.ndarray):
                # A vector that was flattened before is another one in torch too.
                others = axis.others if len(axes) > 1 else frozenset()
                long += _split_ordered(axis.order, lengths, others)
            elif axis.kind == "same" and axis.order is None:
                is_all = self.long == axes
                numbered = shape[1:] if is_all else lengths
                places = _number_values(numbered)
                made.append(SplitAxis(axis.makers, axis.others, places, is_all))
                if is_all and len(lengths) > 2:
                    # Which has channels if it is an image.
                    is_certain = False
                    long += image_axes((1, *lengths), -1)[1:]
                else:
                    long += map(Axis, lengths)
            else:
                long += _split_unordered(axis, lengths)
            if axis.kind == "space" and len(axes) + len(lengths) > 2:
                is_certain = False
        rest = iter(long)
        axes = [Axis(1) if length == 1 else next(rest) for length in shape]
        if len(long) < 3:
            made = []
        return make_layout(axes, is_certain=is_certain, made=made)

    def _reshaped(self, made: SplitAxis, shape: Sequence[Length]) -> SplitAxis:
        numbers = _number_values(shape[1:])
        if made.places is None or numbers is None or not self._has_all(made.places):
            return replace(made, places=None)
        return replace(made, places=made.places.reshape(numbers.shape))

    def merged(self, axes: Sequence[Axis]) -> Axis:
        """Return one axis for several."""
        length = _multiply([axis.length for axis in axes])
        others = frozenset[keras.Operation]().union(*(axis.makers | axis.others for axis in axes))
        kinds = {axis.kind for axis in axes}
        if not {"space", "channels"} <= kinds:
            kind: AxisKind = next(iter(kinds - {"same"}), "same")
            order = _merge_orders(axes)
            return Axis(length, kind, min(axis.place for axis in axes), order, others=others)
        numbers = _number_values(self.shape[1:])
        for made in self.made:
            # Which was a vector, and becomes the same again.
            places = made.places
            if places is not None and numbers is not None and np.array_equal(places, numbers):
                return Axis(length, makers=made.makers, others=made.others)
        order = UNKNOWN
        rest = [axis for axis in self.long if axis.kind != "same" and axis not in axes]
        order_here = _list_kinds(axes)
        if self.is_certain and not rest and length is not None:
            in_torch = sorted(range(len(axes)), key=lambda place: _rank_in_torch(order_here[place]))
            last = sorted(order_here, key=_rank_in_keras)
            if order_here in (last, [order_here[place] for place in in_torch]):
                order = _merge_orders(axes, in_torch)
        return Axis(length, order=order, others=others)

    def lost(self, shape: Sequence[Length]) -> "Layout":
        """Return the layout of what was made of a tensor in a way that is not known."""
        if self.is_plain:
            return plain_layout(shape)
        axes = [Axis(length) for length in shape]
        like = self.axes[-1]
        if len(shape) == len(self.axes) and like.length == shape[-1] and like.order is None:
            axes = [replace(axis, length=n) for axis, n in zip(self.axes, shape, strict=True)]
        else:
            axes[-1] = Axis(shape[-1], order=UNKNOWN)
        return make_layout(
            axes, is_certain=False, made=[replace(one, places=None) for one in self.made]
        )


def plain_layout(shape: Sequence[Length]) -> Layout:
    """Return the layout of a tensor that is the same in torch."""
    return Layout(tuple(map(Axis, shape)))


def make_layout(
    axes: Iterable[Axis], *, is_certain: bool = True, made: Iterable[SplitAxis] = ()
) -> Layout:
    """Return a layout. Without channels or without places an image is the same in torch."""
    axes = tuple(axes)
    kinds = {axis.kind for axis in axes if axis.length != 1}
    if not {"space", "channels"} <= kinds:
        is_certain = True
        axes = tuple(replace(axis, kind="same", place=()) for axis in axes)
    axes = tuple(replace(axis, order=None) if axis.length == 1 else axis for axis in axes)
    return Layout(axes, is_certain, tuple(made))


def image_axes(shape: Sequence[Length], channels: int, **options: object) -> list[Axis]:
    """Return the axes of an image with examples and this axis of channels, which gets `options`."""
    axes = []
    for place, length in enumerate(shape):
        if place == channels % len(shape):
            axes.append(Axis(length, "channels", **options))  # type: ignore[arg-type]
        elif place:
            axes.append(Axis(length, "space", (place,)))
        else:
            axes.append(Axis(length))
    return axes


def join_layouts(
    layouts: Sequence[Layout], shape: Sequence[Length], along: int | None = None
) -> tuple[Layout, dict[keras.Operation, Order]]:
    """Return the layout of what is computed from several tensors, value by value.

    Args:
        layouts: The layouts of the tensors.
        shape: The shape of the result.
        along: The axis along which they are concatenated, if they are.

    Returns:
        The layout, and the orders that layers must have whose outputs are added to others.
    """
    rank = len(shape)
    columns: list[list[Axis]] = [[] for _ in shape]
    for layout in layouts:
        for place, axis in enumerate(layout.axes, rank - len(layout.axes)):
            columns[place].append(axis)
    images = [one for one in layouts if one.is_image]
    is_certain = any(one.is_certain for one in images) or not images
    kinds = [_find_kind(column) for column in columns]
    for one in layouts:
        if one.is_image:
            is_alike = [axis.kind for axis in one.axes] == kinds[rank - len(one.axes) :]
            is_certain = is_certain and is_alike
        elif not _may_add_to_image(one, kinds):
            if not is_certain:
                kinds = ["same"] * rank
                break
            is_certain = False
    needs: dict[keras.Operation, Order] = {}
    axes = []
    for place, (column, length) in enumerate(zip(columns, shape, strict=True)):
        if place == along:
            axis = _concatenate_axes(column, length)
        else:
            axis = _add_axes(
                [one for one in column if one.length != 1] or column[:1], length, needs
            )
        place_in_image = next((one.place for one in column if one.kind == "space"), ())
        axes.append(replace(axis, kind=kinds[place], place=place_in_image))
    made = itertools.chain.from_iterable(layout.made for layout in layouts)
    return make_layout(axes, is_certain=is_certain, made=dict.fromkeys(made)), needs


def _find_kind(column: Sequence[Axis]) -> AxisKind:
    return next((axis.kind for axis in column if axis.kind != "same"), "same")


def _may_add_to_image(layout: Layout, kinds: Sequence[AxisKind]) -> bool:
    """Return whether a tensor that is the same in torch may be added to an image."""
    own = kinds[len(kinds) - len(layout.axes) :]
    found = {kind for kind, axis in zip(own, layout.axes, strict=True) if axis.length != 1}
    return not {"space", "channels"} <= found


def _add_axes(column: Sequence[Axis], length: Length, needs: dict[keras.Operation, Order]) -> Axis:
    """Return the axis for those of tensors that are added."""
    makers = frozenset[keras.Operation]().union(*(axis.makers for axis in column))
    others = frozenset[keras.Operation]().union(*(axis.others for axis in column))
    if not all(axis.makers for axis in column):
        others |= makers
        makers = frozenset()
    order: Order = next((axis.order for axis in column if axis.order is not None), None)
    for axis in column:
        if is_same_known_order(axis.order, order):
            continue
        if axis.order is None and axis.makers and not isinstance(order, str):
            needs.update(dict.fromkeys(axis.makers, order))
        else:
            order = UNKNOWN
    return Axis(length, order=order, makers=makers, others=others)


def _concatenate_axes(column: Sequence[Axis], length: Length) -> Axis:
    others = frozenset[keras.Operation]().union(*(axis.makers | axis.others for axis in column))
    if all(axis.order is None for axis in column):
        return Axis(length, others=others)
    orders = []
    first = 0
    for axis in column:
        if isinstance(axis.order, str) or axis.length is None:
            return Axis(length, order=UNKNOWN, others=others)
        own = np.arange(axis.length) if axis.order is None else axis.order
        orders.append(first + own)
        first += axis.length
    return Axis(length, order=np.concatenate(orders), others=others)


def _list_kinds(axes: Iterable[Axis]) -> list[tuple[AxisKind, tuple[int, ...]]]:
    """Return what the axes are that have more than one value."""
    return [(axis.kind, axis.place) for axis in axes if axis.length != 1]


_RANKS_IN_TORCH: Mapping[str, int] = {"same": 0, "channels": 1, "space": 2}
_RANKS_IN_KERAS: Mapping[str, int] = {"same": 0, "space": 1, "channels": 2}


def _rank_in_torch(axis: tuple[AxisKind, tuple[int, ...]]) -> tuple[int, tuple[int, ...]]:
    return _RANKS_IN_TORCH[axis[0]], axis[1]


def _rank_in_keras(axis: tuple[AxisKind, tuple[int, ...]]) -> tuple[int, tuple[int, ...]]:
    return _RANKS_IN_KERAS[axis[0]], axis[1]


def _merge_orders(axes: Sequence[Axis], in_torch: Sequence[int] | None = None) -> Order:
    """Return the order along an axis that was made of several.

    Args:
        axes: The axes.
        in_torch: Their places, in the order that they have in torch.
    """
    orders = [axis.order for axis in axes]
    if any(isinstance(order, str) for order in orders):
        return UNKNOWN
    if in_torch is None:
        if all(order is None for order in orders):
            return None
        in_torch = range(len(axes))
    places = _number_values([axes[place].length for place in in_torch])
    if places is None:
        return UNKNOWN
    places = places.transpose(np.argsort(in_torch))
    for axis, order in enumerate(orders):
        if isinstance(order, np.ndarray):
            places = np.take(places, order, axis)
    return simplify(places.reshape(-1))


def _split_ordered(
    order: Array, lengths: Sequence[Length], others: frozenset[keras.Operation]
) -> list[Axis]:
    """Return the axes that one with an order is split into, see `Axis` for `others`."""
    numbers = _number_values(lengths)
    if numbers is None:
        return [Axis(length, order=UNKNOWN, others=others) for length in lengths]
    shape: tuple[int, ...] = numbers.shape
    places = order.reshape(shape)
    here = np.moveaxis(np.arange(order.size).reshape(shape[-1], *shape[:-1]), 0, -1)
    if np.array_equal(places, here):
        return image_axes((1, *shape), -1)[1:]
    rows = places.reshape(-1, shape[-1])
    last = rows[0]
    if np.array_equal(rows, last + shape[-1] * np.arange(len(rows))[:, None]):
        return [*map(Axis, shape[:-1]), Axis(shape[-1], order=simplify(last))]
    return [Axis(length, order=UNKNOWN, others=others) for length in shape]


def _split_unordered(axis: Axis, lengths: Sequence[Length]) -> list[Axis]:
    """Return the axes that one of an image, or without a known order, is split into."""
    parts = []
    others = axis.makers | axis.others
    for number, length in enumerate(lengths):
        place = (*axis.place, number) if axis.kind == "space" else ()
        parts.append(Axis(length, axis.kind, place, axis.order, others=others))
    return parts


def _group_axes(
    axes: Sequence[Axis], shape: Sequence[Length]
) -> list[tuple[list[Axis], list[Length]]] | None:
    """Return which axes become axes of which lengths; `None` if that is not known.

    Lengths of 1 are left out.
    """
    rest = list(axes)
    lengths = [length for length in shape if length != 1]
    groups = []
    while rest and lengths:
        own = [rest.pop(0)]
        new = [lengths.pop(0)]
        while own[-1].length != new[-1] or len(own) != 1 or len(new) != 1:
            here = _multiply([axis.length for axis in own])
            there = _multiply(new)
            if here is None or there is None:
                return None
            if here == there:
                break
            if here < there and rest:
                own.append(rest.pop(0))
            elif here > there and lengths:
                new.append(lengths.pop(0))
            else:
                return None
        groups.append((own, new))
    return None if rest or lengths else groups


def _multiply(lengths: Sequence[Length]) -> Length:
    return None if None in lengths else math.prod(length or 0 for length in lengths)


def _number_values(shape: Sequence[Length]) -> Array | None:
    """Return the numbers of the values of an array, `None` if its size is not known."""
    lengths = [length for length in shape if length is not None]
    if len(lengths) < len(shape):
        return None
    return np.arange(math.prod(lengths)).reshape(lengths)
