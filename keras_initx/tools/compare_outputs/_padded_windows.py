"""Compare windows behind layers that pad: their padding is that of both together.

here   ZeroPadding1D((1, 2)), Conv1D(5)     padding: 1 before and 2 after
there  Conv1d(5, padding=2)                 padding: 2 before and 2 after
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from keras_initx.tools.compare_outputs._components import Component
from keras_initx.tools.compare_outputs._recorded import RecordedCall
from keras_initx.tools.compare_outputs._windows import Pads, format_pads, read_windows

AVERAGE = "average pooling"
WINDOWS = ("convolution", "max pooling", AVERAGE)
# Ways of `keras.ops.pad` in the words of torch.
_MODES = {"constant": "zeros", "edge": "replicate", "wrap": "circular"}


class _Padded(NamedTuple):
    """What windows see behind the ends of an input.

    Attributes:
        lengths: The lengths of the axes before any padding.
        pads: The padding of each axis.
        mode: What the padding holds: `"zeros"`, `"reflect"` and so on.
        is_counted: Whether an average counts it.
    """

    lengths: Sequence[int]
    pads: Pads
    mode: str
    is_counted: bool


def compare_padded(
    ours: RecordedCall,
    theirs: RecordedCall,
    calls: Sequence[RecordedCall],
    calls_there: Sequence[RecordedCall],
) -> list[str]:
    """List how the padding of two calls with windows differs, in words, if one is padded before.

    What is behind the last window is not compared, because later code may cut it off.

    Args:
        ours: A call of the model.
        theirs: Its counterpart.
        calls: The calls of the model.
        calls_there: The calls of the other model.
    """
    padding, padding_there = _find_padding(ours, calls), _find_padding(theirs, calls_there)
    if padding is None and padding_there is None:
        return []
    here, there = _read_padded(ours, padding), _read_padded(theirs, padding_there)
    if here is None or there is None or list(here.lengths) != list(there.lengths):
        return []
    if [before for before, _ in here.pads] != [before for before, _ in there.pads]:
        return [f"padding: {format_pads(here.pads)} here, {format_pads(there.pads)} there"]
    differences = []
    if any(map(any, here.pads)) and any(map(any, there.pads)):
        if here.mode != there.mode:
            differences.append(f"padding_mode: {here.mode} here, {there.mode} there")
        component = find_window(ours)
        is_average = component is not None and component.kind == AVERAGE
        if is_average and here.is_counted != there.is_counted:
            text = f"count_include_pad: {here.is_counted} here, {there.is_counted} there"
            differences.append(text)
    return differences


def find_window(call: RecordedCall) -> Component | None:
    """Find the component of a call that has windows, `None` if there is none."""
    components = (component for component in call.components if component.kind in WINDOWS)
    return next(components, None)


class _Padding(NamedTuple):
    """A padding of its own: of each axis, or one for all, and what it holds."""

    pads: Any
    mode: str


def _find_padding(call: RecordedCall, calls: Iterable[RecordedCall]) -> _Padding | None:
    """Find the padding by the call that has made the input of a call."""
    tensor = next(iter(call.inputs.values()), None)
    for maker in calls:
        if tensor is None or not any(output is tensor for output in maker.outputs.values()):
            continue
        if maker.kind == "Pad":
            mode = str(maker.settings.get("mode"))
            return _Padding(maker.settings.get("pad_width"), _MODES.get(mode, mode))
        for component in maker.components:
            if component.kind == "padding":
                settings = component.settings
                return _Padding(settings.get("pads"), str(settings.get("padding_mode")))
        return None
    return None


def _read_padded(call: RecordedCall, padding: _Padding | None) -> _Padded | None:
    component = find_window(call)
    tensor = next(iter(call.inputs.values()), None)
    if component is None or tensor is None:
        return None
    settings = component.settings
    windows = read_windows(settings, tensor.shape)
    if windows is None:
        return None
    lengths = [axis.length for axis in windows.axes]
    if padding is None:
        mode = str(settings.get("padding_mode", "zeros"))
        return _Padded(lengths, windows.pads, mode, settings.get("count_include_pad") is True)
    is_last = settings.get("data_format") == "channels_last"
    pads = _list_pads(padding.pads, len(lengths), is_last=is_last)
    if pads is None or any(map(any, windows.pads)):
        return None  # both pad, in two ways
    before = [length - sum(pair) for length, pair in zip(lengths, pads, strict=True)]
    return _Padded(before, pads, padding.mode, is_counted=True)


def _list_pads(pads: Any, rank: int, *, is_last: bool) -> Pads | None:
    """List the padding of each axis of a window, `None` if it is not known."""
    if isinstance(pads, int):
        return [(pads, pads)] * rank
    if not isinstance(pads, list | tuple):
        return None
    pairs = list(pads)
    if rank == 1 and len(pairs) == 2 and all(isinstance(number, int) for number in pairs):
        pairs = [pairs]
    if len(pairs) == rank + 2:  # with the batch and the channels
        pairs = pairs[1:-1] if is_last else pairs[2:]
    if len(pairs) != rank:
        return None
    if not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs):
        return None
    return [(pair[0], pair[1]) for pair in pairs]
