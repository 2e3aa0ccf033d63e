"""Compare the settings of two calls, in the words of the table.

rate: 0.5 here, 0.1 there
padding: 0 before and 1 after here, 1 before and 1 after there
padding_idx=0 there: torch never trains this row, Keras does
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from keras_initx.tools.compare_outputs._components import DROPOUT, Component
from keras_initx.tools.compare_outputs._recorded import RecordedCall
from keras_initx.tools.compare_outputs._samples import Order
from keras_initx.tools.compare_outputs._settings_table import (
    ACTIVATION,
    ANY,
    EACH_CHANNEL,
    ONE_FRAMEWORK,
    SINGLE_VALUES,
    TRAINING,
    UNKNOWN,
    WHOLE_CHANNELS,
    Scope,
    Setting,
    find_scope_of_layer,
    find_settings,
    find_shared_scope,
)
from keras_initx.tools.compare_outputs._tolerance import (
    Difference,
    choose_tolerance,
    find_least_difference,
)
from keras_initx.tools.compare_outputs._windows import WINDOW_WORDS, compare_cuts, compare_windows

_WINDOWS = ("convolution", "max pooling", "average pooling")
_TRANSPOSED = "transposed convolution"
# Kinds that change values in training, unless their rate is 0.
_RATES = {
    DROPOUT: "rate",
    "alpha dropout": "rate",
    "Gaussian dropout": "rate",
    "noise": "stddev",
}
# Words of rates, of which 0 is off.
_RATE_WORDS = ("rate", "dropout", "recurrent_dropout", "stddev")
# The order of axes is found by the values of an input that differ by at most so much of their size.
# Those of two tensors that have nothing in common differ by more than 1.
_MOST_DIFFERENT = 0.1


@dataclass(frozen=True)
class SettingDifference:
    """A setting that differs between two calls.

    Attributes:
        text: The setting and both values, in words.
        scope: What it changes:

            - `"any"`: outputs, maybe only for another batch,
            - `"every batch"`: outputs of every batch, so its effect on this one was measured,
            - `"training"`: training alone,
            - `"one framework"`: the other framework has nothing like it, so it is no difference,
            - `"loss"`: a loss of Keras, if the other side does not do the same by its loss,
            - `"not known"`: an attribute of a class that the table does not have.
        path: The call here, empty if only the other side has it.
        like: The call there, empty if only this side has it.
    """

    text: str
    scope: str
    path: str = ""
    like: str = ""

    @property
    def name(self) -> str:
        """The names of both calls."""
        names = [self.path, self.like] if self.path != self.like else [self.path]
        return " and ".join(filter(None, names))

    @property
    def is_mask(self) -> bool:
        """Whether a layer of Keras masks steps, which no module of torch does."""
        return self.scope == ONE_FRAMEWORK and self.text.startswith(("mask_zero=", "only here: "))

    def __str__(self) -> str:
        return f"{self.text} ({self.name})"


class PlacedComponent(NamedTuple):
    """A component of a call."""

    call: RecordedCall
    component: Component

    @property
    def kind(self) -> str:
        """Its kind."""
        return self.component.kind

    @property
    def changes_training(self) -> bool:
        """Whether it draws random numbers in training."""
        return self.kind in _RATES

    @property
    def is_off(self) -> bool:
        """Whether it does nothing, as a dropout with a rate of 0."""
        word = _RATES.get(self.kind)
        return word is not None and self.component.settings.get(word) == 0

    def describe(self) -> str:
        """Describe it in a few words: `Dropout of 0.1`."""
        name = self.component.class_name
        if self.kind in _RATES:
            if self.kind == DROPOUT and not _is_plain(self):  # an argument of a larger layer
                name = f"dropout of {name}"
            return f"{name} of {_format_rate(self.component.settings.get(_RATES[self.kind]))}"
        if self.kind == "mask":
            return f"{name} of {self.component.settings.get('mask_value')}"
        return name


class ComponentDifferences(NamedTuple):
    """The differences of two components.

    Attributes:
        texts: The settings that differ, each with its scope.
        unknown: Settings that one side does not tell, in words.
    """

    texts: list[tuple[str, str]]
    unknown: list[str]


def compare_components(
    ours: PlacedComponent, theirs: PlacedComponent, *, has_fixed_sizes: bool
) -> ComponentDifferences:
    """Compare two components of one kind.

    Args:
        ours: A component of a call of Keras.
        theirs: Its counterpart.
        has_fixed_sizes: Whether the model gets no inputs of another size.
    """
    here = _resolve(ours)
    there = _resolve(theirs)
    if ours.is_off and theirs.is_off:
        return ComponentDifferences([], [])
    if ACTIVATION in here and ACTIVATION in there and here[ACTIVATION] != there[ACTIVATION]:
        text = f"activation: {here[ACTIVATION]} here, {there[ACTIVATION]} there"
        return ComponentDifferences([(text, ANY)], [])
    differences: list[tuple[str, str]] = []
    unknown: list[str] = []
    handled = {"data_format"}
    if ours.kind in _WINDOWS or ours.kind == _TRANSPOSED:
        handled.update(WINDOW_WORDS)
        texts = _compare_windows(ours, theirs, has_fixed_sizes=has_fixed_sizes)
        differences += [(text, ANY) for text in texts]
    for word in dict.fromkeys([*here, *there]):
        if word in handled or _is_void(word, here, there):
            continue
        setting = find_settings(ours.kind).get(word)
        neutral = None if setting is None else setting.neutral
        value, other = here.get(word, neutral), there.get(word, neutral)
        shown = word
        if word == "axis":
            counted = _map_axes(other, theirs.call, theirs.call)
            other = _map_axes(other, ours.call, theirs.call)
            value = _map_axes(value, ours.call, ours.call)
            if value is None or other is None:
                if _find_order(ours.call, theirs.call) is None:
                    unknown.append("axis, because the inputs are not known to be equal")
                continue  # the axes of both cannot be compared
            if other != counted:
                shown = "axis, counted as here"
        if _are_same(value, other):
            continue
        scope = _find_scope(ours.kind, word, setting)
        text = _format_difference(shown, value, other, ours, theirs, setting)
        if UNKNOWN in (value, other):
            unknown.append(text)
        else:
            differences.append((text, scope))
    return ComponentDifferences(differences, unknown)


def _find_scope(kind: str, word: str, setting: Setting | None) -> Scope:
    if setting is not None:
        return setting.scope
    return find_shared_scope(word) or find_scope_of_layer(kind)


def _format_difference(
    word: str,
    value: Any,
    other: Any,
    ours: PlacedComponent,
    theirs: PlacedComponent,
    setting: Setting | None,
) -> str:
    if setting is not None and setting.scope == ONE_FRAMEWORK and setting.neutral in (value, other):
        side, shown = ("there", other) if value == setting.neutral else ("here", value)
        return f"{word}={shown} {side}: {setting.effect}"
    if word == "GELU":
        return f"GELU: {value} here, {other} there"
    if word == "noise_shape":
        names = [ours.component.class_name, theirs.component.class_name]
        if names[0] != names[1]:
            word = f"{names[0]} here, {names[1]} there"
    if ours.kind == DROPOUT and word == "rate" and not (_is_plain(ours) and _is_plain(theirs)):
        word = "dropout"  # the argument of a layer that does more
    if word in _RATE_WORDS:
        return f"{word}: {_format_rate(value)} here, {_format_rate(other)} there"
    return f"{word}: {_format_setting(value)} here, {_format_setting(other)} there"


def _is_plain(placed: PlacedComponent) -> bool:
    return "dropout" in placed.component.class_name.lower()


def _resolve(placed: PlacedComponent) -> dict[str, Any]:
    """Replace settings that depend on the input, such as a group for each channel."""
    settings = dict(placed.component.settings)
    shape = _input_shape(placed.call)
    if not shape:
        return settings
    if settings.get("groups") == EACH_CHANNEL and len(shape) > 1:
        is_last = settings.get("data_format") == "channels_last"
        settings["groups"] = shape[-1] if is_last else shape[1]
    if isinstance(settings.get("noise_shape"), list):
        settings["noise_shape"] = _name_noise_shape(settings["noise_shape"], shape)
    elif "noise_shape" in settings and settings["noise_shape"] is None:
        settings["noise_shape"] = SINGLE_VALUES
    return settings


def _name_noise_shape(noise_shape: Sequence[Any], shape: Sequence[int]) -> Any:
    """Name the values that are dropped together."""
    if len(noise_shape) != len(shape):
        return list(noise_shape)
    is_shared = []
    for length, noise_length in zip(shape, noise_shape, strict=True):
        is_shared.append(noise_length == 1 and length != 1)
    if not any(is_shared):
        return SINGLE_VALUES
    if len(shape) > 2 and all(is_shared[1:-1]) and not is_shared[0] and not is_shared[-1]:
        return WHOLE_CHANNELS
    return list(noise_shape)


def _input_shape(call: RecordedCall) -> tuple[int, ...]:
    tensor = next(iter(call.inputs.values()), None)
    return () if tensor is None else tuple(tensor.shape)


def _compare_windows(
    ours: PlacedComponent, theirs: PlacedComponent, *, has_fixed_sizes: bool
) -> list[str]:
    here, there = ours.component.settings, theirs.component.settings
    if ours.kind == _TRANSPOSED:
        return compare_cuts(here, there)
    shape, shape_there = _input_shape(ours.call), _input_shape(theirs.call)
    if not shape or not shape_there:
        return []
    return compare_windows(here, there, shape, shape_there, has_fixed_sizes=has_fixed_sizes)


def _is_void(word: str, here: Mapping[str, Any], there: Mapping[str, Any]) -> bool:
    """Say whether a setting does nothing because of another one."""
    if word == "align_corners":
        return here.get("interpolation") == there.get("interpolation") == "nearest"
    if word == "noise_shape":
        return 0 in (here.get("rate"), there.get("rate"))
    if word == "merge_mode":  # code behind the layer may merge the two, which its values show
        return None in (here.get("merge_mode"), there.get("merge_mode"))
    return False


def _map_axes(axes: Any, ours: RecordedCall, theirs: RecordedCall) -> list[int] | None:
    """Map axes of the input there to axes of the input here, `None` if that is not known."""
    shape = _input_shape(theirs)
    if axes == "by rank":  # as torch chooses the axis of a softmax without `dim`
        axes = 0 if len(shape) in (0, 1, 3) else 1
    listed = axes if isinstance(axes, list) else [axes]
    if not all(isinstance(axis, int) and -len(shape) <= axis < len(shape) for axis in listed):
        return None
    listed = [axis % len(shape) for axis in listed]
    if ours is theirs:
        return sorted(listed)
    order = _find_order(ours, theirs)
    if order is None or len(order.axes) != len(shape):
        return None
    return sorted(order.axes[axis] for axis in listed)


def _find_order(ours: RecordedCall, theirs: RecordedCall) -> Order | None:
    """Find the order of the input there, `None` if its values do not show it."""
    difference = _compare_inputs(ours, theirs)
    if difference is None or difference.size > _MOST_DIFFERENT:
        return None
    return difference.order


def _compare_inputs(ours: RecordedCall, theirs: RecordedCall) -> Difference | None:
    tensor = next(iter(ours.inputs.values()), None)
    other = next(iter(theirs.inputs.values()), None)
    if tensor is None or other is None or tensor.units is None:
        return None
    return find_least_difference(tensor, other, choose_tolerance(tensor.dtype) or 0.0)


def _are_same(here: Any, there: Any) -> bool:
    here, there = _normalize(here), _normalize(there)
    if isinstance(here, float) and isinstance(there, float):
        return math.isclose(here, there, rel_tol=1e-6)
    return bool(here == there)


def _normalize(value: Any) -> Any:
    """Write a number in place of a list of the same numbers: 2 and (2, 2) are the same."""
    if isinstance(value, list | tuple):
        values = list(map(_normalize, value))
        if values and all(item == values[0] for item in values):
            return values[0]
        return values
    return value


def _format_rate(rate: Any) -> str:
    return f"{rate:g}" if isinstance(rate, int | float) else f"{rate}"


def _format_setting(value: Any) -> str:
    """Format the value of a setting."""
    return f"{_normalize(value)}"


def compare_trained(ours: RecordedCall, theirs: RecordedCall) -> list[str]:
    """Say whether the weights of two calls are trained, in words, if that differs."""
    here, there = set(ours.trained.values()), set(theirs.trained.values())
    if not here or not there or here == there:
        return []
    return [f"weights: {_describe_trained(ours)} here, {_describe_trained(theirs)} there"]


def _describe_trained(call: RecordedCall) -> str:
    values = set(call.trained.values())
    if len(values) == 1:
        return "trained" if values.pop() else "frozen"
    frozen = [name for name, is_trained in call.trained.items() if not is_trained]
    return f"trained but for {' and '.join(frozen)}"


def pair_components(
    ours: Sequence[PlacedComponent],
    theirs: Sequence[PlacedComponent],
    *,
    has_fixed_sizes: bool,
) -> list[tuple[PlacedComponent, PlacedComponent]]:
    """Pair components of one kind, of which there are as many on both sides.

    They are pairs in their order, if no other pairs have fewer differences. Both sides may call
    them in another order: then components with equal settings are pairs, and the others in their
    order.
    """

    def is_equal(placed: PlacedComponent, other: PlacedComponent) -> bool:
        found = compare_components(placed, other, has_fixed_sizes=has_fixed_sizes)
        return not found.texts and not found.unknown

    in_order = list(zip(ours, theirs, strict=True))
    left = list(theirs)
    equal_pairs = []
    unpaired = []
    for placed in ours:
        equal = next((other for other in left if is_equal(placed, other)), None)
        if equal is None:
            unpaired.append(placed)
        else:
            equal_pairs.append((placed, equal))
            left.remove(equal)
    if sum(is_equal(*pair) for pair in in_order) >= len(equal_pairs):
        return in_order
    return [*equal_pairs, *zip(unpaired, left, strict=True)]


def compare_calls(
    ours: RecordedCall, theirs: RecordedCall, *, is_same_framework: bool, has_fixed_sizes: bool
) -> ComponentDifferences:
    """Compare the settings of a call with those of its counterpart.

    Args:
        ours: A call of Keras.
        theirs: Its counterpart.
        is_same_framework: Whether the counterpart is of Keras too.
        has_fixed_sizes: Whether the model gets no inputs of another size.
    """
    differences: list[tuple[str, str]] = []
    unknown: list[str] = []
    words: set[str] = set()
    for placed, other in match_components(ours, theirs):
        found = compare_components(placed, other, has_fixed_sizes=has_fixed_sizes)
        differences += found.texts
        unknown += found.unknown
        words |= placed.component.settings.keys() | {placed.kind}
    differences += [(text, TRAINING) for text in compare_trained(ours, theirs)]
    if is_same_framework and ours.kind == theirs.kind:
        for word, value in ours.settings.items():
            other_value = theirs.settings.get(word, UNKNOWN)
            if word in words or other_value == UNKNOWN or _are_same(value, other_value):
                continue
            text = f"{word}: {_format_setting(value)} here, {_format_setting(other_value)} there"
            differences.append((text, "not known"))
    return ComponentDifferences(list(dict.fromkeys(differences)), list(dict.fromkeys(unknown)))


def match_components(
    ours: RecordedCall, theirs: RecordedCall
) -> list[tuple[PlacedComponent, PlacedComponent]]:
    """Match the components of two calls that are counterparts, by kind in their order."""
    left = [PlacedComponent(theirs, component) for component in theirs.components]
    pairs = []
    for component in ours.components:
        for other in left:
            if component.kind and other.kind == component.kind and other.component.begin is None:
                pairs.append((PlacedComponent(ours, component), other))
                left.remove(other)
                break
    return pairs


def describe_other_classes(
    ours: Sequence[PlacedComponent], theirs: Sequence[PlacedComponent]
) -> list[str]:
    """Say that one side has a layer where the other has one of another kind."""
    if len(ours) != 1 or len(theirs) != 1 or not ours[0].kind or not theirs[0].kind:
        return []
    names = [ours[0].component.class_name, theirs[0].component.class_name]
    return [] if names[0] == names[1] else [f"{names[0]} here, {names[1]} there"]
