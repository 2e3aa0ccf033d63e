"""A forward pass that pauses at each layer, and the kernels that may be changed there."""

import contextlib
import functools
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

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
Outputs = Callable[[], Array | None]
Visit = Callable[[keras.layers.Layer, Outputs], object]


def forward(
    model: keras.Model,
    x: Any,
    layers: Collection[keras.layers.Layer],
    values: Sequence[tuple[keras.Variable, Tensor]],
    visit: Visit,
) -> None:
    """Run a batch through `model` and call `visit` at the first call of each of `layers`, in execution order.

    The pass runs in training mode, so that batch normalization uses batch statistics. Layers with a
    random generator run in inference mode, without dropout and noise, but not what they pass it on
    to. All variables are restored at the end.

    Args:
        model: A built model.
        x: Its inputs.
        layers: Layers with kernels.
        values: Variables with the values to assign to them during the pass.
        visit: Function of a layer and its `Outputs`, which it must call at least once: the last
            outputs are passed on.
    """
    with HOOKS, contextlib.ExitStack() as stack:
        for layer in named_layers(model):
            name = call_name(layer)
            call = getattr(layer, name)
            call = _without_noise(call, draws=_has_generator(layer))
            if layer in layers:
                call = _visited(layer, call, visit)
            stack.enter_context(replaced(layer, name, call))
        stack.enter_context(backend.preserve_state([model, *parts_of(model)]))
        assign(values)
        model(x, training=True)


def _has_generator(layer: keras.layers.Layer) -> bool:
    """Return whether `layer` has a random generator of its own, also in a list, as Keras keeps all of them."""
    # A recurrent layer calls its cells directly.
    parts = [layer, *(parts_of(layer) if isinstance(layer, keras.layers.RNN) else [])]
    for value in [value for part in parts for value in vars(part).values()]:
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, keras.random.SeedGenerator):
                return True
    return False


class _Off(int):
    """A false `training` that is told from the one by which a block itself freezes a batch normalization."""


_OFF = _Off(0)


def _without_noise(call: Callable[..., Tensor], *, draws: bool) -> Callable[..., Tensor]:
    """Wrap the `call` of a layer so that it is in inference mode if it `draws`, and its parts are not for that."""

    @functools.wraps(call)
    def quiet(*args: Any, **kwargs: Any) -> Tensor:
        if "training" in kwargs and draws:
            kwargs["training"] = _OFF
        elif kwargs.get("training") is _OFF:
            kwargs["training"] = True
        return call(*args, **kwargs)

    return quiet


def _visited(
    layer: keras.layers.Layer, call: Callable[..., Tensor], visit: Visit
) -> Callable[..., Tensor]:
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
        # What a call may change: statistics, and the states of a recurrent layer, which Keras does
        # not list.
        changing = [
            *layer.non_trainable_variables,
            *keras.tree.flatten(getattr(layer, "states", None)),
        ]
        state = [
            (variable, variable.value)
            for variable in changing
            if isinstance(variable, keras.Variable)
        ]

        activation: Any = activation_of(layer)
        before: list[Tensor] = []

        def recorded(values: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            before.append(values)
            return activation(values, *args, **kwargs)

        def repeated() -> Array | None:
            nonlocal outputs
            assign(state)
            before.clear()
            with (
                replaced(layer, "activation", recorded) if activation else contextlib.nullcontext()
            ):
                outputs = call(*args, **kwargs)
            if isinstance(layer, keras.layers.RNN):
                found = _gates(layer, args[0] if args else kwargs["sequences"])
            else:
                found = first_float(before or outputs)
            return None if found is None else array_of(found)

        visit(layer, repeated)
        return outputs

    return hooked


def _gates(layer: keras.layers.RNN, inputs: Tensor) -> Tensor | None:
    """Return the product of the cell's kernel with the inputs of all steps, or `None` if it is not known."""
    cell, kernel = layer.cell, _input_kernel(layer)
    if kernel is None:
        return None
    if hasattr(cell, "input_conv"):
        images = keras.ops.reshape(inputs, (-1, *inputs.shape[2:]))
        return cell.input_conv(images, kernel, padding=cell.padding)
    return keras.ops.matmul(inputs, kernel) if kernel.shape[:-1] == inputs.shape[-1:] else None


class Kernels(NamedTuple):
    """The kernels of a layer.

    Attributes:
        free: The kernels that multiply its inputs and may be changed.
        reason: Why no kernel may be changed; empty if one may.
    """

    free: tuple[keras.Variable, ...]
    reason: str


def kernels_of(layer: keras.layers.Layer) -> Kernels | None:
    """Return the `Kernels` of `layer`, or `None` if it has none."""
    if is_quantized(layer):
        return Kernels((), "quantized")
    if layer.weights and isinstance(
        layer, keras.layers.TFSMLayer | keras.layers.TorchModuleWrapper
    ):
        return Kernels((), "of another framework, which reads its weights without Keras")
    if isinstance(layer, keras.layers.RNN):
        kernel = _input_kernel(layer)
        if kernel is None:
            return Kernels((), "the kernels of its cell are not known") if layer.weights else None
        found = [kernel]
    else:
        found = [
            weight for weight in own_weights(layer) if len(weight.shape) > 1 and is_kernel(weight)
        ]
    # The factors of LoRA start a change of the kernel at zero. While they train, it is frozen.
    found = [weight for weight in found if not weight.name.startswith("lora_")]
    if not found:
        return None
    free = [weight for weight in found if weight.trainable]
    if not free:
        return Kernels((), "frozen")
    # Embeddings are looked up or added, not multiplied.
    free = [
        weight
        for weight in free
        if not isinstance(layer, keras.layers.Embedding) and "embed" not in weight.name
    ]
    if not free:
        return Kernels((), "an embedding, which does not multiply its input")
    free = [weight for weight in free if not is_zero(layer, weight)]
    return Kernels(tuple(free), "" if free else "its kernel is zero")


def _input_kernel(layer: keras.layers.RNN) -> keras.Variable | None:
    """Return the matrix or filters by which the cell of `layer` multiplies its inputs, or `None` if it is not known.

    The recurrent kernel multiplies the state, and the inside of a loop over several cells is not
    accessible.
    """
    kernel = getattr(layer.cell, "kernel", None)
    return kernel if isinstance(kernel, keras.Variable) and len(kernel.shape) > 1 else None
