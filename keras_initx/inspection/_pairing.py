"""Which layers with automatic names of one model, file or dict are those of another.

Keras numbers layers without a name in the process, in the order in which they are made. The number
says nothing of the place of a layer in its model, so two models are paired by another key: a place.
Seeds and plans know weights by their paths, in which the number stays.

A place is a text with the layers around a layer or a weight, from the model inwards, and its own
name. In place of an automatic name it says which layer of this name it is, of those in the layer
around it, in the order in which Keras saves: `encoder/dense 2 of 3/kernel`. A functional model has
its layers in a list, in the order of their calls, and other models in attributes. Keras saves
attributes in the order of their names, which may be another one than that in which they were made:
so the attribute stands there too, and the number of the layer among these where it differs:
`dense 2 of 3 in head made 1`. A layer in a list or a dict has its place there, and its key:
`dense 2 of 3 in towers.dense_1[query]`.

`layers` of a model is an attribute like others, with what is not in those before it in the
alphabet. So those behind it are in a list too, in the order in which they were made. A file has
the list alone, which does not say of which kind its model was, and no keys of dicts.
"""

import re
import urllib.parse
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeAlias, TypeVar

import keras

from keras_initx._checks import truncate
from keras_initx._keras import layers_by_group, list_attribute_layers
from keras_initx._typing import Shape
from keras_initx.inspection._inventory import Inventory
from keras_initx.inspection._names import split_automatic_part_name
from keras_initx.inspection._weights import ModelWeight

# Why weights are left. Each room says what the other side is to its users, see `Pairs.worded`.
OTHER_NUMBER = "automatic names, and another number of such layers in {other}"
OTHER_ORDER = "automatic names, which have another order in {other}"
# What is said of layers that are paired all the same.
BY_NUMBER = "paired by number: {other} has no order"
_OWN_BY_NUMBER = BY_NUMBER.replace("{other}", "{own}")
BY_ATTRIBUTES = "paired by the order of attributes, which calls may not have"
# What is said once of all layers that a file may have in another order.
_BY_CONTAINERS = (
    "Paired in the order of {own}: layers of one class and equal shapes in HOLDERS, because "
    "{other} does not name lists and keys of dicts. If they may have another order there, pass the "
    "saved model itself, or give the layers names."
)

# How the other side orders its layers, see `paired`.
Order: TypeAlias = Literal["saved", "tracked", "listed", "none"]
Key = TypeVar("Key", bound=Hashable)

# The list in which Keras saves layers of a model.
LIST = "layers"
# What stands for the attribute of a layer that a file has in this list: the same as in the model
# that it is loaded into, or not known, if there is one.
SAME = "="
NOT_KNOWN = "?"
_STEP = re.compile(r"(.+) (\d+) of (\d+)(?: in (.+?))?(?: made (\d+))?")


class PathPart(NamedTuple):
    """A layer on the way to a weight, as a model, a file or a dict names it.

    Attributes:
        name: Its name.
        automatic: The stem and number of this name if it is automatic.
        group: Where Keras saves it in the layer around it, as far as that is known.
        attribute: The attribute that holds it, with its place in a list or dict, see
            `list_attribute_layers`; empty if it is in a list in the order of calls.
        has_weights: Whether it has weights. The others are counted by themselves.
    """

    name: str
    automatic: tuple[str, int] | None = None
    group: str = ""
    attribute: str = ""
    has_weights: bool = True


class _Step(NamedTuple):
    """A part of a place.

    Attributes:
        name: A chosen name, or the stem of an automatic one.
        total: How many layers of this stem there are, 0 for a chosen name.
        order: Which of them it is in the order of the source.
        number: Which of them it is in the order in which they were made.
        attribute: See `Part`.
    """

    name: str
    total: int = 0
    order: int = 0
    number: int = 0
    attribute: str = ""

    @property
    def text(self) -> str:
        if not self.total:
            return self.name
        text = f"{self.name} {self.order + 1} of {self.total}"
        if self.attribute:
            text += f" in {self.attribute}"
        if self.number != self.order:
            text += f" made {self.number + 1}"
        return text

    @property
    def listed(self) -> int:
        """Which it is in the order in which Keras tracks layers, and lists their weights."""
        return self.number if self.attribute else self.order


def _step_of(text: str) -> _Step:
    found = _STEP.fullmatch(text)
    if found is None:
        return _Step(text)
    stem, order, count, attribute, number = found.groups()
    number = number or order
    return _Step(stem, int(count), int(order) - 1, int(number) - 1, attribute or "")


def _steps_of(place: str) -> tuple[_Step, ...]:
    return tuple(map(_step_of, place.split("/")))


# The places of a model.


def layer_paths(inventory: Inventory) -> dict[keras.Layer, tuple[PathPart, ...]]:
    """Return each layer of a model with what leads to it: the layers around it, and itself.

    These are the layers in which Keras saves it, where it is in several.
    """
    model = inventory.model
    found: dict[keras.Layer, tuple[PathPart, ...]] = {model: ()}
    by_group = {"": model}
    paths_in: dict[keras.Layer, dict[keras.Layer, list[str]]] = {}
    for layer, group in layers_by_group(model).items():
        by_group[group] = layer
        if layer is not model:
            outer = group.rpartition("/")[0]
            while outer not in by_group:
                outer = outer.rpartition("/")[0]
            around = by_group[outer]
            own_group = group[len(outer) :].removeprefix("/")
            part = _part_of(around, layer, own_group)
            if "/" in own_group and not _is_in_list_of_calls(around, own_group):
                if around not in paths_in:
                    paths_in[around] = list_attribute_layers(around)
                part = part._replace(
                    attribute=_attribute(own_group, paths_in[around].get(layer, []))
                )
            found[layer] = (*found[around], part)
    # Keras does not save what a layer has in a set.
    for one in inventory.layers:
        if one.layer not in found:
            outer_layer = one.layers[-2]
            found[one.layer] = (*found[outer_layer], _part_of(outer_layer, one.layer, ""))
    return found


def places_of(inventory: Inventory) -> dict[keras.Layer, str]:
    """Return the place of each layer of a model. That of the model itself is empty."""
    return canonicalize_paths(layer_paths(inventory))


def _part_of(around: keras.Layer, layer: keras.Layer, group: str) -> PathPart:
    automatic = split_automatic_part_name(around, layer)
    attribute = "" if _is_in_list_of_calls(around, group) else group
    return PathPart(layer.name, automatic, group, attribute, has_weights=bool(layer.weights))


def _is_in_list_of_calls(around: keras.Layer, group: str) -> bool:
    return group.startswith(f"{LIST}/") and is_ordered_by_calls(around)


def _attribute(group: str, paths: Sequence[str]) -> str:
    """Return what holds a layer that Keras saves in a list or a dict, or in `layers`."""
    if group.startswith(f"{LIST}/"):
        return f"{LIST}/{paths[0] if paths else ''}"
    return next((path for path in paths if _as_saved(path) == group), group)


_KEY = re.compile(r"\[[^\]]*\]")


def _as_saved(attribute: str) -> str:
    """Return an attribute without the keys of dicts, which files do not have."""
    return _KEY.sub("", attribute)


def _as_known(attribute: str) -> str:
    """Return an attribute with the keys of dicts alone, without what is counted in these."""
    return re.sub(rf"[^.\[\]]+({_KEY.pattern})", r"\1", attribute)


def is_ordered_by_calls(model: keras.Layer) -> bool:
    """Return whether a model has its layers in a list, in the order in which they are called."""
    return isinstance(model, keras.Sequential | keras.Function)


def canonical_weight_paths(inventory: Inventory, weights: Iterable[ModelWeight]) -> dict[str, str]:
    """Return the places of some of the weights of a model by their paths."""
    places = places_of(inventory)
    found = {}
    for weight in weights:
        name = weight.path.removeprefix(f"{weight.layer_paths[-1]}/")
        found[weight.path] = f"{places[weight.layer]}/{name}".removeprefix("/")
    return found


def canonicalize_paths(paths: Mapping[Key, Sequence[PathPart]]) -> dict[Key, str]:
    """Return the places of what lies at these paths.

    The order is that of Keras' files where groups are known, and otherwise that of the paths.
    """
    found: dict[Key, str] = {}
    for key, parts in paths.items():
        if not parts:
            found[key] = ""
    _place("", {key: tuple(parts) for key, parts in paths.items() if parts}, found)
    return {key: found[key] for key in paths}


def _place(prefix: str, paths: Mapping[Key, tuple[PathPart, ...]], found: dict[Key, str]) -> None:
    """Add the places of what lies at paths within a layer, whose own place is `prefix`."""
    inside: dict[tuple[str, str], dict[Key, tuple[PathPart, ...]]] = {}
    firsts: dict[tuple[str, str], PathPart] = {}
    for key, parts in paths.items():
        first = parts[0]
        identity = (first.name, first.group)
        firsts.setdefault(identity, first)
        inside.setdefault(identity, {})[key] = parts[1:]
    for identity, step in zip(firsts, _steps(list(firsts.values())), strict=True):
        place = f"{prefix}{step.text}"
        for key, rest in inside[identity].items():
            if not rest:
                found[key] = place
        deeper = {key: rest for key, rest in inside[identity].items() if rest}
        if deeper:
            _place(f"{place}/", deeper, found)


def _steps(parts: Sequence[PathPart]) -> list[_Step]:
    """Return the steps of layers that are directly inside one."""
    families: dict[tuple[str, bool], list[int]] = {}
    steps = []
    for place, part in enumerate(parts):
        steps.append(_Step(part.name))
        if part.automatic is not None:
            families.setdefault((part.automatic[0], part.has_weights), []).append(place)
    for (stem, _), family in families.items():
        in_order = sorted(family, key=lambda place: _saving_key(parts[place].group))
        as_made = sorted(family, key=lambda place: _number_of(parts[place]))
        for order, place in enumerate(in_order):
            attribute = parts[place].attribute.replace("/", ".") if len(family) > 1 else ""
            steps[place] = _Step(stem, len(family), order, as_made.index(place), attribute)
    return steps


def _number_of(part: PathPart) -> int:
    return part.automatic[1] if part.automatic else 0


def _saving_key(group: str) -> Any:
    """Return a key that sorts groups as Keras saves them: by name, and private ones last.

    Numbers are sorted as such. Where groups are the same on both sides, so are their orders.
    """
    names = [natural_sort_key(name) for name in group.split("/")]
    return (not group, group.startswith("_"), names)


def natural_sort_key(name: str) -> list[tuple[int, str]]:
    """Return a key that sorts names as texts in which numbers are numbers."""
    parts = re.split(r"(\d+)", name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def has_similar_siblings(place: str) -> bool:
    """Return whether there is another layer with an automatic name where one stands in a place."""
    return any(step.total > 1 for step in _steps_of(place))


def path_stems(place: str) -> tuple[str, ...]:
    """Return the names in a place, of automatic ones without what tells such layers apart."""
    return _stems(_steps_of(place))


def shown_paths(paths: Mapping[Key, Sequence[PathPart]]) -> dict[Key, str]:
    """Return the same paths as a model shows them, with automatic names numbered as made."""
    found = {}
    for key, place in canonicalize_paths(paths).items():
        names = []
        for step in _steps_of(place) if place else ():
            number = f"_{step.number}" if step.total and step.number else ""
            names.append(f"{step.name}{number}")
        found[key] = "/".join(names)
    return found


# Two sides.


@dataclass
class Pairs:
    """What of one side is what of the other.

    Attributes:
        names: The keys of the other side by those of this one.
        reasons: Why others are left, by the keys of this side, as far as names are to blame.
        notes: What is to be said of a pair, by the keys of this side.
        remarks: What is to be said of all, in sentences.
    """

    names: dict[str, str] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    def worded(self, other: str, own: str = "the model") -> "Pairs":
        """Return the same pairs with reasons and notes that name both sides.

        Args:
            other: The other side, in words.
            own: This side.
        """
        reasons = {key: text.format(other=other, own=own) for key, text in self.reasons.items()}
        notes = {key: text.format(other=other, own=own) for key, text in self.notes.items()}
        remarks = [text.format(other=other, own=own) for text in self.remarks]
        return Pairs(self.names, reasons, notes, remarks)


def pair_by_path(
    ours: Mapping[str, str], theirs: Mapping[str, str], *, order: Order = "saved"
) -> Pairs:
    """Pair what has the same place on both sides.

    Chosen names must be equal. Layers with automatic names are the same by their attributes if both
    sides have the same ones, and otherwise by their place, if both have as many of them.

    Args:
        ours: Places of one side.
        theirs: Places of the other side.
        order: How the other side is ordered: `"saved"` as Keras saves, a model or one of its
            files; `"tracked"` as Keras lists weights, without attributes, as files of Keras 2;
            `"listed"` the same, but perhaps by accident, as a dict, so that numbers must agree;
            `"none"`, so that numbers alone count, and a note says so.
    """
    steps = {name: _steps_of(place) for name, place in ours.items()}
    sides = _Sides(
        steps.values(), {name: _steps_of(place) for name, place in theirs.items()}, order
    )
    pairs = Pairs()
    # Layers of one name are paired all, or none of them.
    refused: set[_Family] = set()
    for name in steps:
        end = sides.end_in_another_order(steps[name])
        if end is not None:
            refused.add(sides.family(steps[name], end))
    for name, own in steps.items():
        is_refused = any(sides.family(own, end) in refused for end in range(1, len(own) + 1))
        other = sides.other(own)
        if is_refused:
            pairs.reasons[name] = OTHER_ORDER
        elif other is not None:
            pairs.names[name] = other
            note = sides.note(own, other)
            if note:
                pairs.notes[name] = note
        elif sides.have_another_number(own):
            pairs.reasons[name] = OTHER_NUMBER
    return pairs


def pair_by_path_or_name(ours: Mapping[str, str], theirs: Mapping[str, str]) -> Pairs:
    """Pair what has the same place on both sides, or the same name where one has no places.

    Arrays and modules of torch have names alone, which are joined by `/` or `.`. Of automatic names
    these are numbers, which count only where both sides have the same.

    Args:
        ours: Places of one side by names. Without a place, it is the name.
        theirs: The same of the other side.
    """
    pairs = pair_by_path(ours, theirs)
    if _have_places(ours) and _have_places(theirs):
        return pairs
    own_names = {name.replace(".", "/"): name for name in ours}
    other_names = {name.replace(".", "/"): name for name in theirs}
    # One name more on a side may be a layer more.
    are_same = own_names.keys() == other_names.keys()
    for name, own in ours.items():
        other = name if name in theirs else other_names.get(name.replace(".", "/"))
        if name in pairs.names or other is None:
            continue
        is_by_number = has_similar_siblings(own) or has_similar_siblings(theirs[other])
        if is_by_number and not are_same:
            pairs.reasons[name] = OTHER_NUMBER
            continue
        pairs.names[name] = other
        if is_by_number:
            pairs.notes[name] = BY_NUMBER if _have_places(ours) else _OWN_BY_NUMBER
    return pairs


def _have_places(side: Mapping[str, str]) -> bool:
    return any(name != place for name, place in side.items())


class _Holder(NamedTuple):
    """A single attribute, a list or a key of a dict that holds layers, as a file may not name it.

    Attributes:
        name: The attribute with the keys of dicts, without places in lists: `towers[query]`.
        scope: Within which layers of one automatic name a file orders it: `layers`, or the dict.
        is_container: Whether it is no single attribute.
    """

    name: str
    scope: str
    is_container: bool


def _unnamed_holder(attribute: str) -> _Holder | None:
    """Return what holds a layer if a file does not name it."""
    path = attribute.removeprefix(f"{LIST}.")
    keys = _KEY.findall(path)
    if not path or (path == attribute and not keys):
        return None
    root = _as_saved(path).split(".")[0]
    scope = root if path == attribute else LIST
    return _Holder(urllib.parse.unquote("".join([root, *keys])), scope, path != root)


def note_containers(places: Mapping[str, str], shapes: Mapping[str, Shape]) -> list[str]:
    """Return a sentence on layers that a file of Keras may have in another order, or none.

    A file has `layers/dense_1` for a layer in a list of the model, or in a dict. Two of these whose
    layers have one class and equal shapes may have been made, or filled, in another order.

    Args:
        places: The places of the weights of a model that are paired with arrays of the file.
        shapes: Their shapes.
    """
    # The weights of each layer, by what the file orders, by holders.
    weights: dict[Any, dict[_Holder, dict[Any, list[tuple[str, Shape]]]]] = {}
    for path, place in places.items():
        steps = _steps_of(place)
        for end, step in enumerate(steps):
            holder = _unnamed_holder(step.attribute) if step.total > 1 else None
            if holder is not None:
                family = (steps[:end], step.name, holder.scope)
                layers = weights.setdefault(family, {}).setdefault(holder, {})
                inner = "/".join(one.text for one in steps[end + 1 :])
                layers.setdefault(step, []).append((inner, shapes[path]))
    names: dict[str, None] = {}
    for holders in weights.values():
        by_shapes: dict[Any, set[_Holder]] = {}
        for holder, layers in holders.items():
            for inside in layers.values():
                by_shapes.setdefault(tuple(sorted(inside)), set()).add(holder)
        for alike in by_shapes.values():
            if len(alike) > 1 and any(holder.is_container for holder in alike):
                names |= dict.fromkeys(sorted(holder.name for holder in alike))
    if not names:
        return []
    texts = truncate(list(names)).replace("{", "{{").replace("}", "}}")
    return [_BY_CONTAINERS.replace("HOLDERS", texts)]


_KEYS: dict[Order, Callable[[_Step], Any]] = {
    "saved": lambda step: (step.name, step.total, step.order),
    "tracked": lambda step: (step.name, step.total, step.listed),
    "listed": lambda step: (step.name, step.total, step.listed, step.number),
    "none": lambda step: (step.name, step.total, step.number),
}


# What leads to layers with one automatic name, and this name.
_Family: TypeAlias = tuple[Any, str]


class _Sides:
    """The other side, and how one side is compared with it."""

    def __init__(
        self,
        ours: Iterable[tuple[_Step, ...]],
        theirs: Mapping[str, tuple[_Step, ...]],
        order: Order,
    ) -> None:
        self._order = order
        self._key_of = _KEYS[order]
        self._by_attribute: set[Any] = set()
        if order == "saved":
            self._find_equal_attributes(list(ours), list(theirs.values()))
        self._steps = theirs
        self._names: dict[Any, str] = {}
        self._around: dict[Any, tuple[_Step, ...]] = {}
        self._counts: dict[tuple[str, ...], set[int]] = {}
        for name, steps in self._steps.items():
            self._names.setdefault(self._key(steps), name)
            for end, step in enumerate(steps, 1):
                self._around.setdefault(self._key(steps[:end]), steps[:end])
                if step.total:
                    self._counts.setdefault(_stems(steps[:end]), set()).add(step.total)

    def _find_equal_attributes(
        self, ours: Sequence[tuple[_Step, ...]], theirs: Sequence[tuple[_Step, ...]]
    ) -> None:
        """Note the layers of one automatic name that have the same attributes on both sides."""
        for depth in range(max(map(len, [*ours, *theirs]), default=0)):
            attributes: list[dict[Any, set[str]]] = [{}, {}]
            for by_family, side in zip(attributes, (ours, theirs), strict=True):
                for steps in side:
                    if depth < len(steps) and steps[depth].total > 1:
                        family = (self._key(steps[:depth]), steps[depth].name, steps[depth].total)
                        by_family.setdefault(family, set()).add(_as_known(steps[depth].attribute))
            for family, known in attributes[0].items():
                # Each layer has one of its own.
                if known == attributes[1].get(family) and len(known) == family[-1]:
                    self._by_attribute.add(family)

    def _key(self, steps: Iterable[_Step]) -> Any:
        key: tuple[Any, ...] = ()
        for step in steps:
            if (key, step.name, step.total) in self._by_attribute:
                key = (*key, (step.name, step.total, _as_known(step.attribute)))
            else:
                key = (*key, self._key_of(step))
        return key

    def other(self, steps: tuple[_Step, ...]) -> str | None:
        """Return the name of what is at the same place, or `None` if there is nothing."""
        return self._names.get(self._key(steps))

    def family(self, steps: tuple[_Step, ...], end: int) -> _Family:
        """Return what leads to one of the steps, and the name that it shares with others."""
        return self._key(steps[: end - 1]), steps[end - 1].name

    def end_in_another_order(self, steps: tuple[_Step, ...]) -> int | None:
        """Return the number of steps to the first that has another order, or perhaps has it."""
        for end, step in enumerate(steps, 1):
            around = self._around.get(self._key(steps[:end]))
            if around is None:
                counts = self._counts.get(_stems(steps[:end]), set())
                return end if step.total and step.total in counts else None
            if self._order == "saved" and not _have_one_order(step, around[-1]):
                return end
        return None

    def have_another_number(self, steps: tuple[_Step, ...]) -> bool:
        """Return whether the other side has more or fewer layers of an automatic name."""
        for end, step in enumerate(steps, 1):
            if self._key(steps[:end]) not in self._around:
                return bool(step.total and self._counts.get(_stems(steps[:end])))
        return False

    def note(self, steps: tuple[_Step, ...], other: str) -> str | None:
        """Return what is to be said of a pair: that its order is not that of calls."""
        pairs = list(zip(steps, self._steps[other], strict=True))
        if self._order == "none" and any(step.total > 1 for step in steps):
            return BY_NUMBER
        if self._order == "saved" and not all(_have_one_attribute(*pair) for pair in pairs):
            return BY_ATTRIBUTES
        if self._order == "tracked" and any(step.attribute for step in steps):
            return BY_ATTRIBUTES
        return None


def _stems(steps: Iterable[_Step]) -> tuple[str, ...]:
    return tuple(step.name for step in steps)


def _have_one_attribute(own: _Step, other: _Step) -> bool:
    # Of layers in lists, plans of earlier versions say no more than a file does.
    if other.attribute in (SAME, f"{LIST}."):
        return not own.attribute or own.attribute.startswith(f"{LIST}.")
    if "[" in own.attribute and "[" in other.attribute:
        return _as_known(own.attribute) == _as_known(other.attribute)
    return _as_saved(own.attribute) == _as_saved(other.attribute)


def _have_one_order(own: _Step, other: _Step) -> bool:
    """Return whether attributes have the order in which their layers were made.

    Those of one name are the same layer in any order.
    """
    if _have_one_attribute(own, other):
        return True
    are_lists = ("", NOT_KNOWN)
    return all(step.attribute in are_lists or step.number == step.order for step in (own, other))
