"""The role of each weight of a model: by names, by its graph, or as the user gives it."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import replace

from keras_initx._checks import check_type, quote_names, suggest_paths
from keras_initx._suggestions import did_you_mean
from keras_initx._typing import RolesGiven
from keras_initx.inspection._architecture import Architecture, read_architecture
from keras_initx.inspection._inventory import Inventory
from keras_initx.inspection._patterns import match_pattern
from keras_initx.recipes._by_graph import ByGraph
from keras_initx.recipes._by_names import ByNames, assign_roles_by_name
from keras_initx.recipes._features import Feature, list_features
from keras_initx.recipes._parts import ROLES, Doubt, Part, Reading, Role, Roles

# What a weight of a role is too.
_WIDER: dict[str, tuple[str | Feature, ...]] = {
    "up": ("inner",),
    "gate and up": ("gate", "inner"),
    **dict.fromkeys(("LoRA A", "LoRA A of a table"), (Feature.ADAPTERS,)),
}
# What the user says by roles of where normalizations stand.
_PLACES = {"scale before": (Feature.FIRST,), "scale after": (Feature.LAST, Feature.LAST_IN_TEXT)}


def find_roles(inventory: Inventory, given: RolesGiven | None = None) -> Roles:
    """Return the role of each weight of a built model.

    Names show the kernels that end branches if two things hold: the model has the names of the
    table, and the graph shows no other ends, as far as it can be followed. The graph shows the
    number of branches. If the graph cannot be followed, names show the number too, provided that
    each kernel of a block has a role by name.

    Args:
        inventory: The layers and weights of a built model.
        given: Patterns of weights by the roles that the user gives them. They count before all
            others.

    Raises:
        TypeError: If `given` is no dict from texts to patterns.
        ValueError: If a role is unknown, or a pattern matches no weight.
    """
    found = read_architecture(inventory.model)
    parts = [_mark_table(part, found) for part in assign_roles_by_name(inventory.weights)]
    has: dict[object, list[str]] = {}
    has.update(list_features(inventory, found).items())
    names, graph = ByNames(parts), ByGraph(inventory, parts, found)
    is_followed = not found.hidden
    if not names.tells(graph.ends(), graph.outputs(), is_followed=is_followed):
        reading = graph.reading()
    elif is_followed:
        reading = graph.counted(names.roles(), names.ends)
    else:
        reading = names.reading(hidden=graph.hidden(), unseen=graph.unseen())
    doubts = dict(reading.doubts)
    for text in found.loops:
        doubts[Doubt.LENGTHS] = f"layers called in a loop: {text}"
    if not found.is_placement_seen:
        doubts[Doubt.PLACEMENT] = f"a place of normalizations that is not seen in {graph.unseen()}"
    if not (is_followed or Feature.SELU in has):
        doubts[Doubt.ACTIVATIONS] = f"activations that are not seen in {graph.unseen()}"
    reading = replace(reading, doubts=doubts)
    lines: tuple[str, ...] = ()
    taken: dict[str, list[str]] = {}
    if given is not None:
        taken = _read_given_roles(parts, given)
        reading = _apply_given_roles(reading, parts, taken)
        lines = _describe_given_roles(taken, given)
    held = graph.kernels_held()
    final = []
    for part in parts:
        role = reading.roles[part.weight.path]
        by_name = part.by_name
        if part.weight.path in taken and by_name not in ("kernel", "bias", "embeddings"):
            by_name = ROLES.get(role.name, by_name)
        number = 2 if role.name == "gate and up" else held.get(id(part.weight.variable), 1)
        final.append(replace(part, role=role, by_name=by_name, kernels=number))
        for name in (role.name, *_WIDER.get(role.name, ()), *_PLACES.get(role.name, ())):
            has.setdefault(name, []).append(part.weight.path)
    return Roles(
        model=inventory.model,
        parts=final,
        has=has,
        doubts={**reading.doubts, **_doubts_on_time_steps(final)},
        notes=reading.notes,
        is_by_graph=reading.is_by_graph,
        given=lines,
        unseen=graph.unseen(),
    )


def _doubts_on_time_steps(parts: Sequence[Part]) -> dict[Doubt, str]:
    """Return the doubt about a state space that has a decay and no time step."""
    steps = [part for part in parts if part.role.name == "dt_bias"]
    for part in parts:
        layer = part.weight.layer
        if part.role.name == "A_log" and not any(layer in step.weight.layers for step in steps):
            text = (
                f"no time step for {part.weight.path!r}, which is a weight 'dt_bias' or the bias "
                "of a layer 'dt_proj': pass `roles` that say which weight is the 'dt_bias'"
            )
            return {Doubt.TIME_STEP: text}
    return {}


def _mark_table(part: Part, found: Architecture) -> Part:
    """Return a weight, marked as a table if inputs choose its rows, whatever its name is."""
    is_table = any(part.weight.variable is table for table in found.looked_up)
    if is_table and part.by_name == "kernel":
        is_label = any(part.weight.variable is table for table in found.labels)
        return replace(
            part, role=Role("embeddings" if is_label else "tokens"), by_name="embeddings"
        )
    return part


def _read_given_roles(parts: Sequence[Part], given: RolesGiven) -> dict[str, list[str]]:
    """Return the roles that the user gives, by path. The first pattern that matches counts."""
    check_type("roles", given, Mapping, "a dict from roles to patterns")
    paths = [part.weight.path for part in parts]
    taken: dict[str, list[str]] = {}
    for role, value in given.items():
        patterns = [value] if isinstance(value, str) else value
        if not isinstance(patterns, list | tuple) or not all(isinstance(p, str) for p in patterns):
            raise TypeError(
                "`roles` must have a pattern or a list of patterns for each role. "
                f"Received: {value!r} for {role!r}"
            )
        if role not in ROLES:
            similar = did_you_mean(map(repr, difflib.get_close_matches(str(role), ROLES)))
            raise ValueError(
                f"`roles` must have keys among {', '.join(map(repr, ROLES))}. "
                f"Received: {role!r}{similar}"
            )
        for pattern in patterns:
            matching = match_pattern(pattern, paths)
            if not matching:
                raise ValueError(
                    "`roles` must have patterns that match weights. Received: "
                    f"{pattern!r} for {role!r}{suggest_paths(pattern, paths)}"
                )
            for path in matching:
                taken.setdefault(path, [role])
    return taken


def _apply_given_roles(
    reading: Reading, parts: Sequence[Part], taken: Mapping[str, Sequence[str]]
) -> Reading:
    """Return a reading with the roles that the user gives, without the doubts that these settle."""
    roles = dict(reading.roles)
    doubts = dict(reading.doubts)
    said = set[str]().union(*taken.values())
    ends: list[str] = []
    for path, roles_said in taken.items():
        for name in roles_said:
            roles[path] = replace(roles[path], name=name)
            if name in ("attended", "outer"):
                ends.append(path)
    if ends and Doubt.ENDS in doubts:
        del doubts[Doubt.ENDS]
        for path in ends:
            roles[path] = replace(roles[path], closes=True)
        for path, role in roles.items():
            roles[path] = replace(role, branches=len(ends))
        doubts.pop(Doubt.LENGTHS, None)
    if not said.isdisjoint(_PLACES):
        doubts.pop(Doubt.PLACEMENT, None)
    return replace(reading, roles=roles, doubts=doubts)


def _describe_given_roles(taken: Mapping[str, Sequence[str]], given: RolesGiven) -> tuple[str, ...]:
    """Return the roles that the user gives, as lines of text."""
    lines = []
    for role in given:
        paths = [path for path, roles in taken.items() if role in roles]
        lines.append(f"{role}: {quote_names(paths)}")
    return tuple(lines)
