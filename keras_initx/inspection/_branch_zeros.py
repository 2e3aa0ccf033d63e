"""Find the weights that must be 0 so that a residual branch starts at 0, by running its end.

Tensors *close* a branch if it adds 0 when they are 0, whatever its other inputs are. They get a
gradient if small values and their negatives give opposite signs. So everything from these tensors
to the sum is run three times, with the factors 0, 1 and -1:

    x + d * g     d closes it: 0, then opposite signs
    x + relu(d)   relu does not: the gradient is 0 where d is negative
    x + d + g     d alone does not: g, a shift, has to be 0 too
"""

import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_initx._typing import Tensor
from keras_initx.inspection._branches import Branch
from keras_initx.inspection._graph import Node, find_producers
from keras_initx.inspection._hooks import activation_name, read_activation
from keras_initx.inspection._kernels import multiplies_by_kernel
from keras_initx.inspection._operations import get_kind
from keras_initx.inspection._symbolic import SymbolicCall

# In place of a length that is not known.
_LENGTH = 8
# With as many kernels at the end of a branch, each set of them is tried: 15 sets of 4.
_TRIED_LAYERS = 4
# By these the small values of the tensors that are to close a branch are multiplied, in three runs.
_RUN_FACTORS = (0.0, 1.0, -1.0)
# All different, so that neither a maximum nor a mean of them cancels. Those of the tensors that are
# to close a branch are positive; what else a branch gets has both signs.
_SMALL_VALUES = np.random.default_rng(0).uniform(0.005, 0.015, 4099)
_INPUT_VALUES = np.random.default_rng(1).uniform(0.5, 1.5, 4093)
_INPUT_VALUES[::2] *= -1


class Closing(NamedTuple):
    """The conditions for a branch to start at 0.

    Attributes:
        has_ends: Whether its ends must be 0.
        sides: The outputs of kernels outside of the branch that must be 0.
        problem: The reason why it cannot start at 0, or an empty text.
    """

    has_ends: bool = False
    sides: tuple[Node, ...] = ()
    problem: str = ""


class BranchRuns:
    """Runs the operations from the ends of branches to the sums.

    Args:
        calls: The call that made each tensor.
        streams: The tensors of streams, which must not be 0.
        fresh_values: Weights whose values at the start differ from their values now, with the
            values at the start.
    """

    def __init__(
        self,
        calls: Mapping[Node, SymbolicCall],
        streams: Collection[Node],
        fresh_values: Sequence[tuple[keras.Variable, Tensor]],
    ) -> None:
        self._calls = calls
        self._streams = streams
        self._fresh_values = fresh_values

    def closing(self, branch: Branch, starts: Collection[Node]) -> Closing:
        """Find the weights that must be 0 for a branch to start at 0.

        If zeros in the kernels that modulate the branch are enough, these are the weights. If not,
        it is the end of the branch, with as few kernels outside of it as possible.

        Args:
            branch: The branch.
            starts: The tensors at its end: the outputs of its last kernels before an activation, or
                of a normalization.
        """
        modulations = {side.way[0] for side in branch.sides if side.is_modulation}
        if modulations and not self.problem(branch, modulations):
            return Closing(sides=_order_sides(modulations, branch))
        problem = self.problem(branch, starts)
        if not problem:
            return Closing(has_ends=True)
        sides = {side.way[0] for side in branch.sides}.difference(self._streams)
        if self.problem(branch, starts, sides):
            return Closing(problem=problem)
        for side in _order_sides(sides, branch):
            if not self.problem(branch, starts, sides - {side}):
                sides.remove(side)
        if any(self.problem(branch, {side}, {*starts, *sides} - {side}) for side in sides):
            return Closing(problem=problem)
        return Closing(has_ends=True, sides=_order_sides(sides, branch))

    def find_closing_sets(self, branch: Branch) -> list[tuple[keras.Operation, ...]]:
        """Find the smallest sets of layers that close a branch if their kernels are 0.

        For `h * (1 + g) + b`, the only set has the layers that make `h` and `b`. For `h * g` there
        are two sets, of one layer each. The result is empty if no set closes the branch, or if it
        has too many kernels to try them all.

        Args:
            branch: A branch that several kernels end. All kernels that it adds count.
        """
        in_streams = set(find_producers(self._streams))
        nodes_by_layer: dict[keras.Operation, list[Node]] = {}
        sides = dict.fromkeys(side.way[0] for side in branch.sides)
        for node in (*branch.inside, *sides):
            is_end = node in branch.added.sources or node in sides
            if is_end and node.producer is not None and node.producer not in in_streams:
                nodes_by_layer.setdefault(node.producer, []).append(node)
        closing: list[tuple[keras.Operation, ...]] = []
        if len(nodes_by_layer) > _TRIED_LAYERS:
            return closing
        for size in range(1, len(nodes_by_layer) + 1):
            for layers in itertools.combinations(nodes_by_layer, size):
                is_larger = any(set(smaller) <= set(layers) for smaller in closing)
                groups = [nodes_by_layer[layer] for layer in layers]
                if not is_larger and self._are_closing(branch, groups):
                    closing.append(layers)
        return closing

    def _are_closing(self, branch: Branch, groups: Sequence[Sequence[Node]]) -> bool:
        # Whether zeros in all groups close a branch, and each group then gets a gradient.
        for group in groups:
            others = {node for other in groups if other is not group for node in other}
            signs = self._run(branch, group, others)
            if isinstance(signs, str):
                return False
            of_sum = [signs[node] for node in (*branch.terms, *branch.shifts)]
            if not (all(map(_are_opposite, of_sum)) and any(map(_are_moved, of_sum))):
                return False
        return True

    def problem(
        self, branch: Branch, starts: Collection[Node], zeros: Collection[Node] = ()
    ) -> str:
        """Return why a branch does not start at 0 with zeros at some tensors, or "".

        Args:
            branch: The branch.
            starts: Tensors that will be 0, and need a gradient.
            zeros: Other tensors that are 0.
        """
        signs = self._run(branch, starts, zeros)
        if isinstance(signs, str):
            return signs
        terms = [signs[term] for term in branch.terms]
        shifts = [signs[shift] for shift in branch.shifts]
        are_opposite = all(map(_are_opposite, (*terms, *shifts)))
        if are_opposite and (all(map(_are_moved, terms)) or any(map(_are_moved, shifts))):
            return ""
        obstacles = (
            node
            for node in _list_from_starts(branch, starts)
            if not (_are_opposite(signs[node]) and _are_moved(signs[node]))
        )
        # Without one, it is the sum itself, which adds a shift.
        return _name_operation(next(obstacles, branch.total))

    def _run(
        self, branch: Branch, starts: Collection[Node], zeros: Collection[Node]
    ) -> dict[Node, Sequence[Any]] | str:
        """Run a branch from some tensors on, with the arguments of `problem`.

        Returns:
            The signs of each tensor in the three runs, or the operation that could not be run.
        """
        computed = _list_computed(branch)
        runs = [_Run(factor, self._calls, computed) for factor in _RUN_FACTORS]
        with keras.StatelessScope() as scope:
            for update in self._fresh_values:
                scope.add_update(update)
            for run in runs:
                for node in starts:
                    run.start(node)
                for node in zeros:
                    run.start(node, 0.0)
            signs: dict[Node, Sequence[Any]] = {}
            for node in (*_list_from_starts(branch, starts), *branch.shifts):
                try:
                    signs[node] = [run.signs(node) for run in runs]
                except Exception as error:  # whatever an operation raises on these values
                    return (
                        f"{_name_operation(node)}, which could not be run: {type(error).__name__}"
                    )
        return signs


class _Run:
    """A run of a part of a graph, with its values of tensors.

    Args:
        factor: The factor for the tensors that the run starts with.
        calls: The call that made each tensor.
        computed: The tensors that are computed; others have values of both signs.
    """

    def __init__(
        self, factor: float, calls: Mapping[Node, SymbolicCall], computed: Iterable[Node]
    ) -> None:
        self._factor = factor
        self._calls = calls
        self._computed = {id(node.tensor()): node for node in computed}
        self._values: dict[int, Tensor] = {}

    def start(self, node: Node, factor: float = 1.0) -> None:
        """Take small values for a tensor, and apply the activation of its layer."""
        symbol: Any = node.tensor()
        values = np.resize(_SMALL_VALUES, _fill_lengths(symbol)) * (self._factor * factor)
        value = keras.ops.convert_to_tensor(values, keras.backend.standardize_dtype(symbol.dtype))
        activation = None
        if multiplies_by_kernel(node.producer):
            activation = read_activation(_unwrap_layer(node.producer))
        self._values[id(symbol)] = value if activation is None else activation(value)

    def signs(self, node: Node) -> Any:
        """Return the signs of the values of a tensor."""
        value = keras.ops.cast(self._compute(node.tensor()), "float32")
        return np.sign(keras.ops.convert_to_numpy(value))

    def _compute(self, argument: Any) -> Any:
        # The value of a symbolic tensor; another argument stays what it is.
        if not isinstance(argument, keras.KerasTensor):
            return argument
        node = self._computed.get(id(argument))
        if id(argument) not in self._values and node is None:
            self._values[id(argument)] = _make_input(argument)
        elif id(argument) not in self._values and node is not None:
            call = self._calls[node]
            args, options = keras.tree.map_structure(self._compute, (call.args, call.options))
            outputs = keras.tree.flatten(call.operation(*args, **options))
            for symbol, output in zip(keras.tree.flatten(call.outputs), outputs, strict=True):
                self._values.setdefault(id(symbol), output)
        return self._values[id(argument)]


def _make_input(symbol: keras.KerasTensor) -> Tensor:
    # Integers and booleans are 1.
    dtype = keras.backend.standardize_dtype(symbol.dtype)
    if not keras.backend.is_float_dtype(dtype):
        return keras.ops.ones(_fill_lengths(symbol), dtype)
    return keras.ops.convert_to_tensor(np.resize(_INPUT_VALUES, _fill_lengths(symbol)), dtype)


def _order_sides(nodes: Collection[Node], branch: Branch) -> tuple[Node, ...]:
    # `nodes` are some of the tensors with which its sides begin.
    begins = dict.fromkeys(side.way[0] for side in branch.sides)
    return tuple(node for node in begins if node in nodes)


def _list_computed(branch: Branch) -> list[Node]:
    # What follows the ends of a branch and what is made of its sides, each after its inputs.
    after = set(branch.added.after)
    sides = dict.fromkeys(node for side in branch.sides for node in side.way[1:])
    return [*sides, *(node for node in branch.inside if node in after)]


def _list_from_starts(branch: Branch, starts: Collection[Node]) -> list[Node]:
    # The tensors at its end, what is computed from these, and its terms.
    reached = dict.fromkeys(starts)
    for node in _list_computed(branch):
        if not reached.keys().isdisjoint(node.inputs):
            reached.setdefault(node)
    return list(dict.fromkeys((*reached, *branch.terms)))


def _are_opposite(signs: Sequence[Any]) -> bool:
    # Whether 0 gives 0, and small values and their negatives give opposite signs.
    zero, positive, negative = signs
    return not zero.any() and bool((positive == -negative).all())


def _are_moved(signs: Sequence[Any]) -> bool:
    # Whether small values give something else than 0.
    return bool(signs[1].any())


def _unwrap_layer(layer: Any) -> Any:
    while isinstance(layer, keras.layers.Wrapper):
        layer = layer.layer
    return layer


def _name_operation(node: Node) -> str:
    # `relu` for a dense layer with this activation.
    layer = _unwrap_layer(node.producer)
    name = activation_name(layer) if isinstance(layer, keras.Layer) else None
    return name or get_kind(node.producer)


def _fill_lengths(symbol: Any) -> tuple[int, ...]:
    return tuple(_LENGTH if length is None else int(length) for length in symbol.shape)
