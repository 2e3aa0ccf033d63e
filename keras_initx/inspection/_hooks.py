"""Replace methods and attributes of layers for a while, because Keras has no hooks for them.

While a model is watched (`_watch.py`), attributes of objects are replaced (`replace_attribute`):
the method by which Keras calls a layer, its activation, the cast of its inputs, and the call of an
operation that is no layer. While a layer is copied (`_layer_initializers.py`) or weights are
loaded, methods of classes are replaced, but for one thread only (`PatchedMethod`): the methods
that add a weight, make a layer and assign a variable, and the calls of initializers.

This file also reads the activations of layers.
"""

import contextlib
import functools
import math
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeAlias

import keras
import numpy as np

from keras_initx._typing import Array, Tensor
from keras_initx.initializers._activations import activation_facts

# Held while calls are replaced: two threads would restore them in the wrong order.
HOOKS = threading.RLock()

# What Keras accepts for a weight: an object, or a function of shape and dtype.
LayerInitializer: TypeAlias = keras.initializers.Initializer | Callable[..., Any]


@contextlib.contextmanager
def replace_attribute(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Replace an attribute of an object temporarily, bypassing Keras' attribute tracking."""
    attributes = vars(owner)
    original = {name: attributes[name]} if name in attributes else {}
    attributes[name] = value
    try:
        yield
    finally:
        del attributes[name]
        attributes.update(original)


class PatchedMethod:
    """A method of a class that a thread replaces by functions of its own.

    The first thread replaces the method and the last puts it back, in whatever order they end.

    Args:
        owner: The class, which may inherit the method.
        name: The name of the method.
    """

    def __init__(self, owner: type, name: str) -> None:
        self._owner = owner
        self._name = name
        self._functions: dict[int, list[Callable[..., Any]]] = {}
        self._changing = threading.Lock()
        self._original: Any = None
        self._is_inherited = False

    @contextlib.contextmanager
    def wrap(self, function: Callable[..., Any]) -> Iterator[None]:
        """Call `function` in place of the method in this thread, for the duration of the block.

        Its first argument is the function that it replaces: the method, or the function of an outer
        block.
        """
        thread = threading.get_ident()
        try:
            with self._changing:
                if not self._functions:
                    inherited = getattr(self._owner, self._name)
                    self._original = vars(self._owner).get(self._name, inherited)
                    self._is_inherited = self._name not in vars(self._owner)
                    setattr(self._owner, self._name, self._replacement())
                self._functions.setdefault(thread, []).append(function)
            yield
        finally:
            with self._changing:
                functions = self._functions.get(thread, [])
                if function in functions:
                    functions.remove(function)
                if not functions:
                    self._functions.pop(thread, None)
                if not self._functions and self._original is not None:
                    if self._is_inherited:
                        delattr(self._owner, self._name)
                    else:
                        setattr(self._owner, self._name, self._original)
                    self._original = None

    def _replacement(self) -> Any:
        original = self._original
        is_static = isinstance(original, staticmethod)  # `__new__`
        call_original = original.__func__ if is_static else original

        @functools.wraps(call_original)
        def method(*args: Any, **options: Any) -> Any:
            call = call_original
            for function in tuple(self._functions.get(threading.get_ident(), ())):
                call = functools.partial(function, call)
            return call(*args, **options)

        return staticmethod(method) if is_static else method


ADDED_WEIGHTS = PatchedMethod(keras.Layer, "add_weight")
MADE_LAYERS = PatchedMethod(keras.Layer, "__new__")
ASSIGNED_VARIABLES = PatchedMethod(keras.Variable, "assign")


@contextlib.contextmanager
def record_initializers() -> Iterator[dict[int, LayerInitializer]]:
    """Record the initializers of variables that `add_weight` makes in this thread, by their ids.

    The variables are zero: nothing is drawn. The dict leaves out variables that a layer assigns
    when it is built, because no initializer makes their values. It also leaves out variables for
    which the layer passes an array, because the layer may have drawn it.

    A `keras.StatelessScope` would need no replacement. But inside it a layer that makes a variable
    from a value cannot be built, and Keras makes a function from an array.
    """
    recorded: dict[int, LayerInitializer] = {}

    def add_weight(
        add: Callable[..., keras.Variable],
        layer: keras.Layer,
        shape: Any = None,
        initializer: Any = None,
        *args: Any,
        **options: Any,
    ) -> keras.Variable:
        variable = add(layer, shape, "zeros", *args, **options)
        if initializer is None:
            initializer = default_initializer(variable.dtype)
        if isinstance(initializer, str | dict) or callable(initializer):
            recorded[id(variable)] = keras.initializers.get(initializer)

        def assign(value: Any) -> None:
            recorded.pop(id(variable), None)

        vars(variable)["assign"] = assign
        return variable

    with ADDED_WEIGHTS.wrap(add_weight):
        yield recorded


def default_initializer(dtype: Any) -> str:
    # What `add_weight` takes if it gets no initializer.
    if "float" in keras.backend.standardize_dtype(dtype):
        return "glorot_uniform"
    return "zeros"


def call_name(layer: keras.Layer) -> str:
    """Return the name of the method by which Keras calls `layer`."""
    if layer.quantization_mode is None:
        return "call"
    return "quantized_call"


def unit_axis(layer: keras.Layer, rank: int) -> int:
    """Return the axis of the units in an output of `layer` with `rank` dimensions."""
    order = getattr(layer, "data_format", None)
    if order is None and rank > 3 and not layer.weights:
        order = keras.config.image_data_format()
    if order == "channels_first" and rank > 2:
        return 1
    return -1


# Layers that only apply an activation and have no `activation` attribute.
_ACTIVATION_LAYERS = {
    keras.layers.ELU: "elu",
    keras.layers.LeakyReLU: "leaky_relu",
    keras.layers.PReLU: "prelu",
    keras.layers.ReLU: "relu",
}


def read_activation(layer: keras.Layer) -> Callable[..., Tensor] | None:
    """Return the function or layer in `layer.activation`, or `None` if it is missing or linear."""
    # That of a recurrent layer is a property: its cell calls it.
    if isinstance(getattr(type(layer), "activation", None), property):
        return None
    activation: Callable[..., Tensor] | None = getattr(layer, "activation", None)
    if activation is keras.activations.linear or not callable(activation):
        return None
    return activation


def activation_name(layer: keras.Layer) -> str | None:
    """Return the name of the activation that `layer` applies, or `None` if it applies none."""
    activation = read_activation(layer)
    if activation is None:
        return _ACTIVATION_LAYERS.get(type(layer))
    return getattr(activation, "__name__", type(activation).__name__)


# If all values are at the limits, the first of the activations that share these limits.
_KNOWN_BY_VALUES = (
    "tanh",
    "sigmoid",
    "hard_sigmoid",
    "hard_tanh",
    "softsign",
    "sparse_sigmoid",
    "relu",
    "elu",
    "gelu",
    "selu",
    "silu",
    "softplus",
)


def identify_activation(inputs: Array, outputs: Array) -> str | None:
    """Find the name of the activation that turns `inputs` into `outputs`; `None` if none does.

    It is also `None` if the inputs are too small to distinguish activations.
    """
    if inputs.shape != outputs.shape or not np.abs(inputs).max(initial=0) > 2:
        return None
    for name in _KNOWN_BY_VALUES:
        expected = keras.ops.convert_to_numpy(getattr(keras.activations, name)(inputs))
        # As far as 16 bits agree.
        if np.allclose(expected, outputs, rtol=0, atol=5e-3):
            return name
    return None


# The distance of two values between which a slope is measured.
_STEP = np.float32(1e-3)


class Slopes(NamedTuple):
    """The slopes of an activation at some values.

    Attributes:
        largest: The largest slope. The steepest hundredth does not count, because the steps of a
            step function are there.
        median: The median of the slopes.
    """

    largest: float
    median: float


def measure_slopes(activation: Callable[..., Tensor], values: Array) -> Slopes | None:
    """Measure the slopes of an activation at `values`.

    The result is `None` unless the function computes each output from one value.
    """
    # Half of the values, so that it shows where an output depends on another.
    is_moved = np.random.default_rng(0).random(values.shape) < 0.5
    inputs = values.astype("float32")
    moved_inputs = np.where(is_moved, inputs + _STEP, inputs)
    try:
        outputs = keras.ops.convert_to_numpy(activation(keras.ops.convert_to_tensor(inputs)))
        moved_outputs = keras.ops.convert_to_numpy(
            activation(keras.ops.convert_to_tensor(moved_inputs))
        )
    except Exception:  # a function of one's own may want another dtype
        return None
    if outputs.shape != values.shape or not np.array_equal(
        outputs[~is_moved], moved_outputs[~is_moved]
    ):
        return None
    with np.errstate(invalid="ignore"):
        slopes = np.sort(np.abs(moved_outputs - outputs)[is_moved] / _STEP)
    gentle = slopes[: math.ceil(0.99 * len(slopes))]
    if not gentle.size or not np.isfinite(gentle).all():
        return None
    return Slopes(float(gentle[-1]), float(np.median(gentle)))


def is_bounded(activation: str | None) -> bool:
    return activation_facts(activation).limits is not None or activation == "softmax"
