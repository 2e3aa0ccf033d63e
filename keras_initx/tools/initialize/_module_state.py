"""Reset the statistics of torch modules, and say which other saved buffers keep their values.

Keras has no variables for the buffers of a module. Most have no known start, because their values
come from the code of the module. Normalization layers of torch have `reset_running_stats`.

A rule that leaves the parameters of a normalization leaves its statistics too.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any

from keras_initx._checks import summarize_names
from keras_initx.inspection._inventory import Inventory
from keras_initx.inspection._weights import ModelWeight
from keras_initx.recipes._weight_rules import BY_RULE
from keras_initx.tools.initialize._planned_weight import PlannedWeight


@dataclass(frozen=True)
class ModuleState:
    """The saved buffers of the torch modules in a model.

    Attributes:
        reset: The buffers that `initialize` resets.
        kept: The other buffers.
    """

    reset: list[ModelWeight]
    kept: list[ModelWeight]

    def reset_with(self, assign: Callable[[Any, Any], None]) -> None:
        """Reset the buffers. `assign` gets each buffer before, with its value, to remember it."""
        owners = {}
        for buffer in self.reset:
            assign(buffer.variable, buffer.variable.value)
            owner = find_owner(buffer)
            owners[id(owner)] = owner
        for owner in owners.values():
            owner.reset_running_stats()

    def note(self, *, dry_run: bool) -> list[str]:
        """Say what happens to the buffers."""
        notes = []
        if self.reset:
            verb = "to be reset" if dry_run else "reset"
            paths = summarize_names([buffer.path for buffer in self.reset])
            notes.append(f"Statistics of torch {verb} by reset_running_stats(): {paths}.")
        if self.kept:
            paths = summarize_names([buffer.path for buffer in self.kept])
            notes.append(f"Buffers of torch that keep their values: {paths}.")
        return notes


def find_owner(buffer: ModelWeight) -> Any:
    """Find the torch module that has a buffer."""
    variable: Any = buffer.variable
    return variable.module


def list_left_by_rule(pairs: Iterable[tuple[ModelWeight, PlannedWeight]]) -> set[str]:
    """List the paths of the weights that a rule leaves.

    Args:
        pairs: The weights, each with its plan.
    """
    left = set()
    for weight, planned in pairs:
        if planned.initializer is None and planned.row.detail == BY_RULE:
            left.add(weight.path)
    return left


def read_module_state(inventory: Inventory, left_by_rule: Collection[str]) -> ModuleState:
    """Find the buffers that `initialize` resets, and those that keep their values.

    Args:
        inventory: The weights and layers of a model.
        left_by_rule: The paths of the weights that a rule leaves.
    """
    state = ModuleState([], [])
    for buffer in inventory.buffers:
        can_be_reset = callable(getattr(find_owner(buffer), "reset_running_stats", None))
        if can_be_reset and not _is_left_by_rule(buffer, inventory, left_by_rule):
            state.reset.append(buffer)
        else:
            state.kept.append(buffer)
    return state


def _is_left_by_rule(
    buffer: ModelWeight, inventory: Inventory, left_by_rule: Collection[str]
) -> bool:
    """Return whether a rule leaves all parameters of the module of a buffer.

    A module without parameters is left if a rule leaves all parameters of the module around it that
    was wrapped.
    """
    own = {id(parameter) for parameter in find_owner(buffer).parameters(recurse=False)}
    in_wrapper = [weight for weight in inventory.weights if weight.layer is buffer.layer]
    in_module = [weight for weight in in_wrapper if id(weight.variable.value) in own]
    weights = in_module or in_wrapper
    return bool(weights) and all(weight.path in left_by_rule for weight in weights)
