"""Find differences between two calls other than their values: facts, and no guesses.

The functions return texts such as:

    epsilon: 0.001 here, 1e-05 there
    padding: 0 before and 1 after here, 1 before and 1 after there
    `attention_mask` is passed here, and not there
    GELU: exact here, by tanh there
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from keras_initx.tools.compare_outputs._recorded import RecordedCall

# Settings that layers of Keras and modules of torch have in the same words.
_SHARED_WORDS = (
    "epsilon",
    "momentum",
    "rate",
    "strides",
    "dilation_rate",
    "groups",
    "use_bias",
    "num_heads",
    "negative_slope",
    "reset_after",
)
_MISSING = object()
# For numbers of size 1, GELU by tanh is off by up to 5e-4, and float32 by 1e-7.
_APART = 1e-4
_EXACT = 1e-5
_ERF = np.vectorize(math.erf, otypes=[float])


def compare_settings(
    ours: RecordedCall, theirs: RecordedCall, *, is_same_framework: bool
) -> list[str]:
    """List the settings that differ between two calls, in words.

    Args:
        ours: A call of Keras.
        theirs: Its counterpart.
        is_same_framework: Whether the counterpart is of Keras too.
    """
    words: Sequence[str] = _SHARED_WORDS
    if is_same_framework and ours.kind == theirs.kind:
        words = [word for word in ours.settings if word != "padding"]
    differences = []
    for word in words:
        here = ours.settings.get(word, _MISSING)
        there = theirs.settings.get(word, _MISSING)
        if _MISSING not in (here, there) and not _are_same_settings(here, there):
            differences.append(
                f"{word}: {_format_setting(here)} here, {_format_setting(there)} there"
            )
    return differences + _compare_padding(ours, theirs, is_same_framework=is_same_framework)


def identify_gelu(call: RecordedCall) -> str:
    """Identify how a call computes GELU: `"exact"` or `"by tanh"`, empty if it is not known to.

    Its values decide, so it may be a name, a function without a name, a module or an operation. The
    formulas are

        exact      x (1 + erf(x / sqrt(2))) / 2
        by tanh    x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x**3))) / 2
    """
    before = call.before_activation
    if before is None and len(call.inputs) == 1:
        before = next(iter(call.inputs.values()))
    if before is None or len(call.outputs) != 1:
        return ""
    after = next(iter(call.outputs.values()))
    if before.shape != after.shape or {before.dtype, after.dtype} - {"float32", "float64"}:
        return ""
    x, y = before.own_values.astype("float64"), after.own_values.astype("float64")
    with np.errstate(invalid="ignore", over="ignore"):
        exact = x * (1 + _ERF(x / math.sqrt(2))) / 2
        by_tanh = x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2
        if not np.abs(exact - by_tanh).max(initial=0) > _APART:
            return ""
        for name, expected in (("exact", exact), ("by tanh", by_tanh)):
            if (np.abs(y - expected) <= _EXACT * np.maximum(np.abs(x), 1)).all():
                return name
    return ""


def compare_gelus(ours: Iterable[RecordedCall], theirs: Iterable[RecordedCall]) -> list[str]:
    """Report that two groups of calls compute GELU in two ways, if each uses a single way."""
    here, there = ({identify_gelu(call) for call in calls} - {""} for calls in (ours, theirs))
    if len(here) == len(there) == 1 and here != there:
        return [f"GELU: {here.pop()} here, {there.pop()} there"]
    return []


def compare_masks(
    ours: RecordedCall, theirs: RecordedCall, *, is_same_framework: bool
) -> list[str]:
    """List the tensors that only one of two calls gets, in words.

    Between Keras and torch, only masks are compared. Other arguments have other names, but both
    call a mask a mask. A mask that masks nothing, or everything, does not count.
    """
    here = _list_passed(ours, is_same_framework)
    there = _list_passed(theirs, is_same_framework)
    if not is_same_framework and here and there:
        return []
    differences = [f"`{name}` is passed here, and not there" for name in here if name not in there]
    differences += [f"`{name}` is passed there, and not here" for name in there if name not in here]
    return differences


def _list_passed(call: RecordedCall, is_same_framework: bool) -> list[str]:
    names = []
    for name, tensor in call.inputs.items():
        is_mask = "mask" in name
        if (is_mask or is_same_framework) and not (is_mask and tensor.deviation == 0):
            names.append(name)
    return names


def _are_same_settings(here: Any, there: Any) -> bool:
    # 2 and (2, 2) are the same.
    return bool(_normalize_setting(here) == _normalize_setting(there))


def _normalize_setting(value: Any) -> Any:
    # A number in place of a list of the same numbers, and lists in place of tuples.
    if not isinstance(value, list | tuple):
        return value
    values = list(map(_normalize_setting, value))
    if values and all(item == values[0] for item in values):
        return values[0]
    return values


def _format_setting(value: Any) -> str:
    return f"{_normalize_setting(value)}"


class _Window(NamedTuple):
    """The window of a convolution or a pooling along one axis.

    Attributes:
        length: The length of the axis.
        kernel: The length of the kernel, with its gaps.
        stride: The distance from one position of the kernel to the next.
    """

    length: int
    kernel: int
    stride: int

    def compute_padding(self, padding: Any) -> tuple[int, int]:
        """Compute the padding of the axis at its two ends."""
        if padding == "same":
            count = math.ceil(self.length / self.stride)
            total = max((count - 1) * self.stride + self.kernel - self.length, 0)
            return total // 2, total - total // 2
        if padding == "causal":
            return self.kernel - 1, 0
        if padding == "valid":
            return 0, 0
        return padding, padding


def _compare_padding(
    ours: RecordedCall, theirs: RecordedCall, *, is_same_framework: bool
) -> list[str]:
    """Say how two calls pad their inputs, if inputs of one size are padded differently."""
    if "Transpose" in ours.kind:
        return []
    windows, other_windows = _find_windows(ours), _find_windows(theirs)
    here, there = ours.settings.get("padding"), theirs.settings.get("padding")
    if here == there:
        return []
    if not windows or not other_windows or None in (here, there):
        if is_same_framework and None not in (here, there):
            return [f"padding: {_format_setting(here)} here, {_format_setting(there)} there"]
        return []
    lengths = [window.length for window in windows]
    other_lengths = [window.length for window in other_windows]
    if lengths != other_lengths:
        return []  # a layer before one of them may have padded
    pads = _compute_pads(windows, here)
    other_pads = _compute_pads(other_windows, there)
    if pads == other_pads:
        return []
    return [f"padding: {_format_pads(pads)} here, {_format_pads(other_pads)} there"]


def _compute_pads(windows: Sequence[_Window], padding: Any) -> list[tuple[int, int]]:
    paddings = padding if isinstance(padding, list | tuple) else [padding] * len(windows)
    return [
        window.compute_padding(window_padding)
        for window, window_padding in zip(windows, paddings, strict=True)
    ]


def _format_pads(pads: Sequence[tuple[int, int]]) -> str:
    if len(set(pads)) == 1:
        return f"{pads[0][0]} before and {pads[0][1]} after"
    return " and ".join(f"{before} before and {after} after" for before, after in pads)


def _find_windows(call: RecordedCall) -> list[_Window]:
    """Find the windows of a convolution or a pooling along its axes, none if they are not known."""
    settings = call.settings
    kernel = settings.get("kernel_size", settings.get("pool_size"))
    tensor = next(iter(call.inputs.values()), None)
    if kernel is None or tensor is None:
        return []
    rank = len(tensor.shape) - 2
    lengths = tensor.shape[1:-1] if _has_channels_last(settings) else tensor.shape[2:]
    kernels = _repeat_for_axes(kernel, rank)
    strides = _repeat_for_axes(settings.get("strides"), rank)
    gaps = _repeat_for_axes(settings.get("dilation_rate", 1), rank)
    if not rank > 0 or not len(kernels) == len(strides) == len(gaps) == rank:
        return []
    windows = []
    for length, size, stride, gap in zip(lengths, kernels, strides, gaps, strict=True):
        windows.append(_Window(length, (size - 1) * gap + 1, stride))
    return windows


def _has_channels_last(settings: Mapping[str, Any]) -> bool:
    # A module of torch has no `data_format`.
    return settings.get("data_format") == "channels_last"


def _repeat_for_axes(value: Any, rank: int) -> Sequence[Any]:
    if isinstance(value, int):
        return [value] * rank
    return value if isinstance(value, list | tuple) else []
