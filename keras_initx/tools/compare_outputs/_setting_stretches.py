"""Compare the settings of all calls of two models: of counterparts, and of the calls between them.

Calls without a counterpart one to one lie in *stretches*, which end at calls that have one:

    here   fc  dropout 0.5        head        a stretch before head
    there  fc  drop 0.1  act      head

In a stretch, components are compared by kind: the dropout of 0.5 with the one of 0.1.
"""

import bisect
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from keras_initx._checks import truncate
from keras_initx.report._text import group_names
from keras_initx.tools.compare_outputs._components import ATTENTION, RECURRENT, Component
from keras_initx.tools.compare_outputs._recorded import CallKey, RecordedCall
from keras_initx.tools.compare_outputs._setting_differences import (
    PlacedComponent,
    SettingDifference,
    compare_calls,
    compare_components,
    describe_other_classes,
    match_components,
    pair_components,
)
from keras_initx.tools.compare_outputs._settings_table import (
    ACTIVATION,
    ANY,
    ONE_FRAMEWORK,
    TRAINING,
    UNKNOWN,
)

# Layers that compute the calls inside of them as one.
_CLOSED = RECURRENT


@dataclass
class ComparedSettings:
    """The settings of two models.

    Attributes:
        differences: The settings that differ, in the order of calls.
        not_compared: What could not be compared, in words.
        reasons: For calls that end a stretch: what differs in it, in words. It counts only if
            outputs differ there.
    """

    differences: list[SettingDifference] = field(default_factory=list)
    not_compared: list[str] = field(default_factory=list)
    reasons: dict[CallKey, list[str]] = field(default_factory=dict)

    def list_texts(self, key: CallKey) -> list[str]:
        """List the settings that differ between a call and its counterpart, in words."""
        name = str(key)
        return [row.text for row in self.differences if row.path == row.like == name]


@dataclass
class _Stretch:
    """The components between two counterparts, on both sides."""

    ours: list[PlacedComponent] = field(default_factory=list)
    theirs: list[PlacedComponent] = field(default_factory=list)
    end: CallKey | None = None


def compare_all_settings(
    ours: Sequence[RecordedCall],
    theirs: Sequence[RecordedCall],
    counterparts: Mapping[CallKey, RecordedCall],
    *,
    is_same_framework: bool,
    has_fixed_sizes: bool,
) -> ComparedSettings:
    """Compare the settings of all calls.

    Args:
        ours: The calls of the model, ordered by their ends.
        theirs: Those of the other model.
        counterparts: The counterparts of calls.
        is_same_framework: Whether both models are of Keras.
        has_fixed_sizes: Whether the model gets no inputs of another size.
    """
    compared = ComparedSettings()
    unknown: list[tuple[str, str]] = []
    read_along = _find_calls_read_along(ours, counterparts)
    for index, call in enumerate(ours):
        other = counterparts.get(call.key)
        if other is None or index in read_along:
            continue
        found = compare_calls(
            call, other, is_same_framework=is_same_framework, has_fixed_sizes=has_fixed_sizes
        )
        name = str(call.key)
        for text, scope in found.texts:
            compared.differences.append(SettingDifference(text, scope, name, name))
        unknown += [(text, name) for text in found.unknown]
    for stretch in _divide(ours, theirs, counterparts):
        unknown += _compare_stretch(stretch, compared, has_fixed_sizes=has_fixed_sizes)
    if not is_same_framework:
        compared.differences += [
            SettingDifference(text, "loss", str(call.key))
            for call in ours
            for text in _describe_masks(call)
        ]
    for text, names in group_names(unknown).items():
        compared.not_compared.append(f"{text} ({truncate(names)})")
    compared.not_compared += _list_unknown_classes(ours, theirs, counterparts)
    return compared


def _find_calls_read_along(
    calls: Sequence[RecordedCall], counterparts: Mapping[CallKey, RecordedCall]
) -> set[int]:
    """Find the calls whose settings are those of a recurrent layer around them."""
    inside: set[int] = set()
    for index, call in enumerate(calls):
        other = counterparts.get(call.key)
        kinds = {component.kind for component in call.components}
        if other is not None and not kinds.isdisjoint(_CLOSED) and match_components(call, other):
            inside.update(range(call.begin, index))
    return inside


def _describe_masks(call: RecordedCall) -> list[str]:
    texts = []
    for label, (hidden, count) in call.masks.items():
        output = f"the output {label}" if label else "the output"
        texts.append(
            f"a mask on {output}: losses of Keras leave out {hidden} of {count} positions, "
            "losses of torch count them. Remedy: `ignore_index` there, or no mask here"
        )
    return texts


def _list_unknown_classes(
    ours: Sequence[RecordedCall],
    theirs: Sequence[RecordedCall],
    counterparts: Mapping[CallKey, RecordedCall],
) -> list[str]:
    """List the classes whose settings are not known, without those compared by attributes."""
    others = {call.key: call for call in theirs}
    same = set()
    for call in ours:
        other = counterparts.get(call.key)
        if other is not None and other.kind == call.kind and other.key in others:
            same.add(call.kind)
    classes = []
    for call in (*ours, *theirs):
        is_unknown = any(not component.kind for component in call.components)
        if is_unknown and not call.is_model and call.kind not in same:
            classes.append(call.kind)
    names = list(dict.fromkeys(classes))
    return [f"settings that are not known: {', '.join(names)}"] if names else []


class _Side:
    """The calls of one side as a line: components and counterparts, in the order of execution.

    Args:
        calls: The calls, ordered by their ends.
        paired: Dict from the numbers of calls that have counterparts to those of their components
            that were compared with it.

    Attributes:
        line: Components, and the numbers of calls that have counterparts.
    """

    def __init__(
        self, calls: Sequence[RecordedCall], paired: Mapping[int, Sequence[Component]]
    ) -> None:
        self._paired = paired
        self.line: list[PlacedComponent | int] = []
        hidden = self._find_hidden(calls)
        functions: dict[int, list[PlacedComponent]] = {}
        for call in calls:
            for component in call.components:
                if component.begin is not None:
                    placed = PlacedComponent(call, component)
                    functions.setdefault(component.begin, []).append(placed)
        for index, call in enumerate(calls):
            if index not in hidden:
                self.line += functions.get(index, [])
                self._add(index, call)

    def _find_hidden(self, calls: Sequence[RecordedCall]) -> set[int]:
        """Find the calls inside of calls that are compared as a whole."""
        hidden: set[int] = set()
        for index, call in enumerate(calls):
            kinds = {component.kind for component in call.components}
            is_compared = bool(self._paired.get(index))
            if not kinds.isdisjoint(_CLOSED) or (ATTENTION in kinds and is_compared):
                hidden.update(range(call.begin, index))
        return hidden

    def _add(self, index: int, call: RecordedCall) -> None:
        compared = self._paired.get(index, ())
        left = []
        for component in call.components:
            is_compared = any(component is other for other in compared)
            if component.kind and component.begin is None and not is_compared:
                left.append(component)
        has_calls_inside = call.begin < index
        if has_calls_inside and any(component.kind == ATTENTION for component in left):
            # Its dropout is a call inside of it, if there is one.
            left = [component for component in left if component.kind == ATTENTION]
        placed = [PlacedComponent(call, component) for component in left]
        if index not in self._paired:
            self.line += placed
        elif compared:
            self.line += [index, *placed]  # such as an activation, which is a module of its own
        else:
            self.line += [*placed, index]  # what it does may be in calls inside of the counterpart


def _divide(
    ours: Sequence[RecordedCall],
    theirs: Sequence[RecordedCall],
    counterparts: Mapping[CallKey, RecordedCall],
) -> list[_Stretch]:
    """Divide the components of both sides into stretches, at counterparts."""
    numbers = {id(call): number for number, call in enumerate(theirs)}
    other_numbers: dict[int, int] = {}
    paired: dict[int, list[Component]] = {}
    paired_there: dict[int, list[Component]] = {}
    for index, call in enumerate(ours):
        other = counterparts.get(call.key)
        if other is None or id(other) not in numbers:
            continue
        number = numbers[id(other)]
        pairs = match_components(call, other)
        other_numbers[index] = number
        paired[index] = [placed.component for placed, _ in pairs]
        paired_there[number] = [placed.component for _, placed in pairs]
    line = _Side(ours, paired).line
    line_there = _Side(theirs, paired_there).line
    shown = [item for item in line if isinstance(item, int)]
    shown_there = {item for item in line_there if isinstance(item, int)}
    candidates = [index for index in shown if other_numbers[index] in shown_there]
    kept = _select_increasing([other_numbers[index] for index in candidates])
    ends = [candidates[position] for position in kept]
    parts = _split(line, ends)
    parts_there = _split(line_there, [other_numbers[index] for index in ends])
    stretches = []
    keys = [*(ours[index].key for index in ends), None]
    for key, part, part_there in zip(keys, parts, parts_there, strict=True):
        stretches.append(_Stretch(part, part_there, key))
    return stretches


def _split(
    line: Sequence[PlacedComponent | int], ends: Sequence[int]
) -> list[list[PlacedComponent]]:
    parts: list[list[PlacedComponent]] = [[]]
    left = list(ends)
    for item in line:
        if isinstance(item, PlacedComponent):
            parts[-1].append(item)
        elif left and item == left[0]:
            left.pop(0)
            parts.append([])
    return parts


def _select_increasing(numbers: Sequence[int]) -> list[int]:
    """Select the positions of the longest increasing part: counterparts called in one order."""
    lasts: list[int] = []  # the smallest last number of a part of each length
    positions: list[int] = []
    before: list[int] = []
    for position, number in enumerate(numbers):
        length = bisect.bisect_left(lasts, number)
        if length == len(lasts):
            lasts.append(number)
            positions.append(position)
        else:
            lasts[length] = number
            positions[length] = position
        before.append(positions[length - 1] if length else -1)
    selected = []
    position = positions[-1] if positions else -1
    while position >= 0:
        selected.append(position)
        position = before[position]
    return selected[::-1]


def _compare_stretch(
    stretch: _Stretch, compared: ComparedSettings, *, has_fixed_sizes: bool
) -> list[tuple[str, str]]:
    """Add the differences of a stretch. Return what is not known, each with its place."""
    unknown: list[tuple[str, str]] = []
    ours = _group_by_kind(stretch.ours)
    theirs = _group_by_kind(stretch.theirs)
    reasons = []
    alone: list[PlacedComponent] = []
    alone_there: list[PlacedComponent] = []
    for kind in dict.fromkeys([*ours, *theirs]):
        here, there = _drop_what_is_off(ours.get(kind, []), theirs.get(kind, []))
        if not here or not there:
            alone += here
            alone_there += there
            compared.differences += _describe_alone(here, there)
        elif len(here) != len(there) and _are_known_rates([*here, *there]):
            compared.differences.append(_describe_numbers(here, there))
        elif len(here) != len(there):
            place = "at the end" if stretch.end is None else f"before {stretch.end}"
            for text in _describe_counts(here, there, has_fixed_sizes=has_fixed_sizes):
                unknown.append((text, place))
        else:
            for placed, other in pair_components(here, there, has_fixed_sizes=has_fixed_sizes):
                found = compare_components(placed, other, has_fixed_sizes=has_fixed_sizes)
                names = str(placed.call.key), str(other.call.key)
                for text, scope in found.texts:
                    difference = SettingDifference(text, scope, *names)
                    if not text.startswith("GELU"):  # which values identify
                        reasons.append(str(difference))
                    # Two functions in a stretch may stand at two places.
                    if not text.startswith(f"{ACTIVATION}: "):
                        compared.differences.append(difference)
                unknown += [(text, " and ".join(names)) for text in found.unknown]
    names_of_classes = describe_other_classes(alone, alone_there)
    if names_of_classes:
        ends = str(alone[0].call.key), str(alone_there[0].call.key)
        reasons += [str(SettingDifference(text, ANY, *ends)) for text in names_of_classes]
    if stretch.end is not None and reasons:
        compared.reasons[stretch.end] = reasons
    return unknown


def _group_by_kind(components: Sequence[PlacedComponent]) -> dict[str, list[PlacedComponent]]:
    groups: dict[str, list[PlacedComponent]] = {}
    for placed in components:
        groups.setdefault(placed.kind, []).append(placed)
    return groups


def _drop_what_is_off(
    ours: Sequence[PlacedComponent], theirs: Sequence[PlacedComponent]
) -> tuple[list[PlacedComponent], list[PlacedComponent]]:
    """Drop what does nothing, such as a dropout of 0, unless each has a partner with it alone."""
    on = [placed for placed in ours if not placed.is_off]
    on_there = [placed for placed in theirs if not placed.is_off]
    if len(on) != len(on_there) and len(ours) == len(theirs):
        return list(ours), list(theirs)
    return on, on_there


def _describe_alone(
    here: Sequence[PlacedComponent], there: Sequence[PlacedComponent]
) -> list[SettingDifference]:
    """Describe what one side has alone, if it changes training or the loss."""
    differences = []
    for placed in here:
        name = str(placed.call.key)
        if placed.changes_training:
            text = f"only here: {placed.describe()}"
            differences.append(SettingDifference(text, TRAINING, name))
        elif placed.kind == "mask":
            text = f"only here: {placed.describe()}, which masks steps in later layers and the loss"
            differences.append(SettingDifference(text, ONE_FRAMEWORK, name))
    for placed in there:
        is_known = placed.component.settings.get("rate") != UNKNOWN
        if placed.changes_training and is_known:
            text = f"only there: {placed.describe()}"
            differences.append(SettingDifference(text, TRAINING, like=str(placed.call.key)))
    return differences


def _are_known_rates(components: Sequence[PlacedComponent]) -> bool:
    """Say whether components change training, and all that they change is known."""
    return all(
        placed.changes_training and UNKNOWN not in placed.component.settings.values()
        for placed in components
    )


def _describe_numbers(
    here: Sequence[PlacedComponent], there: Sequence[PlacedComponent]
) -> SettingDifference:
    """Say that one side has more that changes training, such as dropouts, from which calls on."""
    counts = Counter(placed.describe() for placed in here)
    counts_there = Counter(placed.describe() for placed in there)
    names = [str(side[0].call.key) for side in (here, there)]
    text = f"{_format_counts(counts)} here, {_format_counts(counts_there)} there"
    return SettingDifference(text, TRAINING, *names)


def _describe_counts(
    here: Sequence[PlacedComponent], there: Sequence[PlacedComponent], *, has_fixed_sizes: bool
) -> list[str]:
    """Say that a stretch has other numbers of a kind, unless all of them have the same settings."""
    has_differences = here[0].changes_training
    for placed in here:
        for other in there:
            found = compare_components(placed, other, has_fixed_sizes=has_fixed_sizes)
            has_differences |= bool(found.texts)
    if not has_differences:
        return []
    counts = Counter(placed.component.class_name for placed in here)
    counts_there = Counter(placed.component.class_name for placed in there)
    return [f"{_format_counts(counts)} here, {_format_counts(counts_there)} there"]


def _format_counts(counts: Counter[str]) -> str:
    return " and ".join(f"{count} {name}" for name, count in counts.items())
