"""What each weight of a model is for: by names, by its graph, or as the user says."""

import difflib
from collections.abc import Mapping
from typing import Protocol

import keras

from keras_initx._checks import check_type, quoted, similar_paths
from keras_initx._suggestions import did_you_mean
from keras_initx._typing import RolesGiven
from keras_initx.recipes._by_graph import ByGraph
from keras_initx.recipes._by_names import ByNames, parts_of
from keras_initx.recipes._features import features_of
from keras_initx.recipes._parts import ROLES, Roles
from keras_initx.structure._architecture import architecture_of
from keras_initx.structure._patterns import matching_paths
from keras_initx.structure._weights import find_weights

# What a weight of a role is too.
_WIDER = {"up": ("inner",), "gate and up": ("gate", "inner")}


class Reader(Protocol):
    """Gives weights in branches their roles."""

    def read(self) -> None: ...


def roles_of(model: keras.Model, given: RolesGiven | None = None) -> Roles:
    """Return what each weight of a built model is for.

    Roles in branches are all by names, or all by the graph: by names if those of the table are
    there, and the graph, as far as it can be followed, has no other ends of branches.

    Args:
        model: A built model.
        given: Patterns of weights, by the roles that they have whatever is found.

    Raises:
        TypeError: If `given` is no dict from texts to patterns.
        ValueError: If a role is unknown, or a pattern matches no weight.
    """
    weights = find_weights(model)
    found = architecture_of(model)
    is_followed = not found.hidden
    roles = Roles(model, parts_of(weights), features_of(model, weights, found))
    names, graph = ByNames(roles), ByGraph(roles, found)
    reader: Reader = graph
    if names.tells(graph.ends(), graph.outputs(), is_followed=is_followed):
        reader = names
    reader.read()
    graph.take_gates()
    if found.branches and is_followed:
        graph.take_ends_of_model(is_by_graph=reader is graph)
        graph.number_blocks()
    if is_followed and reader is graph:
        roles.notes = graph.described()
    if given is not None:
        _take_given(roles, given)
    for part in roles.parts:
        for role in (part.role, *_WIDER.get(part.role, ())):
            roles.has.setdefault(role, []).append(part.weight.path)
    return roles


def _take_given(roles: Roles, given: RolesGiven) -> None:
    """Give weights the roles that the user says. The first pattern that matches counts."""
    check_type("roles", given, Mapping, "a dict from roles to patterns")
    parts = {part.weight.path: part for part in roles.parts}
    taken: dict[str, str] = {}
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
            matching = matching_paths(pattern, parts)
            if not matching:
                raise ValueError(
                    "`roles` must have patterns that match weights. Received: "
                    f"{pattern!r} for {role!r}{similar_paths(pattern, list(parts))}"
                )
            for path in matching:
                taken.setdefault(path, role)
    for path, role in taken.items():
        part = parts[path]
        part.role = role
        if part.by_name not in ("kernel", "bias", "embeddings"):
            part.by_name = ROLES[role]
    ends = [parts[path] for path, role in taken.items() if role in ("attended", "outer")]
    if ends and roles.unknown:
        roles.unknown, roles.branches = "", len(ends)
        for part in ends:
            part.closes = True
    roles.given = [
        f"{role}: {quoted([path for path in taken if taken[path] == role])}" for role in given
    ]
