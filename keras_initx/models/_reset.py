"""The initial state of a model apart from its weights."""

from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np

from keras_initx._typing import Shape, Tensor
from keras_initx.diagnostics._layers import parts_of


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
