"""What has to be 0 for a branch to start at 0, measured: what is behind its end runs on values.

A branch is closed by tensors if it is 0 wherever they are, whatever else it gets. They get a
gradient if small values and their negatives give opposite signs.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_initx._typing import Tensor
from keras_initx.inspection._branches import Branch
from keras_initx.inspection._graph import Node
from keras_initx.inspection._hooks import activation_name, read_activation
from keras_initx.inspection._kernels import multiplies_by_kernel
from keras_initx.inspection._operations import get_kind
from keras_initx.inspection._symbolic import SymbolicCall

# In place of a length that is not known.
_LENGTH = 8
# What tensors that may be 0 are in the three runs, times values that are all positive.
_FACTORS = (0.0, 1.0, -1.0)
# All different, so that neither a maximum nor a mean of them cancels. Those of what may be 0 are
# positive; what else a branch gets has both signs.
_SMALL = np.random.default_rng(0).uniform(0.005, 0.015, 4099)
_GIVEN = np.random.default_rng(1).uniform(0.5, 1.5, 4093)
_GIVEN[::2] *= -1


class Closing(NamedTuple):
    """What has to be 0 for a branch to start at 0.

    Attributes:
        has_ends: Whether its ends are among that.
        sides: The outputs of kernels outside of it that are.
        problem: Why nothing is known that can be, or an empty text.
    """

    has_ends: bool = False
    sides: tuple[Node, ...] = ()
    problem: str = ""


class BranchRuns:
    """Runs what is behind the ends of branches.

    Args:
        made: The call that made each tensor.
        streams: What streams consist of, which may not be 0.
        fresh: Weights that have other values at the start than now, with these.
    """

    def __init__(
        self,
        made: Mapping[Node, SymbolicCall],
        streams: Collection[Node],
        fresh: Sequence[tuple[keras.Variable, Tensor]],
    ) -> None:
        self._made = made
        self._streams = streams
        self._fresh = fresh

    def closing(self, branch: Branch, starts: Collection[Node]) -> Closing:
        """Return what has to be 0 for a branch to start at 0.

        That is what modulates it, if that is enough; otherwise its end, and as few of the kernels
        outside of it as it takes.

        Args:
            branch: The branch.
            starts: The tensors at its end: the outputs of its last kernels before an activation, or
                of a normalization.
        """
        modulations = {side.way[0] for side in branch.sides if side.is_modulation}
        if modulations and not self.problem(branch, modulations):
            return Closing(sides=_in_order(modulations, branch))
        problem = self.problem(branch, starts)
        if not problem:
            return Closing(has_ends=True)
        sides = {side.way[0] for side in branch.sides}.difference(self._streams)
        if self.problem(branch, starts, sides):
            return Closing(problem=problem)
        for side in _in_order(sides, branch):
            if not self.problem(branch, starts, sides - {side}):
                sides.remove(side)
        if any(self.problem(branch, {side}, {*starts, *sides} - {side}) for side in sides):
            return Closing(problem=problem)
        return Closing(has_ends=True, sides=_in_order(sides, branch))

    def problem(
        self, branch: Branch, starts: Collection[Node], zeros: Collection[Node] = ()
    ) -> str:
        """Return what keeps a branch from starting at 0 with zeros at some tensors, or nothing.

        Args:
            branch: The branch.
            starts: Tensors that are 0 and need a gradient.
            zeros: Others that are 0.
        """
        computed = _computed_in(branch)
        runs = [_Run(factor, self._made, computed) for factor in _FACTORS]
        first = ""
        with keras.StatelessScope() as scope:
            for update in self._fresh:
                scope.add_update(update)
            for run in runs:
                for node in starts:
                    run.start(node)
                for node in zeros:
                    run.start(node, 0.0)
            for node in (*starts, *_behind(branch, starts), *branch.terms):
                try:
                    is_open = _opens([run.signs(node) for run in runs])
                except Exception as error:  # whatever an operation raises on these values
                    return f"{_name_of(node)}, which could not be run: {type(error).__name__}"
                if not is_open:
                    first = first or _name_of(node)
            is_closed = all(_opens([run.signs(term) for run in runs]) for term in branch.terms)
        return "" if is_closed else first


class _Run:
    """Values of tensors of a graph.

    Args:
        factor: What the tensors that it starts with are multiplied by.
        made: The call that made each tensor.
        computed: The tensors that are computed; others have values of both signs.
    """

    def __init__(
        self, factor: float, made: Mapping[Node, SymbolicCall], computed: Iterable[Node]
    ) -> None:
        self._factor = factor
        self._made = made
        self._computed = {id(node.tensor()): node for node in computed}
        self._values: dict[int, Tensor] = {}

    def start(self, node: Node, factor: float = 1.0) -> None:
        """Take small values for a tensor, and apply the activation of its layer."""
        symbol: Any = node.tensor()
        values = np.resize(_SMALL, _shape_of(symbol)) * (self._factor * factor)
        value = keras.ops.convert_to_tensor(values, keras.backend.standardize_dtype(symbol.dtype))
        activation = None
        if multiplies_by_kernel(node.producer):
            activation = read_activation(_inner(node.producer))
        self._values[id(symbol)] = value if activation is None else activation(value)

    def signs(self, node: Node) -> Any:
        """Return the signs of the values of a tensor."""
        value = keras.ops.cast(self._value(node.tensor()), "float32")
        return np.sign(keras.ops.convert_to_numpy(value))

    def _value(self, given: Any) -> Any:
        """Return the value of a symbolic tensor, and another argument as it is."""
        if not isinstance(given, keras.KerasTensor):
            return given
        node = self._computed.get(id(given))
        if id(given) not in self._values and node is None:
            self._values[id(given)] = _given(given)
        elif id(given) not in self._values and node is not None:
            call = self._made[node]
            args, options = keras.tree.map_structure(self._value, (call.args, call.options))
            outputs = keras.tree.flatten(call.operation(*args, **options))
            for symbol, output in zip(keras.tree.flatten(call.outputs), outputs, strict=True):
                self._values.setdefault(id(symbol), output)
        return self._values[id(given)]


def _given(symbol: keras.KerasTensor) -> Tensor:
    """Return values for what a branch gets; 1 for integers and for what is true or not."""
    dtype = keras.backend.standardize_dtype(symbol.dtype)
    if not keras.backend.is_float_dtype(dtype):
        return keras.ops.ones(_shape_of(symbol), dtype)
    return keras.ops.convert_to_tensor(np.resize(_GIVEN, _shape_of(symbol)), dtype)


def _in_order(nodes: Collection[Node], branch: Branch) -> tuple[Node, ...]:
    """Return some of the tensors that sides of a branch begin with, in their order."""
    begins = dict.fromkeys(side.way[0] for side in branch.sides)
    return tuple(node for node in begins if node in nodes)


def _computed_in(branch: Branch) -> list[Node]:
    """Return what is computed behind the ends of a branch and from its sides, in order."""
    after = set(branch.added.after)
    sides = dict.fromkeys(node for side in branch.sides for node in side.way[1:])
    return [*sides, *(node for node in branch.inside if node in after)]


def _behind(branch: Branch, starts: Collection[Node]) -> list[Node]:
    """Return what is computed from some tensors up to the terms of a branch, in order."""
    reached = dict.fromkeys(starts)
    for node in _computed_in(branch):
        if not reached.keys().isdisjoint(node.inputs):
            reached.setdefault(node)
    return [node for node in reached if node not in starts]


def _opens(signs: Sequence[Any]) -> bool:
    """Return whether 0 gives 0, and other values give opposite signs, somewhere no 0."""
    zero, positive, negative = signs
    is_odd = bool((positive == -negative).all())
    return is_odd and not zero.any() and bool(positive.any())


def _inner(layer: Any) -> Any:
    """Return the layer within wrappers."""
    while isinstance(layer, keras.layers.Wrapper):
        layer = layer.layer
    return layer


def _name_of(node: Node) -> str:
    """Return what an operation, or the activation of a layer, is called."""
    layer = _inner(node.producer)
    name = activation_name(layer) if isinstance(layer, keras.Layer) else None
    return name or get_kind(node.producer)


def _shape_of(symbol: Any) -> tuple[int, ...]:
    return tuple(_LENGTH if length is None else int(length) for length in symbol.shape)
