"""The calls in a forward pass of a Keras model."""

import inspect
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import numpy as np

from keras_initx._keras import layers_of
from keras_initx.backends._current import backend
from keras_initx.outputs._recorded import CallKey, CallListener, Settings, Values, simple_attributes
from keras_initx.structure._batch import Data, floats, tensors_in
from keras_initx.structure._hooks import HOOKS, activation_name
from keras_initx.structure._names import automatic_name, numbered
from keras_initx.structure._watch import Call, Watch, Watcher

# The distance of 1 from the next number.
EPSILONS = {
    "float16": 2.0**-10,
    "bfloat16": 2.0**-7,
    "float32": 2.0**-23,
    "float64": 2.0**-52,
}
# By so many of these, outputs are changed at most.
_CHANGE = 2


class KerasModel:
    """A Keras model whose calls can be listened to.

    Args:
        model: A built model.

    Attributes:
        paths: Dict from each layer and each operation of a functional model to its path.
        settings: Dict from the same to what it was made with.
    """

    def __init__(self, model: keras.Model) -> None:
        self.model: keras.Model = model
        self._watch = Watch(model)
        self.paths: dict[keras.Operation, str] = {**self._watch.paths}
        self.paths.update(_operation_paths(self._watch.paths))
        self.settings: dict[keras.Operation, Settings] = {}
        for operation in self.paths:
            self.settings[operation] = _settings_of(operation)

    def run(self, x: Data, listener: CallListener, rng: np.random.Generator | None = None) -> None:
        """Make one forward pass in inference, after which the model is as it was.

        Args:
            x: The inputs, as tensors.
            listener: Is told of the calls.
            rng: Generator of random numbers. With it, the inputs and all outputs are rounded in
                another way, see `_rounded_otherwise`.
        """
        teller = _Teller(self.paths, listener, rng)
        if rng is not None:
            x = keras.tree.map_structure(teller.changed, x)
        with (
            HOOKS,
            backend.full_precision(),
            backend.preserve_state(layers_of(self.model)),
            self._watch.watching(teller),
        ):
            self.model(x, training=False)


def _operation_paths(paths: Mapping[keras.Layer, str]) -> dict[keras.Operation, str]:
    """Return the paths of the operations in functional models that are no layers.

    They are within the path of the model, with automatic names numbered within it.
    """
    found: dict[keras.Operation, str] = {}
    taken = set(paths.values())
    for place, (layer, path) in enumerate(paths.items()):
        operations = []
        for operation in getattr(layer, "operations", ()):
            if operation not in paths and operation not in found:
                operations.append(operation)
        prefix = f"{path}/" if place else ""
        names = [(one.name, automatic_name(one.name, type(one).__name__)) for one in operations]
        for operation, name in zip(operations, numbered(names, Counter()), strict=True):
            full = f"{prefix}{name}"
            number = 1
            while full in taken:
                number += 1
                full = f"{prefix}{name} ({number})"
            taken.add(full)
            found[operation] = full
    return found


def _settings_of(operation: keras.Operation) -> Settings:
    """Return what a layer or an operation computes with, as far as its attributes say so simply."""
    found = simple_attributes(operation)
    if isinstance(operation, keras.Layer):
        activation = activation_name(operation)
        if activation is not None:
            found["activation"] = activation
    return found


def labeled(nested: Any, label: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the members of nested lists, tuples and dicts, each with its place as a text."""
    parts: Any = None
    if isinstance(nested, Mapping):
        parts = nested.items()
    elif isinstance(nested, list | tuple):
        parts = enumerate(nested)
    if parts is None:
        yield label, nested
        return
    for place, part in parts:
        inner = f"{label}/{place}" if label else f"{place}"
        yield from labeled(part, inner)


def arguments_of(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Iterator[tuple[str, Any]]:
    """Yield what a function is called with, by the names of its arguments."""
    try:
        given = dict(inspect.signature(function).bind(*args, **kwargs).arguments)
    except (TypeError, ValueError):  # it has no signature
        given = {f"{place}": value for place, value in enumerate(args)}
        given.update(kwargs)
    yield from labeled(given)


class _Teller(Watcher):
    """Tells a listener of the calls.

    Args:
        paths: Dict from each layer and operation to its path.
        listener: The listener.
        rng: See `KerasModel.run`.
    """

    def __init__(
        self,
        paths: Mapping[keras.Operation, str],
        listener: CallListener,
        rng: np.random.Generator | None,
    ) -> None:
        self._paths = paths
        self._listener = listener
        self._rng = rng
        self._counts: Counter[str] = Counter()
        self._keys: dict[int, CallKey] = {}

    def before(self, call: Call) -> None:
        name = self._paths[call.operation]
        self._counts[name] += 1
        key = CallKey(name, self._counts[name])
        self._keys[id(call)] = key
        arguments = dict(arguments_of(call.function, call.args, call.kwargs))
        self._listener.begin(key, {**arguments, **_values_of(arguments.items())})

    def after(self, call: Call) -> None:
        before = None
        if call.before_activation is not None:
            before = _values_of([("", call.before_activation)]).get("")
        key = self._keys.pop(id(call))
        outputs = _values_of(labeled(call.outputs))
        self._listener.end(key, call.operation, outputs, before)
        if self._rng is not None:
            call.outputs = keras.tree.map_structure(self.changed, call.outputs)

    def changed(self, value: Any) -> Any:
        """Return a tensor of floats whose values are rounded otherwise, and all else as it is.

        Each value is multiplied by `1 + 2 eps u`, with u uniform in [-1, 1].
        """
        if not tensors_in([value]):
            return value
        epsilon = EPSILONS.get(keras.backend.standardize_dtype(value.dtype))
        if epsilon is None or self._rng is None:
            return value
        # Values of 16 bits are rounded once, after the multiplication.
        array = floats(backend.host_view(value))
        noise = self._rng.random(array.shape, dtype="float32") * 2 - 1
        product = array * (1 + _CHANGE * epsilon * noise.astype(array.dtype))
        return keras.ops.convert_to_tensor(product, value.dtype)


def _values_of(members: Any) -> dict[str, Values]:
    """Return the values of the tensors of numbers among some members, by their places."""
    found = {}
    for place, tensor in members:
        if isinstance(tensor, keras.Variable):
            tensor = tensor.value
        if not tensors_in([tensor]):
            continue
        dtype = keras.backend.standardize_dtype(tensor.dtype)
        if dtype != "string" and not dtype.startswith("complex"):
            found[place] = Values(backend.host_view(tensor), dtype)
    return found
