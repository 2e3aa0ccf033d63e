"""What a model is by its graph: branches, attention, embeddings, outputs, whatever their names.

A model is called once with symbolic tensors, so no data is needed and nothing is computed. The
layers of Keras are taken as they are. The `call` of other layers and of models is followed, so
that the sums in it are seen too.
"""

import inspect
import math
from dataclasses import dataclass, field, replace
from typing import Any

import keras
import numpy as np

from keras_initx.backends._current import backend
from keras_initx.structure._graph import Branch, ForwardGraph, Gate, multiplies_by_kernel
from keras_initx.structure._hooks import activation_name
from keras_initx.structure._kernels import normalizes
from keras_initx.structure._names import named_layers, parts_of
from keras_initx.structure._symbolic import (
    is_followed,
    returns_the_same,
    symbolic_calls,
    symbolic_inputs,
    taken_options,
)
from keras_initx.structure._weights import weights_within

# Attention with kernels of its own.
ATTENTION = (keras.layers.GroupQueryAttention, keras.layers.MultiHeadAttention)
# Operations by which a layer without others in it multiplies by a kernel.
_PRODUCTS = ("Conv", "DepthwiseConv", "Dot", "Einsum", "Matmul", "Tensordot")
# In place of a length that is not known, where an operation needs one: of usual texts, of a short
# table of positions, and of images that are cut into patches.
_LENGTHS = (8, 2, 64)
# Weights whose numbers all dtypes can hold.
_MOST_MARKED = 200


@dataclass
class Architecture:
    """The branches, the attention and the gates of a model, as far as they are known.

    Attributes:
        branches: The residual branches, without those around others.
        around: The branches that have others in them.
        gates: The gates before another kernel.
        attention: Layers of attention. The value says whether the values are of another tensor than
            the queries.
        tokens: Embeddings of what the inputs give.
        positions: Embeddings of constants.
        added: Weights of several rows that are added to each example of a tensor, as they are or a
            part of them.
        scales: The weights that multiply a tensor, by the operation.
        inputs: Layers with a kernel before which no other has one.
        outputs: Layers with a kernel after which no other has one.
        hidden: Layers with kernels whose `call` could not be followed, each with the reason.
        starts: The layers with a kernel that each stream of branches begins with, by its number.
    """

    branches: list[Branch] = field(default_factory=list)
    around: list[Branch] = field(default_factory=list)
    gates: list[Gate] = field(default_factory=list)
    attention: dict[keras.Layer, bool] = field(default_factory=dict)
    tokens: list[keras.Layer] = field(default_factory=list)
    positions: list[keras.Layer] = field(default_factory=list)
    added: list[keras.Variable] = field(default_factory=list)
    scales: dict[keras.Operation, keras.Variable] = field(default_factory=dict)
    inputs: list[keras.Operation] = field(default_factory=list)
    outputs: list[keras.Operation] = field(default_factory=list)
    hidden: dict[keras.Layer, str] = field(default_factory=dict)
    starts: dict[int, list[keras.Operation]] = field(default_factory=dict)

    @property
    def crossing(self) -> list[keras.Layer]:
        """Layers of attention whose values are of another tensor than the queries."""
        return [layer for layer, is_crossing in self.attention.items() if is_crossing]

    @property
    def attends(self) -> bool:
        """Whether there is attention, a layer or in the operations of a branch."""
        return bool(self.attention) or any(branch.weighs for branch in self.branches)

    @property
    def normalizes_first(self) -> bool | None:
        """Whether all branches begin with a normalization, or all sums go to one.

        `None` if neither holds.
        """
        if not self.branches:
            return None
        if all(all(map(normalizes, branch.first)) for branch in self.branches):
            return True
        if all(branch.readers and all(map(normalizes, branch.readers)) for branch in self.branches):
            return False
        return None


def architecture_of(model: keras.Model) -> Architecture:
    """Return what a built model consists of."""
    for length in (None, *_LENGTHS):
        reader = _GraphReader(model, length)
        found = reader.read()
        if not found.hidden:
            break
    return found


def hidden_branch_ends(model: keras.Model) -> set[str]:
    """Return the names of layers at the ends of residual branches in the `call` of users' layers.

    A branch is left out if it ends with another operation than a layer, such as `keras.ops.relu`,
    of which it would have to be known what zeros before it do.
    """
    ends: set[str] = set()
    if not any(_hides_sums(layer) for layer in (model, *parts_of(model))):
        return ends
    names = named_layers(model)
    for branch in architecture_of(model).branches:
        behind = [*branch.after, *branch.last]
        if not all(isinstance(operation, keras.Layer) for operation in behind):
            continue
        for layer in behind:
            weights = weights_within(layer)
            if weights:
                layer = weights[-1].layer  # of attention that of its outputs
            if layer in names and (weights or activation_name(layer)):
                ends.add(names[layer])
                break
    return ends


def _hides_sums(layer: keras.Layer) -> bool:
    """Return whether a layer calls others in a method of a user, which may add their outputs."""
    shows_all = isinstance(layer, keras.Sequential | keras.Function)
    return not shows_all and is_followed(layer) and bool(parts_of(layer, recursive=False))


class _OwnKernelError(Exception):
    """A layer multiplies by a kernel that is no layer's."""


class _GraphReader:
    """Reads the parts of a model from one call.

    Args:
        model: A built model.
        length: What to take for lengths that are not known.
    """

    def __init__(self, model: keras.Model, length: int | None) -> None:
        self._model = model
        self._length = length
        self._graph = ForwardGraph()
        self._found = Architecture()
        self._tensors: list[Any] = []  # the graph keeps none alive
        self._marked: dict[float, keras.Variable] = {}

    def read(self) -> Architecture:
        """Return the parts."""
        layers = [self._model, *parts_of(self._model)]
        with symbolic_calls(layers, self._follow) as scope:
            self._mark_weights(layers, scope)
            try:
                args, options = symbolic_inputs(self._model, self._length)
                self._model(*args, **options)
            except Exception as error:  # whatever a model of a user raises
                self._hide(self._model, error)
        found = self._found
        found.gates = self._graph.gates()
        crossing = set(found.crossing)
        branches = [
            replace(branch, crosses=branch.crosses or not crossing.isdisjoint(branch.operations))
            for branch in self._graph.branches()
        ]
        additions = {branch.addition for branch in branches}
        inside: set[keras.Operation] = set()
        for branch in branches:
            inside.update(branch.operations)
            is_around = not additions.isdisjoint(branch.operations)
            (found.around if is_around else found.branches).append(branch)
            if branch.stream not in found.starts:
                found.starts[branch.stream] = self._graph.kernels_before(branch)
        found.inputs = [layer for layer in self._graph.inputs() if layer not in inside]
        found.outputs = [layer for layer in self._graph.outputs() if layer not in inside]
        reached = set(found.tokens)
        for layer in layers:
            if isinstance(layer, keras.layers.Embedding) and layer not in reached:
                found.positions.append(layer)
        return found

    def _mark_weights(self, layers: list[keras.Layer], scope: keras.StatelessScope) -> None:
        """Give weights of users' layers with rows a number as their values, during the call.

        A part of a weight, in whatever shape, is an array of its number.
        """
        held: dict[int, keras.Variable] = {}
        for layer in layers:
            if is_followed(layer):
                inside = [id(one) for part in parts_of(layer) for one in part.weights]
                own = (one for one in layer.trainable_variables if id(one) not in inside)
                held.update((id(one), one) for one in own if len(one.shape) > 1)
        for number, variable in enumerate(held.values(), 1):
            if number > _MOST_MARKED:
                break
            self._marked[number] = variable
            # By NumPy: JAX would compile a program for each shape.
            values = np.full(variable.shape, number, variable.dtype)
            scope.add_update((variable, backend.to_tensor(values)))

    def _part_of_weight(self, value: Any) -> keras.Variable | None:
        """Return the weight that a tensor is a part of."""
        if isinstance(value, keras.KerasTensor) or not keras.ops.is_tensor(value):
            return None
        if len(value.shape) < 2 or 0 in value.shape:
            return None
        values = backend.host_view(value)
        variable = self._marked.get(float(values.flat[0]))
        if variable is None or value.shape[-1] != variable.shape[-1]:
            return None
        return variable if (values == values.flat[0]).all() else None

    def _follow(self, operation: keras.Operation, args: Any, options: Any) -> Any:
        """Make a call: note it, or follow the calls in it."""
        if isinstance(operation, keras.Layer):
            options = taken_options(operation, options)
            if is_followed(operation):
                try:
                    return operation.call(*args, **options)
                except Exception as error:  # it calls what knows no symbolic tensors
                    if multiplies_by_kernel(operation):
                        self._hide(operation, error)
        if returns_the_same(operation):
            return args[0]
        self._note(operation, args, options)
        given = keras.tree.flatten((args, options))
        inputs = [value for value in given if isinstance(value, keras.KerasTensor)]
        self._graph.add_inputs(inputs)
        self._graph.add_consumer(operation, inputs)
        outputs = _with_lengths(operation, args, options)
        made = keras.tree.flatten(outputs)
        self._tensors += [*inputs, *made]
        self._graph.add_outputs(operation, inputs, made, is_origin=True)
        return outputs

    def _hide(self, layer: keras.Layer, error: Exception) -> None:
        """Note why the `call` of a layer cannot be followed."""
        reason = "it multiplies by a kernel itself"
        if not isinstance(error, _OwnKernelError):
            line = str(error).strip().partition("\n")[0]
            reason = f"{type(error).__name__}: {line}"
        self._found.hidden.setdefault(layer, reason)

    def _note(self, operation: keras.Operation, args: Any, options: Any) -> None:
        """Note what is called."""
        found = self._found
        kind = type(operation).__name__
        if isinstance(operation, ATTENTION):
            given = inspect.signature(operation.call).bind(*args, **options).arguments
            is_crossing = given["query"] is not given["value"]
            found.attention[operation] = found.attention.get(operation, False) or is_crossing
        if isinstance(operation, keras.layers.Embedding):
            found.tokens.append(operation)
        given = keras.tree.flatten((args, options))
        tensors = [value for value in given if isinstance(value, keras.KerasTensor)]
        axes = max((len(tensor.shape) for tensor in tensors), default=0)
        for value in given:
            if kind == "Add":
                weight = value if isinstance(value, keras.Variable) else self._part_of_weight(value)
                has_rows = weight is not None and math.prod(weight.shape[:-1]) > 1
                # With fewer axes it is added at each place, as a bias for each head.
                if has_rows and len(value.shape) >= axes - 1:
                    found.added.append(weight)
            if not isinstance(value, keras.Variable):
                continue
            if kind in _PRODUCTS and value.name != "embeddings":
                raise _OwnKernelError  # see `_follow`
            if kind == "Multiply":
                found.scales[operation] = value


def _with_lengths(operation: Any, args: Any, options: Any) -> Any:
    """Return the symbolic outputs of a call, with the lengths that a layer leaves out.

    Such as `EinsumDense`, which takes them from its argument `output_shape`.
    """
    outputs = operation.compute_output_spec(*args, **options)
    if not _lacks_lengths(outputs) or _lacks_lengths((args, options)):
        return outputs

    def as_weights(value: Any) -> Any:  # the cast to 16 bits is outside of `call`
        if isinstance(value, keras.KerasTensor) and keras.backend.is_float_dtype(value.dtype):
            return keras.KerasTensor(value.shape, operation.variable_dtype)
        return value

    args, options = keras.tree.map_structure(as_weights, (args, options))
    try:
        computed = keras.Operation.compute_output_spec(operation, *args, **options)
    except Exception:  # whatever the `call` of a user's layer raises
        return outputs
    return keras.tree.map_structure(
        lambda output, known: keras.KerasTensor(known.shape, output.dtype), outputs, computed
    )


def _lacks_lengths(values: Any) -> bool:
    """Return whether a length of a symbolic tensor is not known."""
    tensors = [one for one in keras.tree.flatten(values) if isinstance(one, keras.KerasTensor)]
    return any(None in tensor.shape for tensor in tensors)
