"""What a model starts from: the initializer of each weight, and the initial state of everything else."""

import contextlib
import functools
import itertools
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeAlias

import keras
import numpy as np

from keras_initx._checks import DTYPES
from keras_initx._gates import overwrites_forget_bias
from keras_initx._keras import argument_name
from keras_initx._seeds import own_random
from keras_initx._typing import Shape, Tensor
from keras_initx.initializers import Concatenated, LSTMForgetBias
from keras_initx.structure import ModelWeight, is_quantized, parts_of, replaced, weights_within

# What Keras accepts for a weight: an object, or a function of shape and dtype.
LayerInitializer: TypeAlias = keras.initializers.Initializer | Callable[..., Any]

_LOCK = threading.RLock()
_THREAD = "keras_initx-copy"


def layer_initializers(
    weights: Sequence[ModelWeight],
) -> dict[str, tuple[LayerInitializer | None, str]]:
    """Return the initializers that layers use for `weights`, by path.

    Returns:
        Dict from paths to pairs: the initializer, or `None` if the weight must be left unchanged;
        and the reason, which is otherwise empty.
    """
    found: dict[str, tuple[LayerInitializer | None, str]] = {}
    record = functools.cache(_record)
    for weight in weights:
        if is_quantized(weight.layer):
            found[weight.path] = None, "quantized"
        elif weight.dtype not in DTYPES:
            found[weight.path] = None, weight.dtype
        elif hasattr(weight.layer, "adapt"):
            found[weight.path] = None, "adapted to data"
        else:
            initializer = _held(weight) or _recorded(weight, record)
            sets_forget_bias = weight.name == "bias" and overwrites_forget_bias(weight.layer)
            if initializer and sets_forget_bias and not isinstance(initializer, LSTMForgetBias):
                units = weight.shape[0] // 4
                initializer = Concatenated(
                    [initializer, "ones", initializer], sizes=[units, units, 2 * units]
                )
            found[weight.path] = initializer, "" if initializer else "initializer unknown"
    return found


def _held(weight: ModelWeight) -> LayerInitializer | None:
    """Return the initializer that a layer keeps for `weight` under Keras' name, or `None` without one."""
    try:
        found: LayerInitializer | None = keras.initializers.get(
            getattr(weight.layer, argument_name(weight.variable), None)
        )
    except (TypeError, ValueError):  # A user's layer may keep anything there.
        return None
    return found


def _recorded(
    weight: ModelWeight, record: Callable[[keras.Layer], dict[str, Any]]
) -> LayerInitializer | None:
    """Return the initializer that is passed to `add_weight` for `weight`, or `None` if it cannot be determined.

    Args:
        weight: A weight.
        record: The function `_record`, with a cache.
    """
    for layer, path in zip(reversed(weight.layers), reversed(weight.layer_paths), strict=True):
        if found := record(layer).get(weight.path.removeprefix(path).removeprefix("/")):
            return found
    return None


def _record(layer: keras.Layer) -> dict[str, LayerInitializer]:
    """Rebuild `layer`, and return the initializers of its weights by their paths inside it."""
    state = random.getstate()  # Keras draws seeds from it
    with keras.saving.CustomObjectScope({}) as scope:
        custom_objects = scope.backup
    distribution = keras.distribution.distribution()

    def record() -> dict[str, LayerInitializer]:
        keras.distribution.set_distribution(distribution)
        with keras.saving.CustomObjectScope(custom_objects):
            return _initializers_of_copy(layer, state)

    try:
        if threading.current_thread().name.startswith(
            _THREAD
        ):  # A layer may call `initialize` while it is built.
            return _initializers_of_copy(layer, state)
        # Keras counts names in each thread, so those of the caller are not used up.
        with ThreadPoolExecutor(1, _THREAD) as executor:
            return executor.submit(record).result()
    except Exception:  # Custom layers may raise anything, and many have no complete config.
        return {}


def _initializers_of_copy(layer: keras.Layer, state: Any) -> dict[str, LayerInitializer]:
    """Return the initializers that a copy of `layer` passes to `add_weight`, by the weights' paths.

    Args:
        layer: A layer.
        state: The state of Python's `random` from which the copy draws, and which is left as it is.
    """
    with own_random(), _recorded_calls() as calls:
        random.setstate(state)
        copy = type(layer).from_config(layer.get_config())
        if not copy.built:
            copy.build_from_config(layer.get_build_config())
        found = {
            _position(weight): calls.get(id(weight.variable)) for weight in weights_within(copy)
        }
    return {
        weight.path: value
        for weight in weights_within(layer)
        if (value := found.get(_position(weight)))
    }


def _position(weight: ModelWeight) -> tuple[Any, ...]:
    """Return where a weight is. Not its path: automatic names in a copy have other numbers, maybe in another order."""
    steps = [
        parts_of(outer, recursive=False).index(inner)
        for outer, inner in itertools.pairwise(weight.layers)
    ]
    return *steps, weight.path.rpartition("/")[2], weight.shape


@contextlib.contextmanager
def _recorded_calls() -> Iterator[dict[int, LayerInitializer]]:
    """Yield a dict from the id of each variable that `add_weight` creates to its initializer; the values are 0.

    What a layer assigns when it is built is not in it, because no initializer makes its values.
    """
    thread = threading.get_ident()
    calls: dict[int, LayerInitializer] = {}

    def add_weight(
        self: Any, shape: Any = None, initializer: Any = None, *args: Any, **options: Any
    ) -> keras.Variable:
        if threading.get_ident() != thread:
            return original(self, shape, initializer, *args, **options)
        variable = original(self, shape, "zeros", *args, **options)
        if initializer is None:
            initializer = (
                "glorot_uniform"
                if "float" in keras.backend.standardize_dtype(variable.dtype)
                else "zeros"
            )
        key = id(variable)
        if isinstance(initializer, str | dict) or callable(
            initializer
        ):  # an array may have been drawn
            calls[key] = keras.initializers.get(initializer)
        vars(variable)["assign"] = lambda value: calls.pop(key, None)
        return variable

    with _LOCK:
        original = keras.layers.Layer.add_weight  # of Keras, not that of another thread
        keras.layers.Layer.add_weight = add_weight
        try:
            yield calls
        finally:
            keras.layers.Layer.add_weight = original


def initial_state(model: keras.Model) -> list[tuple[keras.Variable, Tensor]]:
    """Return the variables of optimizers, of random generators and of stateful layers, each with its initial value.

    The learning rate and the seeds of the generators are kept. Some optimizers start with a copy of
    the weights, so call this after they have been assigned.

    Raises:
        ValueError: If the initial state of an optimizer is unknown.
    """
    found: list[tuple[keras.Variable, Tensor]] = []
    for optimizer in optimizers_of(model):
        if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
            found += [
                (optimizer.step_counter, 0),
                (optimizer.dynamic_scale, optimizer.initial_scale),
            ]
            optimizer = optimizer.inner_optimizer
        fresh = _fresh_variables(optimizer, model)
        found += [
            (variable, new.value)
            for variable, (new, _) in zip(optimizer.variables, fresh, strict=True)
        ]
    for layer in [model, *parts_of(model)]:
        for value in vars(layer).values():
            for item in value if isinstance(value, list | tuple) else [value]:
                if isinstance(item, keras.random.SeedGenerator):
                    state = keras.ops.convert_to_numpy(item.state.value)
                    found.append(
                        (item.state, state * np.array([1, 0], state.dtype))
                    )  # the seed, the number of draws
        if isinstance(layer, keras.layers.RNN):
            states = [
                state for state in keras.tree.flatten(layer.states) if state is not None
            ]  # if it is stateful
            found += [(state, keras.ops.zeros_like(state.value)) for state in states]
    return found


def optimizers_of(model: keras.Model) -> list[keras.optimizers.Optimizer]:
    """Return the optimizers of `model` and of models in it that have been used, also those in a list or a dict."""
    found: dict[keras.optimizers.Optimizer, None] = {}
    for part in (model, *parts_of(model)):
        for value in vars(part).values():
            items = (
                value.values()
                if isinstance(value, dict)
                else value
                if isinstance(value, list | tuple)
                else [value]
            )
            found |= {
                item: None
                for item in items
                if isinstance(item, keras.optimizers.Optimizer) and item.built
            }
    return list(found)


class Slot(NamedTuple):
    """A variable of an optimizer with the shape of a weight, such as a moment, the weight, and the initial value."""

    variable: keras.Variable
    weight: keras.Variable
    start: Tensor


def slots(model: keras.Model) -> list[Slot]:
    """Return the slots of the optimizers of `model` that have been used.

    An average of a weight starts with the weight: unlike that of a new optimizer, its first step is
    over.

    Raises:
        ValueError: If an optimizer keeps anything else for each weight, or its initial state is
            unknown.
    """
    found = []
    for optimizer in optimizers_of(model):
        if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
            optimizer = optimizer.inner_optimizer
        for variable, (new, weight) in zip(
            optimizer.variables, _fresh_variables(optimizer, model), strict=True
        ):
            if weight is not None:
                start = weight if variable.name.endswith("_average") else new
                found.append(Slot(variable, weight, start.value))
            elif len(variable.shape):
                raise ValueError(
                    "`model` must have an optimizer whose moments have the shapes of weights, or `reset` must be "
                    f"False. Received: optimizer={optimizer!r} with {variable.path!r} of shape {tuple(variable.shape)}"
                )
    return found


def _fresh_variables(
    optimizer: keras.optimizers.Optimizer, model: keras.Model
) -> list[tuple[keras.Variable, keras.Variable | None]]:
    """Return the variables of an optimizer like `optimizer` that has not been used, each with its weight if any."""
    # The weights that it was built for: since then, layers may have been frozen or quantized.
    own = {id(variable) for variable in optimizer.variables}
    lists = [list(value) for value in vars(optimizer).values() if isinstance(value, list | tuple)]
    foreign = [
        one
        for one in lists
        if all(isinstance(item, keras.Variable) and id(item) not in own for item in one)
    ]
    weights = max(foreign, key=len, default=[]) or model.trainable_variables
    # A user's class may lack a complete config. The class of Keras that it extends has one, and
    # mostly its variables.
    for cls in type(optimizer).__mro__:
        try:
            fresh: Any = cls.from_config(cls.get_config(optimizer))  # type: ignore[attr-defined]
            made: dict[int, keras.Variable] = {}
            with contextlib.ExitStack() as stack:
                for one in (
                    fresh,
                    *getattr(fresh, "optimizers", ()),
                ):  # those of a `MultiOptimizer`
                    add = functools.partial(_recorded_slot, one.add_variable_from_reference, made)
                    stack.enter_context(replaced(one, "add_variable_from_reference", add))
                fresh.build(weights)
        except Exception:
            continue
        if _kinds(fresh.variables) == _kinds(optimizer.variables):
            return [(variable, made.get(id(variable))) for variable in fresh.variables]
    raise ValueError(
        "`model` must have an optimizer whose `get_config` returns all arguments of its constructor, or `reset` must "
        f"be False; then compile the model again. Received: optimizer={optimizer!r}"
    )


def _recorded_slot(
    add: Callable[..., keras.Variable],
    made: dict[int, keras.Variable],
    reference_variable: keras.Variable,
    *args: Any,
    **options: Any,
) -> keras.Variable:
    variable = add(reference_variable, *args, **options)
    made[id(variable)] = reference_variable
    return variable


def _kinds(variables: Sequence[keras.Variable]) -> list[tuple[Shape, str]]:
    return [(tuple(variable.shape), str(variable.dtype)) for variable in variables]
