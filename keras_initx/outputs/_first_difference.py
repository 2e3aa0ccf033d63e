"""Where the difference of two models arises, and what is known of it without guessing."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from keras_initx.outputs._compared_call import (
    BEFORE_ACTIVATION,
    Compared,
    is_equal_before,
    order_of_inputs,
)
from keras_initx.outputs._flow import Flow
from keras_initx.outputs._outputs_report import Stretch
from keras_initx.outputs._reasons import masks_apart
from keras_initx.outputs._recorded import RecordedCall
from keras_initx.rendering._text import short_number


def place_of_origin(compared: list[Compared], flow: Flow) -> int | None:
    """Return the place of the call in which the first difference arises, `None` without one.

    That is the first call above its tolerance, or the maker of its inputs if those differ by half
    of the tolerance, and so on. The row of such a maker is changed to one that differs.

    Args:
        compared: All calls, in the order in which they have ended.
        flow: How they depend on each other.
    """
    differing = [place for place, one in enumerate(compared) if one.row.answer == "differs"]
    if not differing:
        return None
    place = differing[0]
    while True:
        makers = _makers_apart(compared, flow, place)
        if not makers:
            return place
        place = min(makers)
        one = compared[place]
        if one.row.answer != "differs":
            how = "; ".join(filter(None, ["above half the tolerance", one.row.how]))
            compared[place] = one._replace(row=replace(one.row, answer="differs", how=how))


def _makers_apart(compared: Sequence[Compared], flow: Flow, place: int) -> list[int]:
    """Return the calls that have made the inputs of one, and differ by half of the tolerance.

    Those that were not compared are passed over, to what has made their inputs.
    """
    found = []
    seen = set()
    call = flow.calls[place]
    open_places = list(flow.makers(call.inputs.values(), 0, call.begin))
    while open_places:
        maker = open_places.pop()
        if maker in seen:
            continue
        seen.add(maker)
        row = compared[maker].row
        if row.outputs is None:
            made = flow.calls[maker]
            open_places += flow.makers(made.inputs.values(), 0, made.begin)
        elif row.outputs > row.tolerance / 2:
            found.append(maker)
    return found


def where_it_arises(
    compared: Sequence[Compared], place: int, flow: Flow, others: Sequence[RecordedCall]
) -> Stretch:
    """Return the calls in which the difference of a row may arise, beside the call itself.

    In both models these are the calls that were not compared, that it depends on, or may, and that
    no equal call depends on.

    Args:
        compared: All calls.
        place: The place of the row.
        flow: How they depend on each other.
        others: The calls of the other model.
    """
    first = compared[place]
    equal = [number for number, one in enumerate(compared) if one.row.answer == "equal"]
    here = _suspects(flow, place, equal, has_equal_inputs(first))
    found = [compared[one].row.name for one in here if compared[one].row.answer != "differs"]
    other_places = {id(call): number for number, call in enumerate(others)}
    matched = {id(one.other) for one in compared if one.row.answer in ("equal", "differs")}
    counterparts = [other_places[id(compared[one].other)] for one in equal]
    other_place = other_places[id(first.other)]
    there = []
    for one in _suspects(Flow(others), other_place, counterparts, has_equal_inputs(first)):
        if id(others[one]) not in matched:
            there.append(str(others[one].key))
    return Stretch(_last_equal(compared, place, flow, equal), tuple(found), tuple(there))


def has_equal_inputs(one: Compared) -> bool:
    """Return whether all inputs of a call were compared, and are equal."""
    pairs = one.inputs
    return bool(pairs) and not any(pair.differs or pair.difference is None for pair in pairs)


def _suspects(flow: Flow, place: int, equal: Sequence[int], is_inside: bool) -> list[int]:
    """Return the calls that one may depend on, itself too, but for those that equal ones depend on.

    Args:
        flow: How the calls of a model depend on each other.
        place: The place of the call.
        equal: The places of the equal calls.
        is_inside: Whether it can be only calls inside of it, because its inputs are equal.
    """
    suspects = flow.inside(place) if is_inside else flow.possible[place]
    for one in equal:
        suspects &= ~(flow.certain[one] | flow.inside(one))
    return flow.members(suspects)


def _last_equal(
    compared: Sequence[Compared], place: int, flow: Flow, equal: Sequence[int]
) -> tuple[str, ...]:
    """Return the names of the equal calls behind which the difference arises."""
    used = flow.certain[place] if flow.certain[place] != 1 << place else flow.possible[place]
    before = [one for one in equal if used >> one & 1]
    if not before:
        before = [one for one in equal if flow.possible[place] >> one & 1][-1:]
    last = []
    for one in before:
        behind = [other for other in before if other != one]
        if not any((flow.certain[other] | flow.inside(other)) >> one & 1 for other in behind):
            last.append(compared[one].row.name)
    return tuple(last)


def reasons_for(
    compared: Sequence[Compared], place: int, between: Stretch, *, is_same_framework: bool
) -> list[str]:
    """Return what is known of the first row that differs, as sentences without a stop."""
    found = []
    for one in compared:
        if one.row.is_model and one.row.inputs_differ and one.row.inputs is not None:
            size = short_number(one.row.inputs)
            found.append(f"the inputs of the models differ by {size} of their size")
    first = compared[place]
    found += _known(first, is_same_framework)
    if not has_equal_inputs(first):
        # It may be what is passed to a layer around it.
        for one in compared[place + 1 :]:
            if first.row.path.startswith(f"{one.row.path}/") or one.call.is_model:
                found += [f"{one.row.path}: {reason}" for reason in _known(one, is_same_framework)]
    order = order_of_inputs(first)
    if order:
        found.append(
            f"its inputs are the same, with {order} there: the rows of a kernel must be moved, as "
            'by `load_pretrained(layout="torch")` where the graph shows how'
        )
    if is_equal_before(first):
        found.append("before its activation it is equal")
    for one in compared[:place]:
        if one.row.name in between.after and BEFORE_ACTIVATION in one.row.how:
            found.append(f"{one.row.name} is equal before its activation, {_activation(one)}")
    return found


def _known(one: Compared, is_same_framework: bool) -> list[str]:
    """Return what differs between a call and its counterpart beside their values."""
    if one.other is None:
        return []
    masks = masks_apart(one.call, one.other, is_same_framework=is_same_framework)
    return [*one.row.settings, *masks]


def _activation(one: Compared) -> str:
    """Return the name of the activation that one of two calls has."""
    settings: list[Mapping[str, object]] = [one.call.settings]
    if one.other is not None:
        settings.append(one.other.settings)
    for found in settings:
        if "activation" in found:
            return str(found["activation"])
    return "which has no name"
