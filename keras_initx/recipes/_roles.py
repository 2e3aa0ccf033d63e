"""The role of each weight of a model, and which source shows it.

The sources have one order, the weakest first. A later source replaces the role that an earlier one
gave, if it sees more:

    dense_1/kernel    its own name            -> "kernel"
                      a branch in the graph   -> "outer"

First each weight is read by itself, then in the blocks of the model. If the names of the model show
each branch, the names count in blocks, and the graph adds only what no name shows.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from keras_initx.inspection._architecture import Architecture, read_architecture
from keras_initx.inspection._inventory import Inventory
from keras_initx.recipes._by_graph import ByGraph
from keras_initx.recipes._by_names import ByNames, find_role_by_path, list_parts
from keras_initx.recipes._features import Feature, list_features
from keras_initx.recipes._parts import Doubt, Part, Role, Roles

# What a weight of a role is too.
_WIDER: dict[str, tuple[str, ...]] = {
    "up": ("inner",),
    "gate and up": ("gate", "inner"),
}


class _SourceOfWeight(NamedTuple):
    """A source that reads a weight by itself.

    Attributes:
        words: What it is, as the row of a plan says it.
        read: Returns the weight with another role, or as it is.
    """

    words: str
    read: Callable[[Part, Architecture], Part]


class _SourceInBlocks(NamedTuple):
    """A source that reads the weights in the blocks of a model.

    Attributes:
        words: What it is, as the row of a plan says it.
        read: Returns the roles that it changes, by path, given all roles before it.
    """

    words: str
    read: Callable[["_Readers", Mapping[str, Role]], Mapping[str, Role]]


class _Readers(NamedTuple):
    """The readers of a model.

    Attributes:
        names: Reads roles from names.
        graph: Reads roles from the graph.
        is_followed: Whether the whole graph is known.
        is_named: Whether the names show the kernels that end branches.
    """

    names: ByNames
    graph: ByGraph
    is_followed: bool
    is_named: bool

    @property
    def graph_adds(self) -> bool:
        """Whether the graph gives roles, if only those that no name shows."""
        return not self.is_named or (self.is_followed and self.graph.has_branches)


def find_roles(inventory: Inventory) -> Roles:
    """Find the role of each weight of a built model.

    Names show the kernels that end branches if two things hold: the model has the names of the
    table, and the graph shows no other ends, as far as it can be followed. The graph shows the
    number of branches. If the graph cannot be followed, names show the number too, provided that
    each kernel of a block has a role by name.

    Args:
        inventory: The layers and weights of a built model.
    """
    found = read_architecture(inventory.model)
    parts = [_read_weight(part, found) for part in list_parts(inventory.weights)]
    has: dict[object, list[str]] = {}
    has.update(list_features(inventory, found).items())
    names, graph = ByNames(parts), ByGraph(inventory, parts, found)
    is_followed = not found.hidden
    is_named = names.tells(graph.find_ends(), graph.find_outputs(), is_followed=is_followed)
    roles = _read_blocks(parts, _Readers(names, graph, is_followed, is_named))
    if not is_named:
        reading = graph.count_blocks_and_branches(roles)
    elif is_followed:
        reading = graph.count_with_names(roles, names.ends)
    else:
        reading = names.count(roles, hidden=graph.list_hidden(), unseen=graph.describe_hidden())
    doubts = dict(reading.doubts)
    for text in found.loops:
        doubts[Doubt.LENGTHS] = f"layers called in a loop: {text}"
    if not found.is_placement_seen:
        doubts[Doubt.PLACEMENT] = (
            f"a place of normalizations that is not seen in {graph.describe_hidden()}"
        )
    if not (is_followed or Feature.SELU in has):
        doubts[Doubt.ACTIVATIONS] = f"activations that are not seen in {graph.describe_hidden()}"
    held = graph.count_kernels_held()
    final = []
    for part in parts:
        role = reading.roles[part.weight.path]
        number = 2 if role.name == "gate and up" else held.get(id(part.weight.variable), 1)
        final.append(replace(part, role=role, kernels=number))
        for name in (role.name, *_WIDER.get(role.name, ())):
            has.setdefault(name, []).append(part.weight.path)
    return Roles(
        model=inventory.model,
        parts=final,
        has=has,
        doubts={**doubts, **_doubts_on_time_steps(final)},
        notes=reading.notes,
        is_by_graph=reading.is_by_graph,
        unseen=graph.describe_hidden(),
    )


def _read_weight(part: Part, found: Architecture) -> Part:
    """Read the role of a weight by itself, from one source after another."""
    for source in _SOURCES_OF_WEIGHTS:
        after = source.read(part, found)
        if after is not part or not part.role.source:
            part = replace(after, role=replace(after.role, source=source.words))
    return part


def _read_blocks(parts: Sequence[Part], readers: _Readers) -> dict[str, Role]:
    """Read the roles in the blocks of a model, from one source after another."""
    roles = {part.weight.path: part.role for part in parts}
    for source in _SOURCES_IN_BLOCKS:
        for path, role in source.read(readers, roles).items():
            before = roles[path]
            words = before.source if role.name == before.name else source.words
            roles[path] = replace(role, source=words)
    return roles


# The sources of a weight by itself.


def _read_own_name(part: Part, found: Architecture) -> Part:
    return part  # its first role is its kind by its own name


def _read_path(part: Part, found: Architecture) -> Part:
    name = find_role_by_path(part.weight)
    return part if name is None else replace(part, role=Role(name))


def _read_chosen_rows(part: Part, found: Architecture) -> Part:
    """Read that a weight is a table, if inputs choose its rows, whatever its name is."""
    is_table = any(part.weight.variable is table for table in found.looked_up)
    if not is_table or part.by_name != "kernel":
        return part
    is_label = any(part.weight.variable is table for table in found.labels)
    return replace(part, role=Role("embeddings" if is_label else "tokens"), by_name="embeddings")


# The sources in blocks. If names show the ends of branches, the graph gives no role in branches,
# except to what modulates them.


def _read_own_names(readers: _Readers, roles: Mapping[str, Role]) -> Mapping[str, Role]:
    return {} if readers.is_named else readers.graph.read_own_names(roles)


def _read_paths(readers: _Readers, roles: Mapping[str, Role]) -> Mapping[str, Role]:
    return readers.names.roles() if readers.is_named else readers.graph.read_paths(roles)


def _read_tokens(readers: _Readers, roles: Mapping[str, Role]) -> Mapping[str, Role]:
    return {} if readers.is_named else readers.graph.read_tokens(roles)


def _read_branches(readers: _Readers, roles: Mapping[str, Role]) -> Mapping[str, Role]:
    if not readers.is_named:
        return readers.graph.read_branches(roles)
    return readers.graph.read_named_branches(roles) if readers.graph_adds else {}


def _read_shortcuts(readers: _Readers, roles: Mapping[str, Role]) -> Mapping[str, Role]:
    return {} if readers.is_named else readers.graph.read_shortcuts(roles)


def _read_gates(readers: _Readers, roles: Mapping[str, Role]) -> Mapping[str, Role]:
    return readers.graph.read_gates(roles) if readers.graph_adds else {}


def _read_ends_of_model(readers: _Readers, roles: Mapping[str, Role]) -> Mapping[str, Role]:
    graph = readers.graph
    if not (readers.is_followed and graph.has_branches):
        return {}
    if readers.is_named:
        return graph.read_ends_of_model(roles, is_named=True, has_ends=not readers.names.ends)
    return graph.read_ends_of_model(roles)


_CHOSEN_ROWS = "inputs choose its rows"
# All sources in their order: first those of a weight by itself, then those in blocks.
_SOURCES_OF_WEIGHTS = (
    _SourceOfWeight("its own name", _read_own_name),
    _SourceOfWeight("its path", _read_path),
    _SourceOfWeight(_CHOSEN_ROWS, _read_chosen_rows),
)
_SOURCES_IN_BLOCKS = (
    _SourceInBlocks("its own name", _read_own_names),
    _SourceInBlocks("its path", _read_paths),
    _SourceInBlocks(_CHOSEN_ROWS, _read_tokens),
    _SourceInBlocks("a branch in the graph", _read_branches),
    _SourceInBlocks("a shortcut in the graph", _read_shortcuts),
    _SourceInBlocks("a gate in the graph", _read_gates),
    _SourceInBlocks("an end of the graph", _read_ends_of_model),
)


def _doubts_on_time_steps(parts: Sequence[Part]) -> dict[Doubt, str]:
    """Find the doubt about a state space that has a decay and no time step."""
    steps = [part for part in parts if part.role.name == "dt_bias"]
    for part in parts:
        layer = part.weight.layer
        if part.role.name == "A_log" and not any(layer in step.weight.layers for step in steps):
            text = (
                f"no time step for {part.weight.path!r}, which is a weight 'dt_bias' or the bias "
                "of a layer 'dt_proj': use one of these names, or write a rule for each of both "
                "weights, with 'initx.time_step_bias' for the time step"
            )
            return {Doubt.TIME_STEP: text}
    return {}
