"""The role of each weight of a model: by names or by its graph."""

from collections.abc import Sequence
from dataclasses import replace

from keras_initx.inspection._architecture import Architecture, read_architecture
from keras_initx.inspection._inventory import Inventory
from keras_initx.recipes._by_graph import ByGraph
from keras_initx.recipes._by_names import ByNames, assign_roles_by_name
from keras_initx.recipes._features import Feature, list_features
from keras_initx.recipes._parts import Doubt, Part, Role, Roles

# What a weight of a role is too.
_WIDER: dict[str, tuple[str, ...]] = {
    "up": ("inner",),
    "gate and up": ("gate", "inner"),
}


def find_roles(inventory: Inventory) -> Roles:
    """Return the role of each weight of a built model.

    Names show the kernels that end branches if two things hold: the model has the names of the
    table, and the graph shows no other ends, as far as it can be followed. The graph shows the
    number of branches. If the graph cannot be followed, names show the number too, provided that
    each kernel of a block has a role by name.

    Args:
        inventory: The layers and weights of a built model.
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
    held = graph.kernels_held()
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
                "of a layer 'dt_proj': use one of these names, or write a rule for each of both "
                "weights, with 'initx.time_step_bias' for the time step"
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
