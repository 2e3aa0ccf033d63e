"""A forward pass that pauses at each layer, and the kernels that may be changed there."""

import contextlib
import functools
from collections.abc import Callable, Collection, Iterator
from typing import Any, NamedTuple, TypeAlias

import keras

from keras_initx._typing import Array, Tensor
from keras_initx.backends import backend
from keras_initx.models._assign import assign
from keras_initx.structure import (
    HOOKS,
    activation_of,
    array_of,
    call_name,
    first_float,
    is_kernel,
    is_quantized,
    is_zero,
    named_layers,
    own_weights,
    parts_of,
    replaced,
    tensors_in,
)

# Calls a layer, possibly again, and returns its output before the activation, or `None` if that is
# not accessible.
Outputs: TypeAlias = Callable[[], Array | None]
Visit: TypeAlias = Callable[[keras.layers.Layer, Outputs], object]
# The method by which Keras calls a layer.
_Call: TypeAlias = Callable[..., Tensor]


def forward(
    model: keras.Model,
    x: Any,
    layers: Collection[keras.layers.Layer],
    visit: Visit,
) -> None:
    """Run a batch through `model`, and call `visit` at the first call of each of `layers`.

    When a layer is called again by its `visit`, those inside it are visited again.

    The pass runs in training mode, so that batch normalization uses batch statistics. Layers with a
    random generator run in inference mode, without dropout and noise, but not what they pass it on
    to. All variables are restored at the end.

    Args:
        model: A built model.
        x: Its inputs.
        layers: Layers with kernels.
        visit: Function of a layer and its `Outputs`, which it must call at least once: the last
            outputs are passed on.
    """
    visited: set[keras.layers.Layer] = set()
    with HOOKS, contextlib.ExitStack() as stack:
        for layer in named_layers(model):
            name = call_name(layer)
            call = getattr(layer, name)
            call = _without_noise(call, draws=_has_generator(layer))
            if layer in layers:
                call = _visited(layer, call, visit, visited)
            stack.enter_context(replaced(layer, name, call))
        stack.enter_context(backend.preserve_state([model, *parts_of(model)]))
        model(x, training=True)


def _has_generator(layer: keras.layers.Layer) -> bool:
    """Return whether `layer` has a random generator of its own."""
    parts = [layer]
    if isinstance(layer, keras.layers.RNN):  # which calls its cells directly
        parts += parts_of(layer)
    for part in parts:
        for value in vars(part).values():
            # Keras keeps a list of them.
            items = value if isinstance(value, list) else [value]
            if any(isinstance(item, keras.random.SeedGenerator) for item in items):
                return True
    return False


class _Off(int):
    """A false `training` other than that by which a block itself freezes a batch normalization."""


_OFF = _Off(0)


def _without_noise(call: _Call, *, draws: bool) -> _Call:
    """Wrap the `call` of a layer so that it is in inference mode if it `draws`.

    The layers inside it are in training mode as before.
    """

    @functools.wraps(call)
    def quiet(*args: Any, **kwargs: Any) -> Tensor:
        if "training" in kwargs and draws:
            kwargs["training"] = _OFF
        elif kwargs.get("training") is _OFF:
            kwargs["training"] = True
        return call(*args, **kwargs)

    return quiet


def _visited(
    layer: keras.layers.Layer, call: _Call, visit: Visit, visited: set[keras.layers.Layer]
) -> _Call:
    """Wrap `call` so that `visit` decides how often its first call is repeated.

    It is repeated with the same inputs and from the same state, and what its last call returns is
    passed on.
    """

    @functools.wraps(call)
    def hooked(*args: Any, **kwargs: Any) -> Tensor:
        if layer in visited or not _has_values((args, kwargs)):
            return call(*args, **kwargs)
        visited.add(layer)
        visited_before = frozenset(visited)
        state = _state(layer)
        result: Tensor = None

        def outputs() -> Array | None:
            nonlocal result
            visited.intersection_update(visited_before)
            assign(state)
            with _recorded_before_activation(layer) as before_activation:
                result = call(*args, **kwargs)
            if isinstance(layer, keras.layers.RNN):
                found = _gates(layer, args[0] if args else kwargs["sequences"])
            else:
                found = first_float(before_activation or result)
            if found is None:
                return None
            return array_of(found)

        visit(layer, outputs)
        return result

    return hooked


def _has_values(inputs: Any) -> bool:
    """Return whether all tensors have values, which they do not inside a trace."""
    tensors = [leaf for leaf in keras.tree.flatten(inputs) if keras.ops.is_tensor(leaf)]
    return len(tensors_in(tensors)) == len(tensors)


def _state(layer: keras.layers.Layer) -> list[tuple[keras.Variable, Tensor]]:
    """Return what a call of `layer` may change, with its values."""
    # Keras does not list the states of a recurrent layer.
    states = keras.tree.flatten(getattr(layer, "states", None))
    return [
        (variable, variable.value)
        for variable in [*layer.non_trainable_variables, *states]
        if isinstance(variable, keras.Variable)
    ]


@contextlib.contextmanager
def _recorded_before_activation(layer: keras.layers.Layer) -> Iterator[list[Tensor]]:
    """Yield a list to which what the activation of `layer` gets is added; empty without one."""
    recorded: list[Tensor] = []
    activation: Any = activation_of(layer)

    def record(values: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        recorded.append(values)
        return activation(values, *args, **kwargs)

    with contextlib.ExitStack() as stack:
        if activation is not None:
            stack.enter_context(replaced(layer, "activation", record))
        yield recorded


def _gates(layer: keras.layers.RNN, inputs: Tensor) -> Tensor | None:
    """Return the product of the cell's kernel with the inputs of all steps.

    `None` if it is not known.
    """
    cell = layer.cell
    kernel = _input_kernel(layer)
    if kernel is None:
        return None
    if hasattr(cell, "input_conv"):
        images = keras.ops.reshape(inputs, (-1, *inputs.shape[2:]))
        return cell.input_conv(images, kernel, padding=cell.padding)
    if kernel.shape[:-1] != inputs.shape[-1:]:
        return None
    return keras.ops.matmul(inputs, kernel)


class Kernels(NamedTuple):
    """The kernels of a layer.

    Attributes:
        free: The kernels that multiply its inputs and may be changed.
        reason: Why no kernel may be changed; empty if one may.
    """

    free: tuple[keras.Variable, ...]
    reason: str


# Layers that hold a model of another framework.
_FOREIGN = (keras.layers.TFSMLayer, keras.layers.TorchModuleWrapper)


def kernels_of(layer: keras.layers.Layer) -> Kernels | None:
    """Return the `Kernels` of `layer`, or `None` if it has none."""
    if is_quantized(layer):
        return Kernels((), "quantized")
    if isinstance(layer, _FOREIGN) and layer.weights:
        return Kernels((), "of another framework, which reads its weights without Keras")
    found = []
    if isinstance(layer, keras.layers.RNN):
        kernel = _input_kernel(layer)
        if kernel is not None:
            found.append(kernel)
        elif layer.weights:
            return Kernels((), "the kernels of its cell are not known")
    else:
        for weight in own_weights(layer):
            if len(weight.shape) > 1 and is_kernel(weight):
                found.append(weight)
    # The factors of LoRA start a change of the kernel at zero. While they train, it is frozen.
    found = [weight for weight in found if not weight.name.startswith("lora_")]
    if not found:
        return None
    trained = [weight for weight in found if weight.trainable]
    if not trained:
        return Kernels((), "frozen")
    # Embeddings are looked up or added, not multiplied.
    multiplying = [weight for weight in trained if "embed" not in weight.name]
    if not multiplying or isinstance(layer, keras.layers.Embedding):
        return Kernels((), "an embedding, which does not multiply its input")
    free = [weight for weight in multiplying if not is_zero(layer, weight)]
    if not free:
        return Kernels((), "its kernel is zero")
    return Kernels(tuple(free), "")


def _input_kernel(layer: keras.layers.RNN) -> keras.Variable | None:
    """Return the matrix or filters by which the cell of `layer` multiplies its inputs.

    `None` if it is not known. The recurrent kernel multiplies the state, and the inside of a loop
    over several cells is not accessible.
    """
    kernel = getattr(layer.cell, "kernel", None)
    if isinstance(kernel, keras.Variable) and len(kernel.shape) > 1:
        return kernel
    return None
