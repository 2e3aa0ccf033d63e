"""Pair each recurrent layer of a model with a layer of a recurrent module of torch.

torch has the layers of one module under one name, `rnn.weight_ih_l0` and `rnn.weight_ih_l1`, and
`_l1` reads the outputs of `_l0`, unchanged except for dropout. A Keras model has one layer for
each, made in any order. So a call with symbolic tensors finds the layer that each layer reads.

A *direction* is a module by its name, forward or backward: `("rnn", False)`.
"""

from typing import Any, TypeAlias

import keras

from keras_initx.inspection._operations import SAME, get_kind
from keras_initx.inspection._symbolic import SymbolicCall, record_calls
from keras_initx.inspection._weights import ModelWeight

# These return their inputs, at least in inference.
_IDENTITIES = (
    keras.layers.ActivityRegularization,
    keras.layers.AlphaDropout,
    keras.layers.Dropout,
    keras.layers.GaussianDropout,
    keras.layers.GaussianNoise,
    keras.layers.Identity,
    keras.layers.Masking,
    keras.layers.SpatialDropout1D,
)
_Direction: TypeAlias = tuple[str, bool]
# The cells of a direction, each with one of its weights.
_Cells: TypeAlias = dict[keras.Layer, ModelWeight]


class RecurrentModules:
    """The recurrent cells that the names of modules cover: the first of a direction is `_l0`."""

    def __init__(self) -> None:
        self._cells: dict[_Direction, _Cells] = {}
        self._notes: dict[_Direction, str] = {}

    def number_layer(self, weight: ModelWeight, module: str, *, is_backward: bool) -> int:
        """Number a cell in its direction, with the next number for a new cell."""
        cells = self._cells.setdefault((module, is_backward), {})
        cells.setdefault(weight.layer, weight)
        return list(cells).index(weight.layer)

    def get_note(self, module: str, *, is_backward: bool) -> str:
        return self._notes.get((module, is_backward), "")

    @property
    def have_several_layers(self) -> bool:
        """Whether a name covers several cells."""
        return any(len(cells) > 1 for cells in self._cells.values())

    def sort_by_calls(self) -> "RecurrentModules":
        """Make the same modules with their cells in the order of the model's calls."""
        ordered = RecurrentModules()
        calls: _Calls | None = None
        for direction, cells in self._cells.items():
            if len(cells) > 1:
                if calls is None:
                    calls = _Calls(next(iter(cells.values())).layers[0])
                cells, note = _sort_cells(cells, direction[0], calls)
                ordered._notes[direction] = note
            ordered._cells[direction] = cells
        return ordered


class _Calls:
    """The order of the calls of a model's layers, and the layers that each of them reads.

    Attributes:
        call_order: The number of the first call of each layer that is called as a whole.
    """

    def __init__(self, model: Any) -> None:
        self.call_order: dict[keras.Operation, int] = {}
        self._sequences: dict[keras.Operation, list[Any]] = {}
        # By the ids of tensors: the tensor that has the same values, and the layer that made it.
        self._copied_from: dict[int, int] = {}
        self._makers: dict[int, keras.Operation] = {}
        # This keeps the tensors alive as long as their ids are used.
        self._root = record_calls(model)
        self._record(self._root)

    def _record(self, call: SymbolicCall) -> None:
        for inner in call.inside or ():
            self._record(inner)
        if call.inside is not None or not call.output_tensors:
            return
        operation = call.operation
        self.call_order.setdefault(operation, len(self.call_order))
        if not call.inputs:
            return
        sequence = id(_get_sequence(call))
        made = id(call.output_tensors[0])
        if isinstance(operation, _IDENTITIES) or get_kind(operation) in SAME:
            if made != sequence:
                self._copied_from[made] = sequence
        else:
            self._sequences.setdefault(operation, []).append(sequence)
            self._makers[made] = operation

    def reads(self, upper: keras.Layer, lower: keras.Layer) -> bool:
        """Return whether a layer reads the unchanged outputs of another."""
        for sequence in self._sequences.get(upper, []):
            while sequence in self._copied_from:
                sequence = self._copied_from[sequence]
            if self._makers.get(sequence) is lower:
                return True
        return False


def _get_sequence(call: SymbolicCall) -> Any:
    # The other input is the first state.
    for name in ("sequences", "inputs"):
        if not call.args and name in call.options:
            return call.options[name]
    return call.inputs[0]


def _sort_cells(cells: _Cells, module: str, calls: _Calls) -> tuple[_Cells, str]:
    """Sort the cells of a direction by calls, with a note if the calls do not prove the order."""
    # What is called may be a layer around the cell.
    called = {}
    for cell, weight in cells.items():
        layer = next((layer for layer in weight.layers if layer in calls.call_order), None)
        if layer is not None:
            called[cell] = layer
    paths = []
    for weight in cells.values():
        paths.append(weight.layer_paths[-2] or weight.layer_paths[-1])
    name = module or "the source"
    are_known = len(called) == len(cells)
    for cell, layer in called.items():
        cells_in_layer = [each for each in called if called[each] is layer]
        is_stack = isinstance(cells[cell].layers[-2], keras.layers.StackedRNNCells)
        are_known &= len(cells_in_layer) == 1 or is_stack
    if not are_known:
        note = (
            f"The order in which the model calls {' and '.join(paths)} is not known, so they get "
            f"the layers of {name} in the order in which they were made. Remedy: check the outputs "
            "with `compare_outputs`."
        )
        return cells, note

    def key(cell: keras.Layer) -> tuple[int, int]:
        outer: Any = cells[cell].layers[-2]
        is_stack = isinstance(outer, keras.layers.StackedRNNCells)
        return calls.call_order[called[cell]], outer.cells.index(cell) if is_stack else 0

    ordered = {cell: cells[cell] for cell in sorted(cells, key=key)}
    for number, (lower, upper) in enumerate(zip(list(ordered), list(ordered)[1:], strict=False)):
        if called[lower] is not called[upper] and not calls.reads(called[upper], called[lower]):
            names = [ordered[cell].layer_paths[-2] or cell.name for cell in (upper, lower)]
            note = (
                f"`_l{number + 1}` of {name} reads the unchanged outputs of `_l{number}` in torch, "
                f"but {names[0]} does not read the unchanged outputs of {names[1]} in the model. "
                "Remedy: check the outputs with `compare_outputs`."
            )
            return ordered, note
    return ordered, ""
