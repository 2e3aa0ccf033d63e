"""Watch the calls of a model: watchers look at each call of a layer or operation.

    class Largest(Watcher):
        def after(self, call):                  # `before`, `activated`, `read`, `finish` as well
            if call.is_seen:
                print(call.operation.name, call.values.max())

    Watch(Inventory(model)).observe(x, Largest(), training=False)

Keras has no hooks for this, so methods are replaced, see `_hooks.py`.
"""

import contextlib
import functools
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from keras_initx._keras import list_layers
from keras_initx._typing import Array, Tensor
from keras_initx.backends._current import backend
from keras_initx.inspection._batch import first_float, list_tensors, to_array
from keras_initx.inspection._graph import ForwardGraph
from keras_initx.inspection._hooks import (
    HOOKS,
    activation_name,
    call_name,
    read_activation,
    replace_attribute,
)
from keras_initx.inspection._inventory import Inventory
from keras_initx.inspection._kernels import CONVOLUTIONS, has_kernel
from keras_initx.inspection._names import list_own_weights

# These layers take integers as numbers; to other layers they may be indices.
_MULTIPLYING = (
    keras.layers.Dense,
    keras.layers.EinsumDense,
    keras.layers.RNN,
    *CONVOLUTIONS,
)


@dataclass(eq=False)
class Call:
    """A call of a layer, of an operation of a functional model, or of a module of torch.

    Attributes:
        operation: The layer, operation or module.
        function: The method that is called.
        args: Its arguments by position.
        kwargs: Its arguments by keyword.
        arguments: All of them, in the order of its parameters.
        inputs: The tensors among them.
        before_activation: The first input of the activation of the layer during the call, or
            `None`.
        outputs: Its outputs.
        output: The first tensor in `outputs` if it has floats, or `None`.
        is_seen: Whether `output` comes from a layer with weights or an activation. A layer around
            others counts if it has weights itself, or if the others cannot be observed.
        first_inside: The first layer inside the call with `is_seen`, or the layer itself.
    """

    operation: keras.Operation
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    arguments: tuple[Any, ...]
    inputs: list[Tensor]
    before_activation: Tensor | None = None
    outputs: Any = None
    output: Tensor | None = None
    is_seen: bool = False
    first_inside: keras.Layer | None = None

    @functools.cached_property
    def values(self) -> Array:
        """The values of `output`."""
        return to_array(self.output)

    @property
    def kernel_input(self) -> Tensor | None:
        """The first argument, if it has numbers that the kernel of the layer multiplies."""
        # The integers that any layer may get as numbers are those of images.
        kind = "int" if isinstance(self.operation, _MULTIPLYING) else "uint8"
        return first_float(self.arguments, or_kind=kind)


class Watcher:
    """Looks at the calls of a model. The methods of this class do nothing."""

    def before(self, call: Call) -> None:
        """Look at a call that is about to be made, or change its `function` and `kwargs`."""

    def activated(
        self,
        layer: keras.Layer,
        activation: Callable[..., Tensor],
        values: Tensor,
        outputs: Tensor,
    ) -> None:
        """Look at values before and after an activation: an attribute of `layer`, or the layer."""

    def after(self, call: Call) -> None:
        """Look at a call that has returned."""

    def finish(self, outputs: Any) -> None:
        """Look at the outputs of the model, with the state after the pass, which is not kept."""

    def read(self, variable: keras.Variable) -> None:
        """Look at a variable whose value the model reads."""

    def watching(self) -> contextlib.AbstractContextManager[object]:
        """Return a context in which the watcher can replace more methods."""
        return contextlib.nullcontext()


class Watch:
    """The layers of a model, and the facts about their calls in a forward pass so far.

    Args:
        inventory: The layers and weights of a built model.

    Attributes:
        layers: Dict from each layer to its name, see `Inventory.names`.
        paths: Dict from each layer to its path, see `Inventory.paths`.
        activations: Dict from each layer to the name of the activation that it applies, or `None`.
        with_kernel: The layers whose kernel multiplies inputs.
        graph: The graph of the forward pass.
        calls: The calls that have not returned, from the model to the innermost.
        is_paused: Whether calls are ignored.
    """

    def __init__(self, inventory: Inventory) -> None:
        self._model = inventory.model
        self.layers: dict[keras.Layer, str] = inventory.names
        self.paths: dict[keras.Layer, str] = inventory.paths
        self.activations: dict[keras.Layer, str | None] = {
            layer: activation_name(layer) for layer in self.layers
        }
        self.with_kernel: set[keras.Layer] = set(filter(has_kernel, self.layers))
        self.graph: ForwardGraph = ForwardGraph()
        self.calls: list[Call] = []
        self._watchers: tuple[Watcher, ...] = ()
        self.is_paused: bool = False
        # How many layers are being called that may transform tensors in ways that cannot be
        # observed.
        self._opaque_calls = 0

    def observe(self, x: Any, *watchers: Watcher, training: bool) -> None:
        """Make one forward pass that watchers look at. Afterward the model is in its former state.

        Args:
            x: The inputs of the model.
            watchers: Look at each call, in this order.
            training: Whether the model is called in training mode.
        """
        with HOOKS, backend.preserve_state(list_layers(self._model)) as scope:
            with self.watching(*watchers, scope=scope):
                outputs = self._model(x, training=training)
            for watcher in watchers:
                watcher.finish(outputs)

    @contextlib.contextmanager
    def watching(
        self, *watchers: Watcher, scope: keras.StatelessScope | None = None
    ) -> Iterator[None]:
        """Let watchers look at all calls for the duration of the block, in this order.

        They look at each variable that is read if the block is in a `scope`.
        """
        self._watchers = watchers
        with HOOKS, contextlib.ExitStack() as stack:
            for watcher in watchers:
                stack.enter_context(watcher.watching())
            if scope is not None:
                wrapped = self._wrap_read(scope.get_current_value)
                stack.enter_context(replace_attribute(scope, "get_current_value", wrapped))
            for layer in self.layers:
                name = call_name(layer)
                wrapped = self._wrap_call(layer, getattr(layer, name))
                stack.enter_context(replace_attribute(layer, name, wrapped))
                activation = read_activation(layer)
                if activation is not None:
                    wrapped = self._wrap_activation(layer, activation)
                    stack.enter_context(replace_attribute(layer, "activation", wrapped))
            for layer in self.layers:
                if isinstance(layer, keras.layers.Bidirectional):
                    # On a GPU, Keras computes both directions at once, without calling them. When
                    # they are called, each is computed as it would be alone.
                    for direction in (layer.forward_layer, layer.backward_layer):
                        choice = getattr(direction, "use_cudnn", False)
                        alone = replace_attribute(direction, "use_cudnn", choice)
                        stack.enter_context(
                            replace_attribute(direction, "call", alone(direction.call))
                        )
                        stack.enter_context(replace_attribute(direction, "use_cudnn", False))
            # Layers cast their inputs before they are called. Several may have one policy.
            policies = {id(layer.dtype_policy): layer.dtype_policy for layer in self.layers}
            for policy in policies.values():
                wrapped = self._wrap_cast(policy.convert_input)
                stack.enter_context(replace_attribute(policy, "convert_input", wrapped))
            # A functional model also has operations that are not layers, such as additions.
            operations: set[keras.Operation] = set()
            for layer in self.layers:
                operations.update(getattr(layer, "operations", ()))
            for operation in operations - self.layers.keys():
                wrapped = self._wrap_call(operation, operation.call)
                stack.enter_context(replace_attribute(operation, "call", wrapped))
            yield

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Ignore calls for the duration of the block, because they are no part of the pass."""
        self.is_paused = True
        try:
            yield
        finally:
            self.is_paused = False

    def _wrap_call(
        self, operation: keras.Operation, function: Callable[..., Any]
    ) -> Callable[..., Any]:
        # Functional models only call other layers and operations, which are observed.
        is_opaque = not isinstance(operation, keras.Sequential | keras.Function)
        is_origin = False
        is_container = False
        is_activation = False
        if operation in self.layers:
            has_activation = self.activations[operation] is not None
            is_activation = has_activation and read_activation(operation) is None
            is_origin = bool(operation.weights) or has_activation
            is_container = not (list_own_weights(operation) or has_activation)

        @functools.wraps(function)
        def hooked(*args: Any, **kwargs: Any) -> Any:
            if self.is_paused:
                return function(*args, **kwargs)
            arguments = args
            if not arguments:
                # A layer may get its inputs by keyword.
                arguments = tuple(inspect.signature(function).bind(**kwargs).arguments.values())
            call = Call(operation, function, args, kwargs, arguments, list_tensors((args, kwargs)))
            if not self._opaque_calls:
                self.graph.add_inputs(call.inputs)
            if is_opaque:
                self.graph.add_consumer(operation, call.inputs)
            for watcher in self._watchers:
                watcher.before(call)
            self._opaque_calls += is_opaque
            self.calls.append(call)
            try:
                call.outputs = call.function(*call.args, **call.kwargs)
            finally:
                self._opaque_calls -= is_opaque
                self.calls.pop()
            self.graph.add_outputs(
                operation, call.inputs, list_tensors(call.outputs), is_origin=is_origin
            )
            call.output = first_float(call.outputs)
            is_around_others = is_container and call.first_inside is not None
            call.is_seen = is_origin and not is_around_others and call.output is not None
            if call.is_seen:
                call.first_inside = operation
            if self.calls and self.calls[-1].first_inside is None:
                self.calls[-1].first_inside = call.first_inside
            if call.is_seen and is_activation and arguments:
                for watcher in self._watchers:
                    watcher.activated(operation, function, arguments[0], call.output)
            for watcher in self._watchers:
                watcher.after(call)
            return call.outputs

        return hooked

    def _wrap_read(self, read: Callable[..., Tensor]) -> Callable[..., Tensor]:
        # `read` is the function by which a scope is asked for the value of each variable.

        @functools.wraps(read)
        def hooked(variable: keras.Variable) -> Tensor:
            if not self.is_paused:
                for watcher in self._watchers:
                    watcher.read(variable)
            return read(variable)

        return hooked

    def _wrap_cast(self, cast: Callable[..., Tensor]) -> Callable[..., Tensor]:
        # In the graph, inputs after the cast are another form of those before it.

        @functools.wraps(cast)
        def hooked(tensor: Tensor, *args: Tensor, **kwargs: Tensor) -> Tensor:
            result = cast(tensor, *args, **kwargs)
            if not self.is_paused:
                self.graph.add_alias(tensor, result)
            return result

        return hooked

    def _wrap_activation(
        self, layer: keras.Layer, activation: Callable[..., Tensor]
    ) -> Callable[..., Tensor]:
        @functools.wraps(activation)
        def hooked(*args: Any, **kwargs: Any) -> Any:
            values = next(iter((*args, *kwargs.values())), None)
            for call in self.calls:
                if call.operation is layer and call.before_activation is None:
                    call.before_activation = values
            outputs = activation(*args, **kwargs)
            if first_float(values) is not None and not self.is_paused:
                for watcher in self._watchers:
                    watcher.activated(layer, activation, values, outputs)
            return outputs

        return hooked


def check_rows(call: Call, paths: Mapping[keras.Layer, str]) -> None:
    """Raise `ValueError` if an embedding is called with an index that has no row.

    For such an index JAX gives NaN, TensorFlow gives zeros or an error, and torch on a GPU ends the
    process.

    Args:
        call: The call, before it is made.
        paths: Dict from the layers of the model to their paths.
    """
    layer = call.operation
    if not isinstance(layer, keras.layers.Embedding) or not call.inputs:
        return
    if type(layer).call is not keras.layers.Embedding.call:
        return
    indices = to_array(call.inputs[0])
    if not indices.size:
        return
    low, high = indices.min(), indices.max()
    if low < 0 or high >= layer.input_dim:
        raise ValueError(
            f"`model` must have a row for each index. {paths[layer]} has "
            f"input_dim={layer.input_dim}, so its indices must be from 0 to {layer.input_dim - 1}. "
            f"Received: indices from {low:g} to {high:g}"
        )


def call_observed_module(
    module: Any,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    *watchers: Watcher,
    training: bool = False,
) -> None:
    """Call a module of torch, and let watchers look at the calls of all modules in it.

    Afterward the module is in its former state. Encoders call their layers one by one instead of
    their fused program, because that program passes nested tensors on.

    Args:
        module: The module, whatever the backend is.
        args: Its arguments by position, tensors of torch among them.
        kwargs: Its arguments by keyword.
        watchers: Look at each call before and after it, and at the outputs of the module.
        training: Whether the module is called in training mode. If it is in it already, the modes
            of the modules in it count.
    """
    torch = sys.modules["torch"]
    calls: list[Call] = []

    def before(submodule: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        arguments = (*args, *kwargs.values())
        call = Call(
            submodule,
            submodule.forward,
            args,
            kwargs,
            arguments,
            list(filter(torch.is_tensor, arguments)),
        )
        calls.append(call)
        for watcher in watchers:
            watcher.before(call)

    def after(submodule: Any, args: Any, outputs: Any) -> None:
        call = calls.pop()
        call.outputs = outputs
        for watcher in watchers:
            watcher.after(call)

    with contextlib.ExitStack() as stack:
        stack.enter_context(HOOKS)
        stack.enter_context(backend.full_precision())
        stack.enter_context(torch.no_grad())
        was_enabled = torch.backends.mha.get_fastpath_enabled()
        stack.callback(torch.backends.mha.set_fastpath_enabled, was_enabled)
        torch.backends.mha.set_fastpath_enabled(False)
        for submodule in module.modules():
            stack.callback(setattr, submodule, "training", submodule.training)
            handle = submodule.register_forward_pre_hook(before, with_kwargs=True)
            stack.callback(handle.remove)
            stack.callback(submodule.register_forward_hook(after).remove)
        if not (training and module.training):
            module.train(training)
        outputs = module(*args, **kwargs)
        for watcher in watchers:
            watcher.finish(outputs)
