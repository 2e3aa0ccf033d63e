"""Pair the layers of two models, files or dicts whose automatic names differ.

Keras numbers layers without a name in the process, in the order in which they are made: `dense_7`.
The number does not show the position of a layer in its model. So two models are paired by canonical
paths. Seeds and plans use paths that keep the number.

A canonical path has the layers around a layer or a weight, from the model inwards, and its own
name. It replaces an automatic name by its rank among the layers with the same stem in the same
layer, in the order in which Keras saves:

    encoder/dense_7/kernel    encoder/dense 2 of 3/kernel    the second of three in `encoder`

A functional model has its layers in a list, in the order of their calls. Other models have them in
attributes, which Keras saves in the order of their names. The layers may have been made in another
order. So the path also has the attribute, and the rank in the order of making if it differs. A
model with `self.heads = {"query": dense, "key": dense_1}` and `self.body = dense_2` has

    dense_2    dense 1 of 3 in body made 3
    dense      dense 2 of 3 in heads.dense[query] made 1
    dense_1    dense 3 of 3 in heads.dense_1[key] made 2

Keras saves `layers` of a model like any other attribute, with the layers that no attribute before
it in the alphabet has: `layers.towers.dense`. So layers in attributes after it are in a list too,
in the order in which they were made. A file has only this list, without the kind of the model and
without the keys of dicts.
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
from keras_initx.inspection._names import AutomaticName, split_automatic_sublayer_name
from keras_initx.inspection._weights import ModelWeight

# Why weights are left. Each room says what the other side is to its users, see `Pairs.worded`.
OTHER_NUMBER = "another number of layers has this automatic name in {other}"
OTHER_ORDER = "layers with this automatic name have another order in {other}"
# Notes on layers that are paired all the same.
BY_NUMBER = "paired by number: {other} has no order"
_OURS_BY_NUMBER = BY_NUMBER.replace("{other}", "{own}")
BY_ATTRIBUTES = "paired by the order of attributes, which calls may not follow"
# A remark, made once, on all layers that a file may have in another order.
_BY_CONTAINERS = (
    "Layers of one class and equal shapes in HOLDERS are paired in the order of {own}, because "
    "{other} does not name lists and keys of dicts. Remedy: if they may have another order there, "
    "pass the saved model itself, or give the layers names."
)

# How the other side orders its layers, see `pair_by_path`.
Order: TypeAlias = Literal["saved", "tracked", "listed", "none"]
Key = TypeVar("Key", bound=Hashable)

# The list in which Keras saves layers of a model: `layers/dense_1`.
LIST = "layers"
# In place of the attribute of a layer that a file has in this list: the same attribute as in the
# model that it is loaded into; or not known, if there is one.
SAME = "="
NOT_KNOWN = "?"
_RANKED = re.compile(r"(.+) (\d+) of (\d+)(?: in (.+?))?(?: made (\d+))?")


class PathPart(NamedTuple):
    """A layer on the path to a weight, named by a model, a file or a dict.

    Attributes:
        name: Its name.
        automatic: The stem and number of this name if it is automatic.
        group: Its group in a file of Keras, in the layer around it, if known.
        attribute: The attribute that holds it, with its index in a list or key of a dict, see
            `list_attribute_layers`; empty if it is in a list in the order of calls.
        has_weights: Whether it has weights. Layers without weights are counted separately.
    """

    name: str
    automatic: AutomaticName | None = None
    group: str = ""
    attribute: str = ""
    has_weights: bool = True


class _RankedPart(NamedTuple):
    """A part of a canonical path: `dense 2 of 3 in head made 1`, or a chosen name.

    Attributes:
        name: A chosen name, or the stem of an automatic one.
        total: The number of layers of this stem, 0 for a chosen name.
        order: Its rank among them in the order of the source.
        number: Its rank among them in the order of making.
        attribute: See `PathPart`.
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
    def tracked(self) -> int:
        """Its rank among them in Keras' order of tracked layers, which also orders weights."""
        return self.number if self.attribute else self.order


def _parse_part(text: str) -> _RankedPart:
    match = _RANKED.fullmatch(text)
    if match is None:
        return _RankedPart(text)
    stem, order, total, attribute, number = match.groups()
    number = number or order
    return _RankedPart(stem, int(total), int(order) - 1, int(number) - 1, attribute or "")


def _parse_path(path: str) -> tuple[_RankedPart, ...]:
    return tuple(map(_parse_part, path.split("/")))


# The canonical paths of a model.


def layer_paths(inventory: Inventory) -> dict[keras.Layer, tuple[PathPart, ...]]:
    """List the layers that lead to each layer of a model, with this layer as the last.

    If several layers contain it, the list has the layers under which Keras saves it.
    """
    model = inventory.model
    paths: dict[keras.Layer, tuple[PathPart, ...]] = {model: ()}
    layers_of_groups = {"": model}
    attributes: dict[keras.Layer, dict[keras.Layer, list[str]]] = {}
    for layer, group in layers_by_group(model).items():
        layers_of_groups[group] = layer
        if layer is not model:
            outer_group = group.rpartition("/")[0]
            while outer_group not in layers_of_groups:
                outer_group = outer_group.rpartition("/")[0]
            outer = layers_of_groups[outer_group]
            group_in_outer = group[len(outer_group) :].removeprefix("/")
            part = _make_part(outer, layer, group_in_outer)
            if "/" in group_in_outer and not _is_in_call_list(outer, group_in_outer):
                if outer not in attributes:
                    attributes[outer] = list_attribute_layers(outer)
                attribute = _choose_attribute(group_in_outer, attributes[outer].get(layer, []))
                part = part._replace(attribute=attribute)
            paths[layer] = (*paths[outer], part)
    # Keras does not save what a layer has in a set.
    for inner in inventory.layers:
        if inner.layer not in paths:
            outer = inner.layers[-2]
            paths[inner.layer] = (*paths[outer], _make_part(outer, inner.layer, ""))
    return paths


def canonical_layer_paths(inventory: Inventory) -> dict[keras.Layer, str]:
    """Return the canonical path of each layer of a model. The path of the model itself is empty."""
    return canonicalize_paths(layer_paths(inventory))


def _make_part(outer: keras.Layer, layer: keras.Layer, group: str) -> PathPart:
    automatic = split_automatic_sublayer_name(outer, layer)
    attribute = "" if _is_in_call_list(outer, group) else group
    return PathPart(layer.name, automatic, group, attribute, has_weights=bool(layer.weights))


def _is_in_call_list(outer: keras.Layer, group: str) -> bool:
    return group.startswith(f"{LIST}/") and is_ordered_by_calls(outer)


def _choose_attribute(group: str, attributes: Sequence[str]) -> str:
    # For a layer that Keras saves in a list or a dict, `towers/dense_1`, or in `layers/dense_1`;
    # `attributes` have their keys: `towers.dense_1[query]`.
    if group.startswith(f"{LIST}/"):
        return f"{LIST}/{attributes[0] if attributes else ''}"
    return next((path for path in attributes if _strip_keys(path) == group), group)


_KEY = re.compile(r"\[[^\]]*\]")


def _strip_keys(attribute: str) -> str:
    # Files have no keys of dicts: `towers.dense_1[query]` is `towers.dense_1` there.
    return _KEY.sub("", attribute)


def _strip_counted_names(attribute: str) -> str:
    # In a dict the key alone tells which layer it is: `towers.dense_1[query]` to `towers.[query]`.
    return re.sub(rf"[^.\[\]]+({_KEY.pattern})", r"\1", attribute)


def is_ordered_by_calls(model: keras.Layer) -> bool:
    """Return whether a model has its layers in a list, in the order of their calls."""
    return isinstance(model, keras.Sequential | keras.Function)


def canonical_weight_paths(inventory: Inventory, weights: Iterable[ModelWeight]) -> dict[str, str]:
    """Return the canonical paths of some of the weights of a model, by their paths."""
    paths_by_layer = canonical_layer_paths(inventory)
    canonical_paths = {}
    for weight in weights:
        name = weight.path.removeprefix(f"{weight.layer_paths[-1]}/")
        canonical_paths[weight.path] = f"{paths_by_layer[weight.layer]}/{name}".removeprefix("/")
    return canonical_paths


def canonicalize_paths(paths: Mapping[Key, Sequence[PathPart]]) -> dict[Key, str]:
    """Turn paths into canonical paths.

    If groups are known, layers are ranked as in Keras' files. If not, they are ranked as in
    `paths`.
    """
    texts = _canonicalize_inside("", {key: tuple(path) for key, path in paths.items()})
    return {key: texts[key] for key in paths}


def _canonicalize_inside(prefix: str, paths: Mapping[Key, tuple[PathPart, ...]]) -> dict[Key, str]:
    # `prefix` is the canonical path of a layer and "/", `paths` begin inside of this layer.
    texts: dict[Key, str] = {}
    children: dict[tuple[str, str], PathPart] = {}
    paths_by_child: dict[tuple[str, str], dict[Key, tuple[PathPart, ...]]] = {}
    for key, path in paths.items():
        if not path:
            texts[key] = prefix.removesuffix("/")
            continue
        child = path[0]
        identity = (child.name, child.group)
        children.setdefault(identity, child)
        paths_by_child.setdefault(identity, {})[key] = path[1:]
    for identity, part in zip(children, _rank_siblings(list(children.values())), strict=True):
        texts |= _canonicalize_inside(f"{prefix}{part.text}/", paths_by_child[identity])
    return texts


def _rank_siblings(siblings: Sequence[PathPart]) -> list[_RankedPart]:
    """Number the layers directly inside of one layer that share an automatic name."""
    families: dict[tuple[str, bool], list[int]] = {}
    ranked = []
    for index, sibling in enumerate(siblings):
        ranked.append(_RankedPart(sibling.name))
        if sibling.automatic is not None:
            families.setdefault((sibling.automatic.stem, sibling.has_weights), []).append(index)
    for (stem, _), family in families.items():
        in_save_order = sorted(family, key=lambda index: _save_order_key(siblings[index].group))
        in_creation_order = sorted(family, key=lambda index: _creation_number(siblings[index]))
        for order, index in enumerate(in_save_order):
            attribute = siblings[index].attribute.replace("/", ".") if len(family) > 1 else ""
            number = in_creation_order.index(index)
            ranked[index] = _RankedPart(stem, len(family), order, number, attribute)
    return ranked


def _creation_number(part: PathPart) -> int:
    return part.automatic.number if part.automatic else 0


def _save_order_key(group: str) -> Any:
    # Keras saves groups by name, and private ones last. Numbers are sorted as such. Where groups
    # are the same on both sides, so are their orders.
    names = [natural_sort_key(name) for name in group.split("/")]
    return (not group, group.startswith("_"), names)


def natural_sort_key(name: str) -> list[tuple[int, str]]:
    """Return a key that sorts names as texts in which numbers are numbers: `a9` before `a10`."""
    pieces = re.split(r"(\d+)", name)
    return [(int(piece), "") if piece.isdecimal() else (-1, piece) for piece in pieces]


def has_similar_siblings(canonical_path: str) -> bool:
    """Return whether a layer in a path is one of several with its automatic name."""
    return any(part.total > 1 for part in _parse_path(canonical_path))


def path_stems(canonical_path: str) -> tuple[str, ...]:
    """Return the names in a path, with the stem in place of each automatic name."""
    return _stems(_parse_path(canonical_path))


def shown_paths(paths: Mapping[Key, Sequence[PathPart]]) -> dict[Key, str]:
    """Return the paths that a model shows, with automatic names numbered in the order of making."""
    shown = {}
    for key, canonical_path in canonicalize_paths(paths).items():
        names = []
        for part in _parse_path(canonical_path) if canonical_path else ():
            number = f"_{part.number}" if part.total and part.number else ""
            names.append(f"{part.name}{number}")
        shown[key] = "/".join(names)
    return shown


# Two sides.


@dataclass
class Pairs:
    """Layers or weights of one side, with their counterparts on the other side.

    Attributes:
        names: The keys of the other side by the keys of this side.
        reasons: Why others have no counterpart, by the keys of this side, if names are the reason.
        notes: A doubt about a pair, by the keys of this side.
        remarks: Doubts about all pairs, in sentences.
    """

    names: dict[str, str] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    def worded(self, other: str, own: str = "the model") -> "Pairs":
        """Fill in the names of both sides in reasons, notes and remarks.

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
    """Pair the layers or weights that have the same canonical path on both sides.

    Chosen names must be equal. Layers with automatic names are paired by their attributes if both
    sides have the same attributes. If not, they are paired by their order, if both sides have as
    many.

    Args:
        ours: Canonical paths of one side, by its names.
        theirs: Canonical paths of the other side, by its names.
        order: The order of the other side. `"saved"`: as Keras saves, for a model or one of its
            files. `"tracked"`: as Keras lists weights, without attributes, for files of Keras 2.
            `"listed"`: the same, but perhaps by accident, for a dict, so that numbers must agree.
            `"none"`: numbers alone count, and a note is made.
    """
    our_parts = {name: _parse_path(path) for name, path in ours.items()}
    their_parts = {name: _parse_path(path) for name, path in theirs.items()}
    other_side = _OtherSide(our_parts.values(), their_parts, order)
    pairs = Pairs()
    # Layers of one name are paired all, or none of them.
    refused: set[_Family] = set()
    for parts in our_parts.values():
        depth = other_side.first_depth_in_another_order(parts)
        if depth is not None:
            refused.add(other_side.family(parts, depth))
    for name, parts in our_parts.items():
        families = {other_side.family(parts, depth) for depth in range(1, len(parts) + 1)}
        their_name = other_side.find_name(parts)
        if not refused.isdisjoint(families):
            pairs.reasons[name] = OTHER_ORDER
        elif their_name is not None:
            pairs.names[name] = their_name
            note = other_side.note_order(parts, their_name)
            if note:
                pairs.notes[name] = note
        elif other_side.has_another_number(parts):
            pairs.reasons[name] = OTHER_NUMBER
    return pairs


def pair_by_path_or_name(ours: Mapping[str, str], theirs: Mapping[str, str]) -> Pairs:
    """Pair by the same canonical path on both sides, or by the same name if a path is missing.

    Arrays and torch modules have names only, joined by `/` or `.`. The numbers of their automatic
    names count only if both sides have the same names.

    Args:
        ours: Canonical paths of one side by names. A missing path is the name.
        theirs: Canonical paths of the other side by names.
    """
    pairs = pair_by_path(ours, theirs)
    if _has_canonical_paths(ours) and _has_canonical_paths(theirs):
        return pairs
    our_names = {name.replace(".", "/"): name for name in ours}
    their_names = {name.replace(".", "/"): name for name in theirs}
    # One name more on a side may be a layer more.
    have_same_names = our_names.keys() == their_names.keys()
    for name, our_path in ours.items():
        their_name = name if name in theirs else their_names.get(name.replace(".", "/"))
        if name in pairs.names or their_name is None:
            continue
        is_by_number = has_similar_siblings(our_path) or has_similar_siblings(theirs[their_name])
        if is_by_number and not have_same_names:
            pairs.reasons[name] = OTHER_NUMBER
            continue
        pairs.names[name] = their_name
        if is_by_number:
            pairs.notes[name] = BY_NUMBER if _has_canonical_paths(ours) else _OURS_BY_NUMBER
    return pairs


def _has_canonical_paths(paths_by_name: Mapping[str, str]) -> bool:
    return any(name != path for name, path in paths_by_name.items())


class _Holder(NamedTuple):
    """A single attribute, a list or a key of a dict that holds layers. A file may not name it.

    Attributes:
        name: The attribute with the keys of dicts, without indices in lists: `towers[query]`.
        scope: The group whose layers of one automatic name a file orders: `layers`, or the dict.
        is_container: Whether it is no single attribute.
    """

    name: str
    scope: str
    is_container: bool


def _find_unnamed_holder(attribute: str) -> _Holder | None:
    # `None` if a file names what holds the layer: a single attribute, before `layers`.
    path = attribute.removeprefix(f"{LIST}.")
    keys = _KEY.findall(path)
    if not path or (path == attribute and not keys):
        return None
    root = _strip_keys(path).split(".")[0]
    scope = root if path == attribute else LIST
    return _Holder(urllib.parse.unquote("".join([root, *keys])), scope, path != root)


def note_containers(paths: Mapping[str, str], shapes: Mapping[str, Shape]) -> list[str]:
    """Return a sentence on layers that a file of Keras may have in another order, or an empty text.

    A file has `layers/dense_1` for a layer in a list of the model, or in a dict. Two of these whose
    layers have one class and equal shapes may have been made, or filled, in another order.

    Args:
        paths: The canonical paths of the weights of a model that are paired with arrays of the
            file, by their paths.
        shapes: The shapes of all weights, by their paths.
    """
    # By what the file orders, and by holders: the weights of each layer.
    weights: dict[Any, dict[_Holder, dict[Any, list[tuple[str, Shape]]]]] = {}
    for path, canonical_path in paths.items():
        parts = _parse_path(canonical_path)
        for index, part in enumerate(parts):
            holder = _find_unnamed_holder(part.attribute) if part.total > 1 else None
            if holder is not None:
                family = (parts[:index], part.name, holder.scope)
                weights_by_part = weights.setdefault(family, {}).setdefault(holder, {})
                inner_path = "/".join(inner_part.text for inner_part in parts[index + 1 :])
                weights_by_part.setdefault(part, []).append((inner_path, shapes[path]))
    names: dict[str, None] = {}
    for holders in weights.values():
        by_shapes: dict[Any, set[_Holder]] = {}
        for holder, weights_by_part in holders.items():
            for weights_of_layer in weights_by_part.values():
                by_shapes.setdefault(tuple(sorted(weights_of_layer)), set()).add(holder)
        for similar_holders in by_shapes.values():
            if len(similar_holders) > 1 and any(holder.is_container for holder in similar_holders):
                names |= dict.fromkeys(sorted(holder.name for holder in similar_holders))
    if not names:
        return []
    texts = truncate(list(names)).replace("{", "{{").replace("}", "}}")
    return [_BY_CONTAINERS.replace("HOLDERS", texts)]


# What of a part counts in each order: parts with equal keys are the same layer.
_KEY_FUNCTIONS: dict[Order, Callable[[_RankedPart], Any]] = {
    "saved": lambda part: (part.name, part.total, part.order),
    "tracked": lambda part: (part.name, part.total, part.tracked),
    "listed": lambda part: (part.name, part.total, part.tracked, part.number),
    "none": lambda part: (part.name, part.total, part.number),
}


# Layers inside one layer with one automatic name: the key of that layer, and the name.
_Family: TypeAlias = tuple[Any, str]


class _OtherSide:
    """The other side of a comparison, by canonical paths.

    The key of a path leaves out the parts that do not count in the order of this side.

    Args:
        ours: The canonical paths of this side.
        theirs: The canonical paths of the other side, by its names.
        order: See `pair_by_path`.
    """

    def __init__(
        self,
        ours: Iterable[tuple[_RankedPart, ...]],
        theirs: Mapping[str, tuple[_RankedPart, ...]],
        order: Order,
    ) -> None:
        self._order = order
        self._part_key = _KEY_FUNCTIONS[order]
        self._by_attribute: set[Any] = set()
        if order == "saved":
            self._find_equal_attributes(list(ours), list(theirs.values()))
        self._paths = theirs
        self._names_by_key: dict[Any, str] = {}
        self._prefixes_by_key: dict[Any, tuple[_RankedPart, ...]] = {}
        self._totals_by_stems: dict[tuple[str, ...], set[int]] = {}
        for name, parts in theirs.items():
            self._names_by_key.setdefault(self._key(parts), name)
            for depth, part in enumerate(parts, 1):
                self._prefixes_by_key.setdefault(self._key(parts[:depth]), parts[:depth])
                if part.total:
                    self._totals_by_stems.setdefault(_stems(parts[:depth]), set()).add(part.total)

    def _find_equal_attributes(
        self, ours: Sequence[tuple[_RankedPart, ...]], theirs: Sequence[tuple[_RankedPart, ...]]
    ) -> None:
        # Families whose layers have the same attributes on both sides are paired by these.
        for depth in range(max(map(len, [*ours, *theirs]), default=0)):
            our_attributes = self._attributes_by_family(ours, depth)
            their_attributes = self._attributes_by_family(theirs, depth)
            for family, attributes in our_attributes.items():
                total = family[-1]
                is_own_each = len(attributes) == total  # each layer has one of its own
                if is_own_each and attributes == their_attributes.get(family):
                    self._by_attribute.add(family)

    def _attributes_by_family(
        self, paths: Sequence[tuple[_RankedPart, ...]], depth: int
    ) -> dict[Any, set[str]]:
        attributes: dict[Any, set[str]] = {}
        for parts in paths:
            if depth < len(parts) and parts[depth].total > 1:
                part = parts[depth]
                family = (self._key(parts[:depth]), part.name, part.total)
                attributes.setdefault(family, set()).add(_strip_counted_names(part.attribute))
        return attributes

    def _key(self, parts: Iterable[_RankedPart]) -> Any:
        key: tuple[Any, ...] = ()
        for part in parts:
            if (key, part.name, part.total) in self._by_attribute:
                key = (*key, (part.name, part.total, _strip_counted_names(part.attribute)))
            else:
                key = (*key, self._part_key(part))
        return key

    def find_name(self, parts: tuple[_RankedPart, ...]) -> str | None:
        """Return the name of the counterpart with the same path, or `None`."""
        return self._names_by_key.get(self._key(parts))

    def family(self, parts: tuple[_RankedPart, ...], depth: int) -> _Family:
        """Return the parts before the part at a depth, and the name that it shares with others."""
        return self._key(parts[: depth - 1]), parts[depth - 1].name

    def first_depth_in_another_order(self, parts: tuple[_RankedPart, ...]) -> int | None:
        """Return the depth of the first part that has, or may have, another order.

        It is 1 for the outermost part, and `None` if there is no such part.
        """
        for depth, part in enumerate(parts, 1):
            their_prefix = self._prefixes_by_key.get(self._key(parts[:depth]))
            if their_prefix is None:
                totals = self._totals_by_stems.get(_stems(parts[:depth]), set())
                return depth if part.total and part.total in totals else None
            if self._order == "saved" and not _have_same_order(part, their_prefix[-1]):
                return depth
        return None

    def has_another_number(self, parts: tuple[_RankedPart, ...]) -> bool:
        """Return whether the other side has more or fewer layers of an automatic name."""
        for depth, part in enumerate(parts, 1):
            if self._key(parts[:depth]) not in self._prefixes_by_key:
                return bool(part.total and self._totals_by_stems.get(_stems(parts[:depth])))
        return False

    def note_order(self, parts: tuple[_RankedPart, ...], their_name: str) -> str | None:
        """Return a note if the order of a pair may not be the order of calls."""
        pairs = list(zip(parts, self._paths[their_name], strict=True))
        if self._order == "none" and any(part.total > 1 for part in parts):
            return BY_NUMBER
        if self._order == "saved" and not all(_have_same_attribute(*pair) for pair in pairs):
            return BY_ATTRIBUTES
        if self._order == "tracked" and any(part.attribute for part in parts):
            return BY_ATTRIBUTES
        return None


def _stems(parts: Iterable[_RankedPart]) -> tuple[str, ...]:
    return tuple(part.name for part in parts)


def _have_same_attribute(ours: _RankedPart, theirs: _RankedPart) -> bool:
    # Of layers in lists, plans of earlier versions say no more than a file does.
    if theirs.attribute in (SAME, f"{LIST}."):
        return not ours.attribute or ours.attribute.startswith(f"{LIST}.")
    if "[" in ours.attribute and "[" in theirs.attribute:
        return _strip_counted_names(ours.attribute) == _strip_counted_names(theirs.attribute)
    return _strip_keys(ours.attribute) == _strip_keys(theirs.attribute)


def _have_same_order(ours: _RankedPart, theirs: _RankedPart) -> bool:
    """Return whether attributes have the order of making of their layers.

    Attributes of one name hold the same layer in any order.
    """
    if _have_same_attribute(ours, theirs):
        return True
    are_lists = ("", NOT_KNOWN)
    return all(part.attribute in are_lists or part.number == part.order for part in (ours, theirs))
