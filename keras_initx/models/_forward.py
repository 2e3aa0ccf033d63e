"""A forward pass that pauses at each layer, and the factor that gives its output variance 1."""

import contextlib
import functools
import math
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_initx._typing import Array, Tensor
from keras_initx.backends import backend
from keras_initx.diagnostics._layers import activation_of, call_name, named_layers, parts_of, replaced
from keras_initx.diagnostics._signal import array_of, first_float, spread, tensors_in
from keras_initx.diagnostics._verdicts import Arrays
from keras_initx.models._weights import input_kernel

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


# If the variance grows with less than this power of the kernel's scale, the kernel does not determine it.
_LEAST_POWER = 0.1
# Examples that differ by less than this relative amount are equal up to rounding.
_LEAST_SPREAD = 1e-5


class Fit(NamedTuple):
    """The factor, the number of steps that it took to find it, and the reason if there is none."""

    factor: float
    steps: int
    reason: str = ""


def unit_variance(outputs: Callable[[float], Array | None], power: float, tolerance: float, max_steps: int) -> Fit:
    """Return the factor that brings the variance of `outputs` within `tolerance` of 1.

    The output of a layer is usually proportional to its kernel, so that one step is enough. A bias
    or another added term breaks the proportionality: then each step is a secant step through the
    last two points on logarithmic scales.

    Args:
        outputs: Function of a factor on the kernel.
        power: The power of the factor by which the variance scales: twice the number of multiplied
            kernels.
        tolerance: A positive number.
        max_steps: Maximum number of factors to try.

    Returns:
        A `Fit` with the best factor found, or with a reason.
    """
    values = outputs(1.0)
    reason = _obstacle(values)
    tried: list[tuple[float, float]] = []
    logarithm = 0.0
    while not reason:
        assert values is not None
        variance = float(values.var(dtype="float64"))
        if not 0 < variance < math.inf:
            reason = "its output vanishes or overflows"
            break
        tried.append((logarithm, math.log(variance)))
        if abs(variance - 1) <= tolerance or len(tried) > max_steps:
            break
        if len(tried) > 1:
            (before, from_), (after, to) = tried[-2:]
            power = (to - from_) / (after - before)
            if not power > _LEAST_POWER:
                reason = "its output does not follow its kernel"
                break
        logarithm -= tried[-1][1] / power
        if abs(logarithm) > 80:  # beyond the range of float32
            reason = "its output does not follow its kernel"
            break
        values = outputs(math.exp(logarithm))
        if values is None or not np.isfinite(values).all():
            reason = "its output vanishes or overflows"
    if reason:
        return Fit(1.0, 0, reason)
    closest = min(tried, key=lambda one: abs(one[1]))
    if closest is not tried[-1]:
        outputs(math.exp(closest[0]))
    return Fit(math.exp(closest[0]), len(tried) - 1)


def _obstacle(values: Array | None) -> str:
    """Return why no factor can bring the variance of `values` to 1, empty if one can."""
    if values is None:
        return "its output is not known or not floating-point"
    if not np.isfinite(values).all():
        return "its output is not finite"
    size = math.sqrt(float(np.square(values, dtype="float64").mean())) if values.size else 0.0
    if not size:
        return "its output is zero"
    if spread(values) <= _LEAST_SPREAD * size:
        return "its output is the same for all examples"
    return ""
