"""Compare the windows of convolutions and poolings: where each of them begins, and how many.

Two layers may pad in two ways and have the same windows. A window of 3 with a stride of 2 on an
axis of 8, with one value of padding at both ends, never sees the last one:

    . 0 1 2 3 4 5 6 7 .
    [---]                windows begin at -1, 1, 3, 5
        [---]
            [---]
                [---]
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from keras_initx._typing import Shape

# The padding of axes, before and after each.
Pads: TypeAlias = Sequence[tuple[int, int]]
# Settings that are compared here.
WINDOW_WORDS = (
    "kernel_size",
    "pool_size",
    "strides",
    "dilation_rate",
    "padding",
    "output_padding",
    "padding_mode",
    "ceil_mode",
    "count_include_pad",
)


class _Axis(NamedTuple):
    """The windows along one axis.

    Attributes:
        length: The length of the axis.
        size: The values that a window sees.
        stride: The distance from one window to the next.
        gap: The distance from one value of a window to the next.
        padding: The padding: a number for both ends, or the name of a way in Keras.
        has_ceiling: Whether the last window may end behind the padding.
    """

    length: int
    size: int
    stride: int
    gap: int
    padding: Any
    has_ceiling: bool

    @property
    def span(self) -> int:
        """The length of a window, with its gaps."""
        return (self.size - 1) * self.gap + 1

    def compute_padding(self) -> tuple[int, int]:
        """Compute the padding of the axis at its two ends."""
        if self.padding == "same":
            count = math.ceil(self.length / self.stride)
            total = max((count - 1) * self.stride + self.span - self.length, 0)
            return total // 2, total - total // 2
        if self.padding == "causal":
            return self.span - 1, 0
        if self.padding == "valid":
            return 0, 0
        return self.padding, self.padding

    def count_windows(self) -> int:
        """Count the windows."""
        before, after = self.compute_padding()
        room = self.length + before + after - self.span
        if not self.has_ceiling:
            return max(room // self.stride + 1, 0)
        count = math.ceil(room / self.stride) + 1
        # No window begins behind the values.
        return count - 1 if (count - 1) * self.stride >= self.length + before else count


class _Windows(NamedTuple):
    """The windows of a layer, and its settings."""

    axes: Sequence[_Axis]
    settings: Mapping[str, Any]

    @property
    def pads(self) -> Pads:
        """The padding of each axis."""
        return [axis.compute_padding() for axis in self.axes]


def compare_windows(
    here: Mapping[str, Any],
    there: Mapping[str, Any],
    shape: Shape,
    shape_there: Shape,
    *,
    has_fixed_sizes: bool,
) -> list[str]:
    """List how the windows of two layers differ, in words.

    Args:
        here: The settings of a layer.
        there: Those of its counterpart.
        shape: The shape of its input.
        shape_there: That of the other.
        has_fixed_sizes: Whether the layer gets no inputs of another size.
    """
    ours, theirs = read_windows(here, shape), read_windows(there, shape_there)
    if ours is None or theirs is None or len(ours.axes) != len(theirs.axes):
        return []
    differences = [
        *_compare_sizes(ours, theirs, has_fixed_sizes=has_fixed_sizes),
    ]
    has_equal_lengths = [axis.length for axis in ours.axes] == [axis.length for axis in theirs.axes]
    if not has_equal_lengths:
        return differences  # a layer before one of them may have padded
    if not differences:
        differences += _compare_ends(ours, theirs, has_fixed_sizes=has_fixed_sizes)
    return [*differences, *_compare_padded_values(ours, theirs)]


def compare_cuts(here: Mapping[str, Any], there: Mapping[str, Any]) -> list[str]:
    """List how two transposed convolutions cut their outputs at the ends, in words.

    Args:
        here: The settings of a layer.
        there: Those of its counterpart.
    """
    cuts, cuts_there = _compute_cuts(here), _compute_cuts(there)
    if not cuts or not cuts_there or cuts == cuts_there:
        return []
    return [f"padding: {_format_cuts(cuts)} here, {_format_cuts(cuts_there)} there"]


def _compute_cuts(settings: Mapping[str, Any]) -> list[tuple[int, int]]:
    """Compute the values that are cut off at both ends of each axis.

    Without a cut, an output has (length - 1) * stride + span values. Fewer than 0 are zeros.
    """
    sizes = settings.get("kernel_size")
    if not isinstance(sizes, list):
        return []
    rank = len(sizes)
    rows = [_repeat(settings.get(word), rank) for word in ("strides", "dilation_rate", "padding")]
    added = _repeat(settings.get("output_padding"), rank)
    cuts = []
    for size, stride, gap, padding, more in zip(sizes, *rows, added, strict=True):
        if not isinstance(size, int) or not isinstance(stride, int) or not isinstance(gap, int):
            return []
        span = (size - 1) * gap + 1
        if padding == "valid":
            cuts.append((0, -(max(stride - span, 0) if more is None else more)))
        elif padding == "same":
            # So that the output is the input times the stride, see `output_padding` of Keras.
            kept = stride + span - 2 if more is None else span + span % 2 - 2 + more
            left = min(kept // 2 + kept % 2, span - 1)
            cuts.append((span - 1 - left, span - 1 - (kept - left)))
        elif isinstance(padding, int):
            cuts.append((padding, padding - (more or 0)))
        else:
            return []
    return cuts


def read_windows(settings: Mapping[str, Any], shape: Shape) -> _Windows | None:
    """Read the windows of a layer, `None` if they are not known."""
    sizes = settings.get("kernel_size", settings.get("pool_size"))
    rank = len(sizes) if isinstance(sizes, list) else len(shape) - 2
    if rank < 1 or len(shape) <= rank:
        return None
    is_last = settings.get("data_format") == "channels_last"
    lengths = shape[-rank - 1 : -1] if is_last else shape[-rank:]
    strides = settings.get("strides")
    rows = [
        _repeat(sizes, rank),
        _repeat(sizes if strides is None else strides, rank),
        _repeat(settings.get("dilation_rate", 1), rank),
    ]
    paddings = _repeat(settings.get("padding"), rank)
    axes = []
    for length, size, stride, gap, padding in zip(lengths, *rows, paddings, strict=True):
        has_numbers = all(isinstance(number, int) for number in (size, stride, gap))
        if not has_numbers or not isinstance(padding, int | str) or padding == "not known":
            return None
        has_ceiling = settings.get("ceil_mode") is True
        axes.append(_Axis(length, size, stride, gap, padding, has_ceiling))
    return _Windows(axes, settings)


def _repeat(value: Any, rank: int) -> Sequence[Any]:
    if isinstance(value, list | tuple):
        return value if len(value) == rank else [None] * rank
    return [value] * rank


def _compare_sizes(ours: _Windows, theirs: _Windows, *, has_fixed_sizes: bool) -> list[str]:
    pairs = list(zip(ours.axes, theirs.axes, strict=True))
    differences = []
    if any(axis.size != other.size for axis, other in pairs):
        word = "kernel_size" if "kernel_size" in ours.settings else "pool_size"
        sizes = [axis.size for axis in ours.axes], [axis.size for axis in theirs.axes]
        differences.append(_format_numbers(word, *sizes))
    # A single window has no next one.
    if any(
        axis.stride != other.stride
        and not (has_fixed_sizes and axis.count_windows() == other.count_windows() == 1)
        for axis, other in pairs
    ):
        strides = [axis.stride for axis in ours.axes], [axis.stride for axis in theirs.axes]
        differences.append(_format_numbers("strides", *strides))
    # A window of one value has no gaps.
    if any(axis.gap != other.gap and (axis.size, other.size) != (1, 1) for axis, other in pairs):
        gaps = [axis.gap for axis in ours.axes], [axis.gap for axis in theirs.axes]
        differences.append(_format_numbers("dilation_rate", *gaps))
    return differences


def _compare_ends(ours: _Windows, theirs: _Windows, *, has_fixed_sizes: bool) -> list[str]:
    """Say how windows begin and end, for this size, and for larger ones if sizes may differ."""
    more_lengths = [0]
    if not has_fixed_sizes:
        more_lengths += range(1, max(axis.stride for axis in ours.axes))
    for more in more_lengths:
        grown, grown_there = _grow(ours, more), _grow(theirs, more)
        counts = [axis.count_windows() for axis in grown.axes]
        counts_there = [axis.count_windows() for axis in grown_there.axes]
        begins = [before for before, _ in grown.pads]
        begins_there = [before for before, _ in grown_there.pads]
        if counts == counts_there and begins == begins_there:
            continue
        size = ""
        if more:
            size = f", for inputs of {_format_sizes([axis.length for axis in grown.axes])}"
        if counts != counts_there:
            size += f": {_format_sizes(counts)} windows here, {_format_sizes(counts_there)} there"
        if grown.pads == grown_there.pads:
            modes = [windows.settings.get("ceil_mode", False) for windows in (ours, theirs)]
            return [f"ceil_mode: {modes[0]} here, {modes[1]} there{size}"]
        pads, pads_there = format_pads(grown.pads), format_pads(grown_there.pads)
        return [f"padding: {pads} here, {pads_there} there{size}"]
    return []


def _grow(windows: _Windows, more: int) -> _Windows:
    axes = [axis._replace(length=axis.length + more) for axis in windows.axes]
    return windows._replace(axes=axes)


def _compare_padded_values(ours: _Windows, theirs: _Windows) -> list[str]:
    """Say what the padding holds, and whether a mean counts it, if both pad."""
    if not any(any(pads) for pads in ours.pads) or not any(any(pads) for pads in theirs.pads):
        return []
    differences = []
    modes = [windows.settings.get("padding_mode", "zeros") for windows in (ours, theirs)]
    if modes[0] != modes[1]:
        differences.append(f"padding_mode: {modes[0]} here, {modes[1]} there")
    counts = [windows.settings.get("count_include_pad", False) for windows in (ours, theirs)]
    if counts == [False, True]:
        differences.append(
            "count of padding: Keras leaves padded values out of an average, torch counts them "
            "(`count_include_pad=True`)"
        )
    return differences


def _format_numbers(word: str, here: Sequence[int], there: Sequence[int]) -> str:
    return f"{word}: {_format_list(here)} here, {_format_list(there)} there"


def _format_list(numbers: Sequence[int]) -> str:
    return f"{numbers[0]}" if len(set(numbers)) == 1 else f"{list(numbers)}"


def _format_sizes(sizes: Sequence[int]) -> str:
    return " x ".join(map(str, sizes))


def format_pads(pads: Pads) -> str:
    """Format the padding of axes in words."""
    if len(set(pads)) == 1:
        return f"{pads[0][0]} before and {pads[0][1]} after"
    return " and ".join(f"{before} before and {after} after" for before, after in pads)


def _format_cuts(cuts: Sequence[tuple[int, int]]) -> str:
    distinct = cuts[:1] if len(set(cuts)) == 1 else cuts
    return " and ".join(f"{before} cut before and {after} after" for before, after in distinct)
