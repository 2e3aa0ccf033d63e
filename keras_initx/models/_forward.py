"""A forward pass that pauses at each layer, so that its kernels can be changed before its output is passed on."""

import contextlib
import functools
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import keras

from keras_initx._typing import Array, Tensor
from keras_initx.backends import backend
from keras_initx.diagnostics._activations import activation_of
from keras_initx.diagnostics._layers import call_name, named_layers, parts_of, replaced
from keras_initx.diagnostics._types import Arrays
from keras_initx.diagnostics._values import array_of, first_float, tensors_in
from keras_initx.models._kernels import input_kernel

# Calls a layer, possibly again, and returns its output before the activation, or `None` if that is not accessible.
Outputs = Callable[[], Array | None]
Visit = Callable[[keras.layers.Layer, Outputs], object]


def forward(
    model: keras.Model,
    x: Arrays,
    layers: Collection[keras.layers.Layer],
    values: Sequence[tuple[keras.Variable, Array]],
    visit: Visit,
) -> None:
    """Run a batch through `model` and call `visit` at the first call of each of `layers`, in execution order.

    The pass runs in training mode, so that batch normalization uses batch statistics. Layers with a
    random generator run in inference mode: no dropout and no noise. All variables are restored at
    the end.

    Args:
        model: A built model.
        x: Its inputs.
        layers: Layers with kernels.
        values: Variables with the arrays to assign to them during the pass.
        visit: Function of a layer and its `Outputs`, which it must call at least once: the last
            outputs are passed on.
    """
    with contextlib.ExitStack() as stack:
        for layer in named_layers(model):
            name = call_name(layer)
            call = getattr(layer, name)
            if _is_random(layer):
                call = _as_in_inference(call)
            if layer in layers:
                call = _visited(layer, call, visit)
            stack.enter_context(replaced(layer, name, call))
        stack.enter_context(backend.preserve_state([model, *parts_of(model)]))
        for variable, value in values:
            variable.assign(value)
        model(x, training=True)


def _is_random(layer: keras.layers.Layer) -> bool:
    """Return whether `layer`, or the cell that it calls directly, has a random generator."""
    parts = [layer, *(parts_of(layer) if isinstance(layer, keras.layers.RNN) else [])]
    return any(isinstance(value, keras.random.SeedGenerator) for part in parts for value in vars(part).values())


def _as_in_inference(call: Callable[..., Tensor]) -> Callable[..., Tensor]:
    @functools.wraps(call)
    def quiet(*args: Any, **kwargs: Any) -> Tensor:
        if "training" in kwargs:
            kwargs["training"] = False
        return call(*args, **kwargs)

    return quiet


def _visited(layer: keras.layers.Layer, call: Callable[..., Tensor], visit: Visit) -> Callable[..., Tensor]:
    """Wrap `call` so that `visit` decides how often its first call is repeated."""
    is_first = True

    @functools.wraps(call)
    def hooked(*args: Any, **kwargs: Any) -> Tensor:
        nonlocal is_first
        # Inside a trace there are no values.
        tensors = [leaf for leaf in keras.tree.flatten((args, kwargs)) if keras.ops.is_tensor(leaf)]
        if not is_first or len(tensors_in(tensors)) < len(tensors):
            return call(*args, **kwargs)
        is_first = False
        outputs = None
        state = [(variable, variable.value) for variable in _state(layer)]

        def repeated() -> Array | None:
            nonlocal outputs
            for variable, value in state:
                variable.assign(value)
            with _before_activation(layer) as seen:
                outputs = call(*args, **kwargs)
            if isinstance(layer, keras.layers.RNN):
                found = _gates(layer, args[0] if args else kwargs["sequences"])
            else:
                found = first_float(seen or outputs)
            return None if found is None else array_of(found)

        visit(layer, repeated)
        return outputs

    return hooked


def _state(layer: keras.layers.Layer) -> list[keras.Variable]:
    """Return what a call may change: statistics, and the states of a recurrent layer, which Keras does not list."""
    states = keras.tree.flatten(getattr(layer, "states", None))
    return [*layer.non_trainable_variables, *(state for state in states if isinstance(state, keras.Variable))]


@contextlib.contextmanager
def _before_activation(layer: keras.layers.Layer) -> Iterator[list[Tensor]]:
    """Yield a list that collects the inputs of the activation of `layer`."""
    seen: list[Tensor] = []
    activation = activation_of(layer)
    if activation is None:
        yield seen
        return

    def hooked(values: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        seen.append(values)
        return activation(values, *args, **kwargs)

    with replaced(layer, "activation", hooked):
        yield seen


def _gates(layer: keras.layers.RNN, inputs: Tensor) -> Tensor | None:
    """Return the product of the cell's kernel with the inputs of all steps, or `None` if it is not known."""
    cell, kernel = layer.cell, input_kernel(layer)
    if kernel is None:
        return None
    if hasattr(cell, "input_conv"):
        images = keras.ops.reshape(inputs, (-1, *inputs.shape[2:]))
        return cell.input_conv(images, kernel, padding=cell.padding)
    return keras.ops.matmul(inputs, kernel) if kernel.shape[:-1] == inputs.shape[-1:] else None
