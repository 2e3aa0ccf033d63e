"""Find the positions in torch of the values of a tensor of Keras, axis by axis.

torch has the channels of an image before its height and width, Keras mostly after them. There is no
other difference: a sequence, or a vector that was never an image, is the same in both.

- An `Axis` has a kind: `"space"` and `"channels"` are axes of an image, all others are `"same"`. An
  image `(2, 6, 5, 3)` of Keras is `same, space, space, channels`.
- Its *order* gives the index in torch of each value along it. An image of 2 by 1 pixels with 2
  channels, flattened, is `p0c0, p0c1, p1c0, p1c1` in Keras and `p0c0, p1c0, p0c1, p1c1` in torch:
  the order is `[0, 2, 1, 3]`. `None` is the same order as in torch, `UNKNOWN` an order that is not
  known.
- Its *makers* are the layers whose units lie along it. If the tensor must have another order than
  torch gives it, their units are reordered.
- A `Layout` has the axes of a tensor, and each operation of a tensor is a method of it.
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
Order: TypeAlias = Array | Literal["unknown"] | None
# What an axis is: one as in torch, or one of an image, whose channels are elsewhere in torch.
AxisKind: TypeAlias = Literal["same", "space", "channels"]
# A length, `None` if it is not known.
Length: TypeAlias = int | None


def simplify(order: Order) -> Order:
    """Turn an order that moves no value into `None`."""
    if isinstance(order, np.ndarray) and np.array_equal(order, np.arange(order.size)):
        return None
    return order


def is_same_known_order(order: Order, other: Order) -> bool:
    if isinstance(order, np.ndarray) and isinstance(other, np.ndarray):
        return np.array_equal(order, other)
    return order is None and other is None


@dataclass(frozen=True, eq=False)
class Axis:
    """An axis of a tensor.

    Attributes:
        length: Its length.
        kind: The kind of axis.
        index_in_space: Which of the axes of space of its image this is, such as `(1,)` for the
            height. An axis that was split has `(1, 0)` and `(1, 1)`.
        order: Where torch has the values along it.
        makers: The layers whose outputs are along it, in their order.
        mixed_makers: The layers whose outputs are among the values along it, mixed with others.
    """

    length: Length
    kind: AxisKind = "same"
    index_in_space: tuple[int, ...] = ()
    order: Order = None
    makers: frozenset[keras.Operation] = frozenset()
    mixed_makers: frozenset[keras.Operation] = frozenset()


@dataclass(frozen=True, eq=False)
class SplitAxis:
    """Axes that were one axis, and may turn out to be an image.

    A vector that is reshaped to `(7, 7, 64)` is an image if a convolution reads it. Then torch has
    the channels first, and the units of the layers that made the vector are in another order.

    Attributes:
        makers: The layers whose outputs were along it, in their order.
        mixed_makers: The layers whose outputs were among its values.
        positions: Where each value was along it, `None` if that is not known.
        is_whole_example: Whether it was the only axis of an example.
    """

    makers: frozenset[keras.Operation]
    mixed_makers: frozenset[keras.Operation]
    positions: Array | None
    is_whole_example: bool

    def orders(self, channels: int, rank: int) -> Iterable[tuple[keras.Operation, Order]]:
        """Yield the orders that the layers need if these are the axes of an image.

        Args:
            channels: The axis of channels.
            rank: The number of axes of the image.
        """
        order: Order = UNKNOWN
        if self.positions is not None and self.positions.ndim == rank:
            shape = self.positions.shape
            channels_first = (shape[channels], *shape[:channels], *shape[channels:][1:])
            numbers = np.arange(self.positions.size).reshape(channels_first)
            positions_in_torch = np.moveaxis(numbers, 0, channels)
            order = np.empty(self.positions.size, int)
            order[self.positions.reshape(-1)] = positions_in_torch.reshape(-1)
            # A vector becomes a sequence in torch too, which is then transposed for a convolution.
            if self.positions.ndim < 3 and simplify(order) is not None:
                order = UNKNOWN
        for maker in self.makers:
            yield maker, order
        for maker in self.mixed_makers:
            yield maker, UNKNOWN if simplify(order) is not None else order


@dataclass(frozen=True, eq=False)
class Layout:
    """The axes of a tensor. The first axis are the examples.

    Attributes:
        axes: The axes.
        is_certain: Whether torch has an image with its channels first. After a layer that works on
            the last axis, torch may have them last too. After other moves all is possible.
        splits: The axes that were split and became an image, or may have become one.
    """

    axes: tuple[Axis, ...]
    is_certain: bool = True
    splits: tuple[SplitAxis, ...] = field(default=())

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
        """Whether some axes belong to an image."""
        return any(axis.kind != "same" for axis in self.axes)

    @property
    def is_unknown(self) -> bool:
        """Whether the order along an axis is not known."""
        return any(isinstance(axis.order, str) for axis in self.axes)

    @property
    def is_plain(self) -> bool:
        """Whether torch has the same tensor."""
        return not self.is_image and self.has_torch_orders

    @property
    def has_torch_orders(self) -> bool:
        """Whether torch has the same order along each axis."""
        return all(axis.order is None for axis in self.axes)

    def transpose(self, axes: Sequence[int], *, is_kept_in_torch: bool = False) -> "Layout":
        """Move the axes of a tensor.

        Args:
            axes: The present index of each axis of the result.
            is_kept_in_torch: Whether torch certainly does not move them too.
        """
        moved = tuple(self.axes[axis] for axis in axes)
        is_certain = is_kept_in_torch and self.is_certain
        before = _list_kinds(self.axes)
        after = _list_kinds(moved)
        if before == after:
            is_certain = self.is_certain
        # The order of torch, which thus needs no move.
        if after == sorted(after, key=_rank_in_torch):
            is_certain = True
        splits = []
        for split in self.splits:
            positions = split.positions
            if positions is not None and axes[0] == 0 and self._has_all_values(positions):
                positions = positions.transpose([axis - 1 for axis in axes[1:]])
            else:
                positions = None
            splits.append(replace(split, positions=positions))
        return make_layout(moved, is_certain=is_certain, splits=splits)

    def _has_all_values(self, positions: Array) -> bool:
        return positions.shape == self.shape[1:]

    def reshape(self, shape: Sequence[Length]) -> "Layout":
        """Give a tensor another shape."""
        groups = _group_axes([axis for axis in self.axes if axis.length != 1], shape)
        if groups is None:
            return self.forget_orders(shape)
        long: list[Axis] = []
        is_certain = self.is_certain
        splits = [self._reshape_split(split, shape) for split in self.splits]
        for axes, lengths in groups:
            axis = axes[0] if len(axes) == 1 else self.merge(axes)
            if len(lengths) == 1:
                long.append(axis)
            elif isinstance(axis.order, np.ndarray):
                # A vector that was flattened before is another one in torch too.
                mixed_makers = axis.mixed_makers if len(axes) > 1 else frozenset()
                long += _split_ordered(axis.order, lengths, mixed_makers)
            elif axis.kind == "same" and axis.order is None:
                is_whole_example = self.long == axes
                positions = _number_values(shape[1:] if is_whole_example else lengths)
                splits.append(
                    SplitAxis(axis.makers, axis.mixed_makers, positions, is_whole_example)
                )
                if is_whole_example and len(lengths) > 2:
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
            splits = []
        return make_layout(axes, is_certain=is_certain, splits=splits)

    def _reshape_split(self, split: SplitAxis, shape: Sequence[Length]) -> SplitAxis:
        numbers = _number_values(shape[1:])
        if split.positions is None or numbers is None or not self._has_all_values(split.positions):
            return replace(split, positions=None)
        return replace(split, positions=split.positions.reshape(numbers.shape))

    def merge(self, axes: Sequence[Axis]) -> Axis:
        """Flatten several axes into one."""
        length = _multiply([axis.length for axis in axes])
        mixed_makers = _union(axis.makers | axis.mixed_makers for axis in axes)
        kinds = {axis.kind for axis in axes}
        if not {"space", "channels"} <= kinds:
            kind: AxisKind = next(iter(kinds - {"same"}), "same")
            index = min(axis.index_in_space for axis in axes)
            order = _merge_orders(axes)
            return Axis(length, kind, index, order, mixed_makers=mixed_makers)
        numbers = _number_values(self.shape[1:])
        for split in self.splits:
            # The tensor was a vector, and becomes the same vector again.
            positions = split.positions
            if positions is not None and numbers is not None and np.array_equal(positions, numbers):
                return Axis(length, makers=split.makers, mixed_makers=split.mixed_makers)
        order = UNKNOWN
        rest = [axis for axis in self.long if axis.kind != "same" and axis not in axes]
        kinds_here = _list_kinds(axes)
        if self.is_certain and not rest and length is not None:
            in_torch = sorted(range(len(axes)), key=lambda axis: _rank_in_torch(kinds_here[axis]))
            channels_last = sorted(kinds_here, key=_rank_in_keras)
            channels_first = [kinds_here[axis] for axis in in_torch]
            if kinds_here in (channels_last, channels_first):
                order = _merge_orders(axes, in_torch)
        return Axis(length, order=order, mixed_makers=mixed_makers)

    def forget_orders(self, shape: Sequence[Length]) -> "Layout":
        """Make the layout of a tensor that was computed from this one in an unknown way."""
        if self.is_plain:
            return plain_layout(shape)
        axes = [Axis(length) for length in shape]
        last = self.axes[-1]
        if len(shape) == len(self.axes) and last.length == shape[-1] and last.order is None:
            axes = [replace(axis, length=n) for axis, n in zip(self.axes, shape, strict=True)]
        else:
            axes[-1] = Axis(shape[-1], order=UNKNOWN)
        splits = [replace(split, positions=None) for split in self.splits]
        return make_layout(axes, is_certain=False, splits=splits)


def plain_layout(shape: Sequence[Length]) -> Layout:
    """Make the layout of a tensor that is the same in torch."""
    return Layout(tuple(map(Axis, shape)))


def make_layout(
    axes: Iterable[Axis], *, is_certain: bool = True, splits: Iterable[SplitAxis] = ()
) -> Layout:
    """Make a layout. An image without channels or without space is the same in torch."""
    axes = tuple(axes)
    kinds = {axis.kind for axis in axes if axis.length != 1}
    if not {"space", "channels"} <= kinds:
        is_certain = True
        axes = tuple(replace(axis, kind="same", index_in_space=()) for axis in axes)
    axes = tuple(replace(axis, order=None) if axis.length == 1 else axis for axis in axes)
    return Layout(axes, is_certain, tuple(splits))


def image_axes(shape: Sequence[Length], channels: int, **options: object) -> list[Axis]:
    """Make the axes of an image with examples. The axis of channels gets `options`."""
    axes = []
    for index, length in enumerate(shape):
        if index == channels % len(shape):
            axes.append(Axis(length, "channels", **options))  # type: ignore[arg-type]
        elif index:
            axes.append(Axis(length, "space", (index,)))
        else:
            axes.append(Axis(length))
    return axes


def join_layouts(
    layouts: Sequence[Layout], shape: Sequence[Length], along: int | None = None
) -> tuple[Layout, dict[keras.Operation, Order]]:
    """Find the layout of a tensor that is computed from several tensors, value by value.

    Args:
        layouts: The layouts of the tensors.
        shape: The shape of the result.
        along: The axis along which they are concatenated, if they are.

    Returns:
        The layout, and the orders that are required of layers whose outputs are added to others.
    """
    rank = len(shape)
    columns: list[list[Axis]] = [[] for _ in shape]
    for layout in layouts:
        for index, axis in enumerate(layout.axes, rank - len(layout.axes)):
            columns[index].append(axis)
    images = [layout for layout in layouts if layout.is_image]
    is_certain = any(image.is_certain for image in images) or not images
    kinds = [_find_kind(column) for column in columns]
    for layout in layouts:
        if layout.is_image:
            has_these_kinds = [axis.kind for axis in layout.axes] == kinds[
                rank - len(layout.axes) :
            ]
            is_certain = is_certain and has_these_kinds
        elif not _may_add_to_image(layout, kinds):
            if not is_certain:
                kinds = ["same"] * rank
                break
            is_certain = False
    needs: dict[keras.Operation, Order] = {}
    axes = []
    for index, (column, length) in enumerate(zip(columns, shape, strict=True)):
        if index == along:
            joined = _concatenate_axes(column, length)
        else:
            long = [axis for axis in column if axis.length != 1] or column[:1]
            joined, needs_of_axis = _add_axes(long, length)
            needs |= needs_of_axis
        index_in_space = next((axis.index_in_space for axis in column if axis.kind == "space"), ())
        axes.append(replace(joined, kind=kinds[index], index_in_space=index_in_space))
    splits = itertools.chain.from_iterable(layout.splits for layout in layouts)
    return make_layout(axes, is_certain=is_certain, splits=dict.fromkeys(splits)), needs


def _find_kind(column: Sequence[Axis]) -> AxisKind:
    return next((axis.kind for axis in column if axis.kind != "same"), "same")


def _may_add_to_image(layout: Layout, kinds: Sequence[AxisKind]) -> bool:
    # A tensor that is the same in torch and lies along both channels and space has their values in
    # another order than an image.
    kinds_of_axes = zip(kinds[len(kinds) - len(layout.axes) :], layout.axes, strict=True)
    covered = {kind for kind, axis in kinds_of_axes if axis.length != 1}
    return not {"space", "channels"} <= covered


def _union(makers: Iterable[frozenset[keras.Operation]]) -> frozenset[keras.Operation]:
    return frozenset[keras.Operation]().union(*makers)


def _add_axes(column: Sequence[Axis], length: Length) -> tuple[Axis, dict[keras.Operation, Order]]:
    """Find the axis of a sum of tensors, and the orders that its makers need.

    If one of the tensors has another order than torch, the layers that made the other tensors are
    reordered.
    """
    needs: dict[keras.Operation, Order] = {}
    makers = _union(axis.makers for axis in column)
    mixed_makers = _union(axis.mixed_makers for axis in column)
    if not all(axis.makers for axis in column):
        mixed_makers |= makers
        makers = frozenset()
    order: Order = next((axis.order for axis in column if axis.order is not None), None)
    for axis in column:
        if is_same_known_order(axis.order, order):
            continue
        if axis.order is None and axis.makers and not isinstance(order, str):
            needs.update(dict.fromkeys(axis.makers, order))
        else:
            order = UNKNOWN
    return Axis(length, order=order, makers=makers, mixed_makers=mixed_makers), needs


def _concatenate_axes(column: Sequence[Axis], length: Length) -> Axis:
    mixed_makers = _union(axis.makers | axis.mixed_makers for axis in column)
    if all(axis.order is None for axis in column):
        return Axis(length, mixed_makers=mixed_makers)
    orders = []
    first = 0
    for axis in column:
        if isinstance(axis.order, str) or axis.length is None:
            return Axis(length, order=UNKNOWN, mixed_makers=mixed_makers)
        order = np.arange(axis.length) if axis.order is None else axis.order
        orders.append(first + order)
        first += axis.length
    return Axis(length, order=np.concatenate(orders), mixed_makers=mixed_makers)


def _list_kinds(axes: Iterable[Axis]) -> list[tuple[AxisKind, tuple[int, ...]]]:
    # Axes of length 1 move no values.
    return [(axis.kind, axis.index_in_space) for axis in axes if axis.length != 1]


_RANKS_IN_TORCH: Mapping[str, int] = {"same": 0, "channels": 1, "space": 2}
_RANKS_IN_KERAS: Mapping[str, int] = {"same": 0, "space": 1, "channels": 2}


def _rank_in_torch(axis: tuple[AxisKind, tuple[int, ...]]) -> tuple[int, tuple[int, ...]]:
    return _RANKS_IN_TORCH[axis[0]], axis[1]


def _rank_in_keras(axis: tuple[AxisKind, tuple[int, ...]]) -> tuple[int, tuple[int, ...]]:
    return _RANKS_IN_KERAS[axis[0]], axis[1]


def _merge_orders(axes: Sequence[Axis], in_torch: Sequence[int] | None = None) -> Order:
    """Find the order along an axis that several axes become.

    Args:
        axes: The axes.
        in_torch: The indices of the axes, in the order that they have in torch: `[2, 0, 1]` for
            height, width and channels.
    """
    orders = [axis.order for axis in axes]
    if any(isinstance(order, str) for order in orders):
        return UNKNOWN
    if in_torch is None:
        if all(order is None for order in orders):
            return None
        in_torch = range(len(axes))
    positions = _number_values([axes[index].length for index in in_torch])
    if positions is None:
        return UNKNOWN
    positions = positions.transpose(np.argsort(in_torch))
    for axis, order in enumerate(orders):
        if isinstance(order, np.ndarray):
            positions = np.take(positions, order, axis)
    return simplify(positions.reshape(-1))


def _split_ordered(
    order: Array, lengths: Sequence[Length], mixed_makers: frozenset[keras.Operation]
) -> list[Axis]:
    """Split an axis with an order: into an image, or into axes whose last one has an order."""
    numbers = _number_values(lengths)
    if numbers is None:
        return [Axis(length, order=UNKNOWN, mixed_makers=mixed_makers) for length in lengths]
    shape: tuple[int, ...] = numbers.shape
    positions = order.reshape(shape)
    flattened_image = np.moveaxis(np.arange(order.size).reshape(shape[-1], *shape[:-1]), 0, -1)
    if np.array_equal(positions, flattened_image):
        return image_axes((1, *shape), -1)[1:]
    rows = positions.reshape(-1, shape[-1])
    first_row = rows[0]
    if np.array_equal(rows, first_row + shape[-1] * np.arange(len(rows))[:, None]):
        return [*map(Axis, shape[:-1]), Axis(shape[-1], order=simplify(first_row))]
    return [Axis(length, order=UNKNOWN, mixed_makers=mixed_makers) for length in shape]


def _split_unordered(axis: Axis, lengths: Sequence[Length]) -> list[Axis]:
    """Split an axis of an image, or one whose order is not known."""
    axes = []
    mixed_makers = axis.makers | axis.mixed_makers
    for number, length in enumerate(lengths):
        index = (*axis.index_in_space, number) if axis.kind == "space" else ()
        axes.append(Axis(length, axis.kind, index, axis.order, mixed_makers=mixed_makers))
    return axes


def _group_axes(
    axes: Sequence[Axis], shape: Sequence[Length]
) -> list[tuple[list[Axis], list[Length]]] | None:
    """Find which axes a reshape merges and splits: from `(2, 3, 20)` to `(6, 4, 5)` it does both.

    Lengths of 1 are skipped. It is `None` if a length is not known, or values cross the groups.
    """
    rest = list(axes)
    lengths = [length for length in shape if length != 1]
    groups = []
    while rest and lengths:
        before = [rest.pop(0)]
        after = [lengths.pop(0)]
        while before[-1].length != after[-1] or len(before) != 1 or len(after) != 1:
            size_before = _multiply([axis.length for axis in before])
            size_after = _multiply(after)
            if size_before is None or size_after is None:
                return None
            if size_before == size_after:
                break
            if size_before < size_after and rest:
                before.append(rest.pop(0))
            elif size_before > size_after and lengths:
                after.append(lengths.pop(0))
            else:
                return None
        groups.append((before, after))
    return None if rest or lengths else groups


def _multiply(lengths: Sequence[Length]) -> Length:
    return None if None in lengths else math.prod(length or 0 for length in lengths)


def _number_values(shape: Sequence[Length]) -> Array | None:
    lengths = [length for length in shape if length is not None]
    if len(lengths) < len(shape):
        return None
    return np.arange(math.prod(lengths)).reshape(lengths)
