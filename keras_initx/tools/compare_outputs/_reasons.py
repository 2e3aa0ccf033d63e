"""Find differences between calls other than values and settings: facts, and no guesses.

The functions return texts such as:

    `attention_mask` is passed here, and not there
    GELU: exact here, by tanh there
"""

import math
from collections.abc import Callable, Iterable
from typing import TypeAlias

import numpy as np

from keras_initx._typing import Array
from keras_initx.tools.compare_outputs._recorded import RecordedCall
from keras_initx.tools.compare_outputs._samples import RecordedTensor, squeeze_shape

# For numbers of size 1, GELU by tanh is off by up to 5e-4, and float32 by 1e-7.
_APART = 1e-4
_EXACT = 1e-5
_ERF = np.vectorize(math.erf, otypes=[float])


# The input of a function that may be GELU, and its output.
Activated: TypeAlias = tuple[RecordedTensor, RecordedTensor]


def list_activated(call: RecordedCall) -> list[Activated]:
    """List the input and the output of the activation of a call, or of the call itself."""
    before = call.before_activation
    if before is None and len(call.inputs) == 1:
        before = next(iter(call.inputs.values()))
    if before is None or len(call.outputs) != 1:
        return []
    return [(before, next(iter(call.outputs.values())))]


def list_activated_between(call: RecordedCall, next_call: RecordedCall) -> list[Activated]:
    """List what is the output of a call, and becomes the input of the next one by a function.

    A function in the code around both is seen by these values alone.
    """
    pairs = []
    for before in call.outputs.values():
        for after in next_call.inputs.values():
            if before is not after:
                pairs.append((before, after))
    return pairs


def identify_gelu(before: RecordedTensor, after: RecordedTensor) -> str:
    """Identify how a function computes GELU: `"exact"` or `"by tanh"`, empty if not known to.

    Its values decide, so it may be a name, a function without a name, a module or an operation. The
    formulas are

        exact      x (1 + erf(x / sqrt(2))) / 2
        by tanh    x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x**3))) / 2

    Args:
        before: The input of the function.
        after: Its output.
    """
    floats = _read_floats(before, after)
    if floats is None:
        return ""
    x, y = floats
    with np.errstate(invalid="ignore", over="ignore"):
        exact = x * (1 + _ERF(x / math.sqrt(2))) / 2
        by_tanh = x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2
        if not np.abs(exact - by_tanh).max(initial=0) > _APART:
            return ""
        for name, expected in (("exact", exact), ("by tanh", by_tanh)):
            if _gives(expected, x, y):
                return name
    return ""


def identify_function(before: RecordedTensor, after: RecordedTensor) -> str:
    """Identify a function by its values, such as `"tanh"`, empty if none or several have them.

    Args:
        before: The input of the function.
        after: Its output.
    """
    floats = _read_floats(before, after)
    if floats is None:
        return ""
    x, y = floats
    with np.errstate(invalid="ignore", over="ignore"):
        sigmoid = 1 / (1 + np.exp(-x))
        results = {
            "relu": np.maximum(x, 0),
            "tanh": np.tanh(x),
            "sigmoid": sigmoid,
            "silu": x * sigmoid,
            "no function": x,
        }
        found = []
        for name, expected in results.items():
            if _gives(expected, x, y):
                found.append(name)
    return found[0] if len(found) == 1 and x.size else ""


def _read_floats(before: RecordedTensor, after: RecordedTensor) -> tuple[Array, Array] | None:
    """Read the input and the output of a function, `None` unless both are floats of one shape."""
    if before.shape != after.shape or {before.dtype, after.dtype} - {"float32", "float64"}:
        return None
    return before.own_values.astype("float64"), after.own_values.astype("float64")


def _gives(expected: Array, x: Array, y: Array) -> bool:
    """Return whether a function that gives `expected` for `x` has given `y`, but for rounding."""
    return bool((np.abs(y - expected) <= _EXACT * np.maximum(np.abs(x), 1)).all())


def _compare_kinds(
    title: str,
    identify: Callable[[RecordedTensor, RecordedTensor], str],
    ours: Iterable[Activated],
    theirs: Iterable[Activated],
) -> list[str]:
    """Report that two models apply functions of two kinds, if each applies those of one."""
    here, there = ({identify(*pair) for pair in pairs} - {""} for pairs in (ours, theirs))
    if len(here) == len(there) == 1 and here != there:
        return [f"{title}: {here.pop()} here, {there.pop()} there"]
    return []


def compare_functions(ours: Iterable[Activated], theirs: Iterable[Activated]) -> list[str]:
    """Report that two models apply two functions, if each applies a single one."""
    return _compare_kinds("activation", identify_function, ours, theirs)


def compare_gelus(ours: Iterable[Activated], theirs: Iterable[Activated]) -> list[str]:
    """Report that two models compute GELU in two ways, if each uses a single way."""
    return _compare_kinds("GELU", identify_gelu, ours, theirs)


def compare_masks(
    ours: RecordedCall, theirs: RecordedCall, *, is_same_framework: bool
) -> list[str]:
    """List the tensors that only one of two calls gets, in words.

    Between Keras and torch, only masks are compared. A mask that masks nothing, or everything, does
    not count. The other side may have it under another name, as another tensor of its shape.
    """
    here = _list_passed(ours, is_same_framework)
    there = _list_passed(theirs, is_same_framework)
    if not is_same_framework and here and there:
        return []
    differences = []
    for name in here:
        if name not in there and (is_same_framework or not _has_mask_like(theirs, ours, name)):
            differences.append(f"`{name}` is passed here, and not there")
    for name in there:
        if name not in here and (is_same_framework or not _has_mask_like(ours, theirs, name)):
            differences.append(f"`{name}` is passed there, and not here")
    return differences


def _has_mask_like(call: RecordedCall, other: RecordedCall, name: str) -> bool:
    """Say whether a call has an argument with the shape of a mask of the other call."""
    shape = squeeze_shape(other.inputs[name].shape)
    others = list(call.inputs.values())[1:]  # without the first, which is masked
    return any(squeeze_shape(tensor.shape) == shape for tensor in others)


def _list_passed(call: RecordedCall, is_same_framework: bool) -> list[str]:
    names = []
    for name, tensor in call.inputs.items():
        is_mask = "mask" in name
        if (is_mask or is_same_framework) and not (is_mask and tensor.deviation == 0):
            names.append(name)
    return names
