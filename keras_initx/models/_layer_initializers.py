"""What a model starts from: the initializer of each weight, and the initial state of everything else."""

import contextlib
import itertools
import random
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias

import keras
import numpy as np

from keras_initx._keras import argument_name
from keras_initx._typing import Shape, Tensor
from keras_initx.diagnostics._layers import parts_of
from keras_initx.initializers import Concatenated, LSTMForgetBias
from keras_initx.initializers._recurrent import overwrites_forget_bias
from keras_initx.models._weights import ModelWeight, weights_within

# An object, or a function of shape and dtype, which Keras accepts too.
Initializer: TypeAlias = keras.initializers.Initializer | Callable[..., Any]

_LOCK = threading.RLock()
_THREAD = "keras_initx-copy"


def own_initializers(weights: Sequence[ModelWeight]) -> dict[str, Initializer]:
    """Return the initializers that layers use for `weights`, by path. Unknown ones are left out."""
    found: dict[str, Initializer] = {}
    recorded: dict[str, Mapping[str, Initializer]] = {}
    for weight in weights:
        initializer = _attribute(weight) or _recorded(weight, recorded)
        if initializer is not None:
            found[weight.path] = _with_forget_bias(initializer, weight)
    return found


def _attribute(weight: ModelWeight) -> Initializer | None:
    """Return the initializer that the layer stores for `weight`, or `None`."""
    value = getattr(weight.layer, argument_name(weight.variable), None)
    initializer: Initializer | None = keras.initializers.get(value)
    return initializer


def _with_forget_bias(initializer: Initializer, weight: ModelWeight) -> Initializer:
    """Return the effective bias initializer of an LSTM that sets its forget-gate bias to 1."""
    if weight.name != "bias" or not overwrites_forget_bias(weight.layer) or isinstance(initializer, LSTMForgetBias):
        return initializer
    units = weight.shape[0] // 4
    return Concatenated([initializer, "ones", initializer], sizes=[units, units, 2 * units])


def _recorded(weight: ModelWeight, recorded: dict[str, Mapping[str, Initializer]]) -> Initializer | None:
    """Return the initializer that is passed to `add_weight` for `weight`, or `None` if it cannot be determined.

    Args:
        weight: A weight.
        recorded: Cache of recorded initializers, by the path of the rebuilt layer. New ones are
            added.
    """
    for layer, path in zip(reversed(weight.layers), reversed(weight.layer_paths), strict=True):
        if path not in recorded:
            recorded[path] = _record(layer)
        inside = weight.path.removeprefix(path).removeprefix("/")
        if inside in recorded[path]:
            return recorded[path][inside]
    return None


def _record(layer: keras.Layer) -> dict[str, Initializer]:
    """Rebuild `layer`, and return the initializers of its weights by their paths inside it."""
    state = random.getstate()  # Keras draws seeds from it
    with keras.saving.CustomObjectScope({}) as scope:
        custom_objects = scope.backup
    distribution = keras.distribution.distribution()

    def record() -> dict[str, Initializer]:
        keras.distribution.set_distribution(distribution)
        with keras.saving.CustomObjectScope(custom_objects):
            return _of_copy(layer)

    try:
        if threading.current_thread().name.startswith(_THREAD):  # A layer may call `initialize` while it is built.
            return _of_copy(layer)
        # Keras counts names in each thread, so those of the caller are not used up.
        with ThreadPoolExecutor(1, _THREAD) as executor:
            return executor.submit(record).result()
    except Exception:  # Custom layers may raise anything, and many have no complete config.
        return {}
    finally:
        random.setstate(state)


def _of_copy(layer: keras.Layer) -> dict[str, Initializer]:
    """Return the initializers that a copy of `layer` passes to `add_weight`, by the paths of the weights in `layer`."""
    with _recorded_calls() as calls:
        copy = type(layer).from_config(layer.get_config())
        if not copy.built:
            copy.build_from_config(layer.get_build_config())
        found = {
            _place(weight): calls[id(weight.variable)]
            for weight in weights_within(copy)
            if id(weight.variable) in calls
        }
    return {weight.path: found[_place(weight)] for weight in weights_within(layer) if _place(weight) in found}


def _place(weight: ModelWeight) -> tuple[Any, ...]:
    """Return where a weight is. Not its path: automatic names in a copy have other numbers, maybe in another order."""
    steps = [parts_of(outer, recursive=False).index(inner) for outer, inner in itertools.pairwise(weight.layers)]
    return *steps, weight.path.rpartition("/")[2], weight.shape


@contextlib.contextmanager
def _recorded_calls() -> Iterator[dict[int, Initializer]]:
    """Yield a dict from the id of each variable that `add_weight` creates to its initializer; the values are 0."""
    original = keras.layers.Layer.add_weight
    thread = threading.get_ident()
    calls: dict[int, Initializer] = {}

    def add_weight(
        self: keras.Layer, shape: Any = None, initializer: Any = None, *args: Any, **options: Any
    ) -> keras.Variable:
        if threading.get_ident() != thread:
            return original(self, shape, initializer, *args, **options)
        variable = original(self, shape, "zeros", *args, **options)
        is_float = "float" in keras.backend.standardize_dtype(variable.dtype)
        calls[id(variable)] = keras.initializers.get(initializer or ("glorot_uniform" if is_float else "zeros"))
        return variable

    with _LOCK:
        keras.layers.Layer.add_weight = add_weight
        try:
            yield calls
        finally:
            keras.layers.Layer.add_weight = original


def initial_state(model: keras.Model) -> list[tuple[keras.Variable, Tensor]]:
    """Return the variables of the optimizer, of random generators and of stateful layers, each with its initial value.

    The learning rate and the seeds of the generators are kept. Some optimizers start with a copy of
    the weights, so call this after they have been assigned.

    Raises:
        ValueError: If the initial state of the optimizer is unknown.
    """
    optimizer = getattr(model, "optimizer", None)
    layers = [model, *parts_of(model)]
    return [
        *(_optimizer_state(optimizer, model) if optimizer is not None and optimizer.built else ()),
        *_generator_states(layers),
        *_recurrent_states(layers),
    ]


def _optimizer_state(
    optimizer: keras.optimizers.Optimizer, model: keras.Model
) -> Iterator[tuple[keras.Variable, Tensor]]:
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        yield optimizer.step_counter, 0
        yield optimizer.dynamic_scale, optimizer.initial_scale
        optimizer = optimizer.inner_optimizer
    for variable, initial in zip(optimizer.variables, _initial_variables(optimizer, model), strict=True):
        yield variable, initial.value


def _initial_variables(optimizer: keras.optimizers.Optimizer, model: keras.Model) -> list[keras.Variable]:
    """Return the variables of an optimizer like `optimizer` that has not been used."""
    weights = _weights_of(optimizer) or model.trainable_variables
    # A user's class may lack a complete config. The class of Keras that it extends has one, and mostly its variables.
    for cls in type(optimizer).__mro__:
        try:
            fresh: Any = cls.from_config(cls.get_config(optimizer))  # type: ignore[attr-defined]
            fresh.build(weights)
        except Exception:
            continue
        if list(map(_kind, fresh.variables)) == list(map(_kind, optimizer.variables)):
            variables: list[keras.Variable] = fresh.variables
            return variables
    raise ValueError(
        "`model` must have an optimizer whose `get_config` returns all arguments of its constructor, or `reset` must "
        f"be False; then compile the model again. Received: optimizer={optimizer!r}"
    )


def _weights_of(optimizer: keras.optimizers.Optimizer) -> list[keras.Variable]:
    """Return the weights that `optimizer` was built for: since then, layers may have been frozen or quantized."""
    own = {id(variable) for variable in optimizer.variables}
    lists = [list(value) for value in vars(optimizer).values() if isinstance(value, list | tuple)]
    foreign = [
        value for value in lists if all(isinstance(item, keras.Variable) and id(item) not in own for item in value)
    ]
    return max(foreign, key=len, default=[])


def _kind(variable: keras.Variable) -> tuple[Shape, str]:
    return tuple(variable.shape), str(variable.dtype)


def _generator_states(layers: Sequence[keras.Layer]) -> Iterator[tuple[keras.Variable, Tensor]]:
    for layer in layers:
        for value in vars(layer).values():
            for item in value if isinstance(value, list | tuple) else [value]:
                if isinstance(item, keras.random.SeedGenerator):
                    # The state is the seed and the number of draws.
                    yield item.state, keras.ops.convert_to_numpy(item.state.value) * np.array([1, 0], item.state.dtype)


def _recurrent_states(layers: Sequence[keras.Layer]) -> Iterator[tuple[keras.Variable, Tensor]]:
    for layer in layers:
        if isinstance(layer, keras.layers.RNN):
            for state in keras.tree.flatten(layer.states):
                if state is not None:  # not stateful
                    yield state, keras.ops.zeros_like(state.value)
