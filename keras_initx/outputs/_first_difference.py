"""Where the first difference of two models arises, and what is known of it without guessing."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from keras_initx.outputs._compared_call import BEFORE_ACTIVATION, Compared
from keras_initx.outputs._outputs_report import Stretch
from keras_initx.outputs._recorded import RecordedCall
from keras_initx.rendering._text import short_number

# What layers of Keras and modules of torch say in the same words.
_SHARED_WORDS = (
    "epsilon",
    "strides",
    "dilation_rate",
    "groups",
    "use_bias",
    "num_heads",
    "negative_slope",
)
_MISSING = object()


def where_it_arises(
    compared: Sequence[Compared],
    place: int,
    others: Sequence[RecordedCall],
    unmatched: Collection[str],
) -> Stretch:
    """Return where the difference of the row at a place arises, the first that differs.

    Args:
        compared: All calls.
        place: The place of that row.
        others: The calls of the other model.
        unmatched: Those that were compared with nothing.
    """
    first = compared[place]
    start = begin = 0
    after = None
    for number, one in enumerate(compared[:place]):
        if one.row.answer == "equal" and one.other is not None:
            start = number + 1
            begin = others.index(one.other) + 1
            after = one.row.name
    if _is_leaf(first, compared) and first.row.inputs is not None and not first.row.inputs_differ:
        return Stretch(after, (), ())
    here = [one.row.name for one in compared[start:place]]
    there = []
    for call in others[begin:]:
        if call is first.other:
            break
        if str(call.key) in unmatched:
            there.append(str(call.key))
    return Stretch(after, tuple(here), tuple(there))


def _is_leaf(one: Compared, compared: Sequence[Compared]) -> bool:
    """Return whether no call inside this one was seen."""
    if one.call.is_model:
        return len(compared) == 1
    inside = f"{one.row.path}/"
    return not any(other.row.path.startswith(inside) for other in compared)


def reasons_for(compared: Sequence[Compared], place: int, between: Stretch) -> list[str]:
    """Return what is known of the first row that differs, as sentences without a stop."""
    found = []
    for one in compared:
        if one.row.is_model and one.row.inputs_differ and one.row.inputs is not None:
            size = short_number(one.row.inputs)
            found.append(f"the inputs of the models differ by {size} standard deviations")
    first = compared[place]
    found += _known(first)
    if first.row.inputs_differ:
        # It may be what is passed to a layer around it.
        for one in compared[place:]:
            if first.row.path.startswith(f"{one.row.path}/") or one.call.is_model:
                found += [f"{one.row.path}: {reason}" for reason in _known(one)]
    if first.order:
        found.append(
            f"its inputs are the same, with {first.order} there: the rows of a kernel must be "
            'moved, as by `load_pretrained(layout="torch")` where the graph shows how'
        )
    if first.is_equal_before:
        found.append("before its activation it is equal")
    for one in compared[:place]:
        if one.row.name == between.after and one.row.how.startswith(BEFORE_ACTIVATION):
            found.append(f"{between.after} is equal before its activation, {_activation(one)}")
    return found


def _known(one: Compared) -> list[str]:
    """Return what differs between a call and its counterpart beside their values."""
    if one.other is None:
        return []
    found = _settings(one.call, one.other)
    found += _padding(one.call.settings, one.other.settings)
    found += _padding(one.other.settings, one.call.settings)
    return found + _inputs(one.call, one.other)


def _activation(one: Compared) -> str:
    """Return the name of the activation that one of two calls has."""
    for call in (one.call, one.other):
        if call is not None and "activation" in call.settings:
            return str(call.settings["activation"])
    return "which has no name"


def _settings(ours: RecordedCall, theirs: RecordedCall) -> list[str]:
    words: Sequence[str] = _SHARED_WORDS
    if ours.kind == theirs.kind:
        words = list(ours.settings)
    found = []
    for word in words:
        here = ours.settings.get(word, _MISSING)
        there = theirs.settings.get(word, _MISSING)
        if _MISSING not in (here, there) and not _are_alike(here, there):
            found.append(f"{word}: {_shown(here)} here, {_shown(there)} there")
    return found


def _are_alike(here: Any, there: Any) -> bool:
    """Return whether two settings say the same: 2 and (2, 2) do."""
    return bool(_parts(here) == _parts(there))


def _parts(value: Any) -> Any:
    """Return a number for a list of the same numbers, and lists for tuples."""
    if not isinstance(value, list | tuple):
        return value
    parts = list(map(_parts, value))
    if parts and all(part == parts[0] for part in parts):
        return parts[0]
    return parts


def _shown(value: Any) -> str:
    return f"{_parts(value)}"


def _padding(keras_settings: Mapping[str, Any], settings: Mapping[str, Any]) -> list[str]:
    """Return what is to be said where one pads `"same"` with strides, and the other in numbers."""
    strides = keras_settings.get("strides")
    padding = settings.get("padding")
    numbers = padding if isinstance(padding, list | tuple) else [padding]
    has_numbers = all(isinstance(number, int) for number in numbers)
    if keras_settings.get("padding") != "same" or not has_numbers or _parts(strides) in (1, None):
        return []
    return [
        f'padding: "same" with strides of {_shown(strides)} pads more at the end, '
        f"{_shown(padding)} pads both ends alike"
    ]


def _inputs(ours: RecordedCall, theirs: RecordedCall) -> list[str]:
    """Return what is passed to one and not to the other, as far as their arguments compare."""
    here = list(ours.inputs)
    there = list(theirs.inputs)
    if ours.kind != theirs.kind:
        # Arguments have other names, but all call a mask a mask.
        here = _masks(here)
        there = _masks(there)
        if len(here) > 0 and len(there) > 0:
            return []
    found = []
    for name in here:
        if name not in there:
            found.append(f"`{name}` is passed here, and not there")
    for name in there:
        if name not in here:
            found.append(f"`{name}` is passed there, and not here")
    return found


def _masks(names: Sequence[str]) -> list[str]:
    return [name for name in names if "mask" in name]
