"""The argument `resize`: change the shape of an array for its weight.

An array is first converted to the layout of Keras. Then it has the shape of its weight, except for
the length of one axis. Then a *kind* changes this length, along the axis that the kind means in
such a weight:

    "channels", Channels   the input channels of a convolution, statistics by channel
    "rows", Rows           the words or positions of a table
    "units", Units         the units of a dense layer or a convolution
    Grid                   the positions of an image, of which a table has one row each
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import keras

from keras_initx._checks import DTYPES, check_choice, check_type
from keras_initx._received import show
from keras_initx._typing import Shape
from keras_initx.files._lazy import LazyArray
from keras_initx.files._resizing import Channels, Grid, ListResizing, Resizing, Rows, Units
from keras_initx.inspection._kernels import (
    ALL_CONVOLUTIONS,
    DEPTHWISE,
    NORMALIZATIONS,
    convolves,
    is_adapter,
    is_kernel,
)
from keras_initx.inspection._weights import ModelWeight, is_quantized
from keras_initx.tools.load_pretrained._array_names import match_weights
from keras_initx.tools.load_pretrained._layouts import CELLS, UnknownOrderError

KindName: TypeAlias = Literal["channels", "rows", "units"]
# Maps patterns for the paths of weights or layers to the kind of change.
ResizeRules: TypeAlias = Mapping[str, KindName | Channels | Rows | Units | Grid]
# Makes an array of a shape from what a source has for a weight.
Conversion: TypeAlias = Callable[[Shape], LazyArray]

_KINDS: dict[str, type[Resizing]] = {"channels": Channels, "rows": Rows, "units": Units}
_TABLES = "tables of words and of positions"
_PURPOSES = {
    Channels: "kernels of convolutions without groups, and statistics by channel",
    Rows: _TABLES,
    Grid: _TABLES,
    Units: "kernels and biases of dense layers and of convolutions without groups",
}
_DENSE = (keras.layers.Dense, keras.layers.EinsumDense)
_STATISTICS = (keras.layers.BatchNormalization, keras.layers.Normalization)


def match_kinds(resize: ResizeRules | None, weights: Sequence[ModelWeight]) -> dict[str, Resizing]:
    """Match the kinds of `resize` with weights: the kind of each weight that a pattern covers.

    Raises:
        TypeError: If `resize` is not a mapping of patterns to kinds.
        ValueError: If a pattern matches no weight, or no kind has this name.
    """
    if resize is None:
        return {}
    check_type("resize", resize, Mapping, "a dict from patterns to kinds, such as 'channels'")
    kinds = {pattern: _parse_kind(pattern, kind) for pattern, kind in resize.items()}
    matches = match_weights("resize", kinds, weights)
    return {path: kinds[pattern] for path, (pattern, _) in matches.items()}


def _parse_kind(pattern: Any, kind: Any) -> Resizing:
    if not isinstance(pattern, str):
        raise TypeError(
            f"`resize` must have path patterns as keys. Received: {show(pattern)} as a key"
        )
    if isinstance(kind, Resizing):
        return kind
    if isinstance(kind, str):
        return _KINDS[check_choice("resize", kind, _KINDS)]()
    raise TypeError(
        "The values of `resize` must be 'channels', 'rows', 'units', or a `Channels`, `Rows`, "
        f"`Units` or `Grid` of `keras_initx.types`. Received: {show(kind)} for {show(pattern)}"
    )


def fit_to_weight(
    weight: ModelWeight,
    kind: Resizing | None,
    convert: Conversion,
    size: int,
    reordered: Collection[int],
) -> LazyArray:
    """Convert an array of a source to the shape of a weight.

    Args:
        weight: The weight.
        kind: The kind of change in the shape, `None` for none.
        convert: Function of a shape that returns the array in it.
        size: The number of values in the source.
        reordered: The axes with another order in torch.

    Raises:
        ValueError: If the source has another shape, and `kind` cannot change it to the shape of the
            weight.
    """
    try:
        array = convert(weight.shape)
    except UnknownOrderError:
        raise
    except ValueError as error:
        reason = str(error)
    else:
        if kind is None:
            return array
        if not kind.changes_equal:
            if isinstance(kind, Grid):
                _check_grid(kind, weight)
            return array
        reason = "the array already has the shape of the weight"
    if kind is None:
        raise ValueError(f"{reason}{_suggest_kind(weight, convert, size, reordered)}")
    try:
        return _resize(weight, kind, convert, size, reordered, is_read=True)
    except ValueError as error:
        raise ValueError(f"{reason}; {error}") from None


def _check_grid(grid: Grid, weight: ModelWeight) -> None:
    """Raise `ValueError` if a table that has the shape of its weight has neither grid."""
    try:
        axis = find_axis(grid, weight)
    except ValueError:
        return  # another weight of the layer with the table
    rows = weight.shape[axis] if _find_image_axes(grid, weight) is None else math.prod(grid.new)
    if rows not in grid.lengths:
        raise ValueError(f"{rows} rows fit neither grid of {grid!r}")


def _find_image_axes(kind: Resizing, weight: ModelWeight) -> int | None:
    # The first of these axes, which is 1 for a table of shape `(1, 64, 64, 768)`.
    if not isinstance(kind, Grid) or kind.leading or len(kind.new) < 2:
        return None
    first = len(weight.shape) - 1 - len(kind.new)
    if first < 0 or weight.shape[first:-1] != kind.new:
        return None
    return first if all(length == 1 for length in weight.shape[:first]) else None


def _suggest_kind(
    weight: ModelWeight, convert: Conversion, size: int, reordered: Collection[int]
) -> str:
    """End a message about a shape with the kind of `resize` that fits, if there is one."""
    for name, kind in _KINDS.items():
        try:
            _resize(weight, kind(), convert, size, reordered)
        except ValueError:
            continue
        end = f"; to load another number of {name}, pass resize={{{weight.shown!r}: {name!r}}}"
        if name == "rows":
            end += ", or a `Grid` for positions of an image"
        return end
    return ""


def _resize(
    weight: ModelWeight,
    kind: Resizing,
    convert: Conversion,
    size: int,
    reordered: Collection[int],
    *,
    is_read: bool = False,
) -> LazyArray:
    axis = find_axis(kind, weight)
    first = _find_image_axes(kind, weight)
    if isinstance(kind, Grid) and first is not None:
        shape = weight.shape
        array = convert((*shape[:first], *kind.old, shape[-1]))
        rows = array.reshaped((*shape[:first], math.prod(kind.old), shape[-1]))
        return kind.of(rows, first, math.prod(kind.new)).reshaped(shape)
    if axis in reordered:
        raise ValueError(
            f"torch may have the {kind.what} in another order than the weight, so they cannot be "
            "resized; pass a function of the array, as in `(name, function)`"
        )
    shape = weight.shape
    before, after = shape[:axis], shape[axis + 1 :]
    # The only length that the array can have along this axis.
    length, rest = divmod(size, max(1, math.prod((*before, *after))))
    if rest or 0 in (*shape, length):
        raise ValueError(f"the shapes differ in more than the number of {kind.what}")
    try:
        array = convert((*before, length, *after))
    except ValueError:
        raise ValueError(f"the shapes differ in more than the number of {kind.what}") from None
    resized = kind.of(array, axis, shape[axis])
    if is_read and isinstance(kind, ListResizing) and kind.leaves_out(array, axis, shape[axis]):
        resized = resized.noted("infinite values left out of the mean")
    return resized


def find_axis(kind: Resizing, weight: ModelWeight) -> int:
    """Find the axis of a weight whose length a kind changes.

    Raises:
        ValueError: If the weight has no such axis, or it is not known.
    """
    axis = None
    # Scales of a quantized layer and factors of an adapter belong to the values of a kernel.
    is_whole = not is_adapter(weight.name) and not is_quantized(weight.layer)
    if is_whole and weight.dtype in DTYPES:
        if isinstance(kind, Channels):
            axis = _find_channel_axis(weight, is_of_patches=kind.old is not None)
        elif isinstance(kind, Units):
            axis = _find_unit_axis(weight)
        else:
            axis = _find_image_axes(kind, weight)
            if axis is None:
                axis = _find_row_axis(weight)
    if axis is not None:
        return axis
    reason = (
        f"{_describe_weight(weight)} cannot get other {kind.what}: `resize` changes these only in "
        f"{_PURPOSES[type(kind)]}"
    )
    if isinstance(kind, Channels) and isinstance(weight.layer, _DENSE):
        reason += "; for patches that are flattened pass `Channels(old, new)`"
    raise ValueError(reason)


def _describe_weight(weight: ModelWeight) -> str:
    text = f"the {weight.name} of a {type(weight.layer).__name__}"
    if is_quantized(weight.layer):
        return f"{text} that is quantized"
    if weight.groups != (1, 1):
        return f"{text} with {max(weight.groups)} groups"
    return text


def _find_channel_axis(weight: ModelWeight, *, is_of_patches: bool) -> int | None:
    layer = weight.layer
    if isinstance(layer, _STATISTICS):
        return 0 if len(weight.shape) == 1 else None
    is_of_convolution = convolves(layer, weight.variable) and weight.groups == (1, 1)
    is_dense = isinstance(layer, _DENSE) and is_kernel(weight.variable)
    if is_of_convolution or (is_dense and is_of_patches):
        inputs, units = weight.axes or ((), ())
        return _get_single([axis for axis in inputs if axis not in units])
    return None


def _find_unit_axis(weight: ModelWeight) -> int | None:
    layer = weight.layer
    layers_without = (*DEPTHWISE, *NORMALIZATIONS, *_STATISTICS, *CELLS)
    is_table = isinstance(layer, keras.layers.Embedding) and not _is_reverse_embedding(weight)
    if is_table or isinstance(layer, layers_without) or weight.kind != "parameter":
        return None
    if len(weight.shape) == 1:
        return 0
    if weight.axes is None or weight.groups != (1, 1):
        return None
    inputs, units = weight.axes
    return _get_single([axis for axis in units if axis not in inputs])


def _find_row_axis(weight: ModelWeight) -> int | None:
    layers_without = (*_DENSE, *ALL_CONVOLUTIONS, *NORMALIZATIONS, *_STATISTICS, *CELLS)
    if isinstance(weight.layer, layers_without) or len(weight.shape) < 2:
        return None
    if _is_reverse_embedding(weight):
        return 1
    # Axes before the rows may only be those of the examples of a batch.
    if any(length != 1 for length in weight.shape[:-2]):
        return None
    return len(weight.shape) - 2


def _is_reverse_embedding(weight: ModelWeight) -> bool:
    # The head of a `ReversibleEmbedding` that is not tied.
    return weight.name == "reverse_embeddings"


def _get_single(axes: Sequence[int]) -> int | None:
    return axes[0] if len(axes) == 1 else None
