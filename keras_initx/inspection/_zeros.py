"""Whether a branch can start at 0, measured: what is behind its end runs on 0, and on small values.

Zeros there give 0 and get a gradient if small values and their negatives give opposite signs.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_initx._typing import Tensor
from keras_initx.inspection._branches import Branch
from keras_initx.inspection._graph import Node
from keras_initx.inspection._hooks import activation_name, activation_of
from keras_initx.inspection._kernels import multiplies_by_kernel
from keras_initx.inspection._operations import kind_of
from keras_initx.inspection._symbolic import SymbolicCall

# In place of a length that is not known.
_LENGTH = 8
# What the ends of a branch give in the three runs, times values that are all positive.
_FACTORS = (0.0, 1.0, -1.0)


def prevents_zeros(
    branch: Branch, starts: Collection[Node], made: Mapping[Node, SymbolicCall]
) -> str:
    """Return what keeps a branch from starting at 0, or an empty text.

    Other inputs are 1.

    Args:
        branch: The branch.
        starts: The tensors that are 0 then: the outputs of its last kernels before an activation,
            or of a normalization.
        made: The call that made each tensor.
    """
    behind = _behind(branch, starts)
    runs = [_Run(factor, made) for factor in _FACTORS]
    first = ""
    with keras.StatelessScope():
        for node in starts:
            for run in runs:
                run.start(node)
            if not _opens(runs, node):
                first = first or _name_of(node)
        for node in behind:
            try:
                for run in runs:
                    run.make(node)
            except Exception as error:  # whatever an operation raises on these values
                return f"{_name_of(node)}, which could not be run: {type(error).__name__}"
            if not _opens(runs, node):
                first = first or _name_of(node)
        ends = [term for term in branch.terms if runs[0].has(term)]
        return "" if all(_opens(runs, term) for term in ends) else first


class _Run:
    """Values of tensors of a graph.

    Args:
        factor: What the tensors that it starts with are multiplied by.
        made: The call that made each tensor.
    """

    def __init__(self, factor: float, made: Mapping[Node, SymbolicCall]) -> None:
        self._factor = factor
        self._made = made
        self._values: dict[int, Tensor] = {}

    def start(self, node: Node) -> None:
        """Take small values for a tensor, and apply the activation of its layer."""
        symbol: Any = node.tensor()
        values = np.resize(_SMALL, _shape_of(symbol)) * self._factor
        value = keras.ops.convert_to_tensor(values, keras.backend.standardize_dtype(symbol.dtype))
        activation = None
        if multiplies_by_kernel(node.producer):
            activation = activation_of(_inner(node.producer))
        self._values[id(symbol)] = value if activation is None else activation(value)

    def make(self, node: Node) -> None:
        """Run the call that made a tensor."""
        if self.has(node):
            return
        call = self._made[node]
        args, options = keras.tree.map_structure(self._value, (call.args, call.options))
        outputs = keras.tree.flatten(call.operation(*args, **options))
        symbols = keras.tree.flatten(call.outputs)
        for symbol, output in zip(symbols, outputs, strict=True):
            self._values.setdefault(id(symbol), output)

    def has(self, node: Node) -> bool:
        """Return whether the value of a tensor is known."""
        return id(node.tensor()) in self._values

    def signs(self, node: Node) -> Any:
        """Return the signs of the values of a tensor."""
        value = keras.ops.cast(self._values[id(node.tensor())], "float32")
        return np.sign(keras.ops.convert_to_numpy(value))

    def _value(self, given: Any) -> Any:
        """Return the value of a symbolic tensor, and another argument as it is."""
        if not isinstance(given, keras.KerasTensor):
            return given
        value = self._values.get(id(given))
        if value is None:
            value = keras.ops.ones(_shape_of(given), keras.backend.standardize_dtype(given.dtype))
        return value


# All positive and different, so that neither a maximum nor a mean of them cancels.
_SMALL = np.random.default_rng(0).uniform(0.005, 0.015, 4099)


def _behind(branch: Branch, starts: Collection[Node]) -> Sequence[Node]:
    """Return what is computed from some tensors up to the terms of a branch, in order."""
    after = set(branch.added.after)
    found = dict.fromkeys(starts)
    for node in branch.inside:
        if node in after and not found.keys().isdisjoint(node.inputs):
            found.setdefault(node)
    return [node for node in found if node not in starts]


def _opens(runs: Sequence[_Run], node: Node) -> bool:
    """Return whether 0 gives 0, and other values give opposite signs, somewhere no 0."""
    zero, positive, negative = (run.signs(node) for run in runs)
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
    return name or kind_of(node.producer)


def _shape_of(symbol: Any) -> tuple[int, ...]:
    return tuple(_LENGTH if length is None else int(length) for length in symbol.shape)
