"""What a model starts from beside its weights: optimizers, generators, states of layers."""

from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np

from keras_initx._keras import preserve_names
from keras_initx._typing import Shape, Tensor
from keras_initx.inspection._former import Former
from keras_initx.inspection._names import list_sublayers
from keras_initx.inspection._optimizers import (
    list_items,
    list_optimized_weights,
    list_optimizer_variables,
    list_used_optimizers,
    scales_loss,
    unwrap_optimizer,
)

# A variable, and the value that it had at the start.
Initial = tuple[keras.Variable, Tensor]


def initial_state(model: keras.Model) -> list[Initial]:
    """Return the variables of optimizers, generators and stateful layers, with initial values.

    The learning rate and the seeds of the generators are kept. Some optimizers start with a copy of
    the weights, so call this after they have been assigned.

    Raises:
        ValueError: If the initial state of an optimizer is unknown.
    """
    found: list[Initial] = []
    for optimizer in list_used_optimizers(model):
        found.extend(_of_optimizer(optimizer, model))
    for layer in [model, *list_sublayers(model)]:
        found.extend(_of_generators(layer))
        for state in list_recurrent_states(layer):
            found.append((state, keras.ops.zeros_like(state.value)))
    return found


def list_initial_states(model: keras.Model, known: Former) -> list[Initial]:
    """Return the variables that optimizers have got, with initial values.

    Args:
        model: A model.
        known: The variables that were there before.

    Raises:
        ValueError: If the initial state of an optimizer is unknown.
    """
    found: list[Initial] = []
    for optimizer in list_used_optimizers(model):
        variables = list_optimizer_variables(optimizer, model.variables)
        if all(variable in known for variable in variables):
            continue
        for variable, start in _of_optimizer(optimizer, model):
            if variable not in known:
                found.append((variable, start))
    return found


def _of_optimizer(optimizer: keras.optimizers.Optimizer, model: keras.Model) -> Iterator[Initial]:
    """Yield the variables of an optimizer."""
    if scales_loss(optimizer) and optimizer.built:  # and not only the one inside
        yield optimizer.step_counter, 0
        yield optimizer.dynamic_scale, optimizer.initial_scale
    for variable, fresh in _with_fresh(optimizer, model):
        yield variable, fresh.value


def _of_generators(layer: keras.Layer) -> Iterator[Initial]:
    """Yield the states of the random generators that `layer` keeps, also in a list."""
    for value in vars(layer).values():
        for item in list_items(value):
            if isinstance(item, keras.random.SeedGenerator):
                state = keras.ops.convert_to_numpy(item.state.value)
                # The seed stays. The other number counts the draws.
                yield item.state, state * np.array([1, 0], state.dtype)


def list_recurrent_states(layer: keras.Layer) -> list[keras.Variable]:
    """Return the states that a recurrent layer keeps between batches, which no file has."""
    if not isinstance(layer, keras.layers.RNN):
        return []
    return [state for state in keras.tree.flatten(layer.states) if state is not None]


@preserve_names()  # those of the optimizers that are made here
def _with_fresh(
    optimizer: keras.optimizers.Optimizer, model: keras.Model
) -> list[tuple[keras.Variable, keras.Variable]]:
    """Return each variable of an optimizer, of one in a `LossScaleOptimizer` without those of this.

    Each comes with that of an unused optimizer like it.
    """
    is_scaled = scales_loss(optimizer)
    optimizer = unwrap_optimizer(optimizer)
    weights = list_optimized_weights(optimizer) or model.trainable_variables
    variables = list_optimizer_variables(optimizer, weights)
    # A user's class may lack a complete config. The class of Keras that it extends has one, and
    # mostly its variables.
    for cls in type(optimizer).__mro__:
        try:
            config = _with_plain_rates(cls.get_config(optimizer))  # type: ignore[attr-defined]
            fresh: Any = cls.from_config(config)  # type: ignore[attr-defined]
            if is_scaled:  # otherwise Keras would list its variables in another order
                keras.optimizers.LossScaleOptimizer(fresh).build(weights)
            else:
                fresh.build(weights)
        except Exception:
            continue
        found = list_optimizer_variables(fresh, weights)
        if _kinds(found) == _kinds(variables):
            return list(zip(variables, found, strict=True))
    raise ValueError(
        "`model` must have an optimizer whose `from_config` makes one with the same variables from "
        "what its `get_config` returns, or `reset` must be False; then compile the model again. "
        f"Received: optimizer={optimizer!r}"
    )


def _with_plain_rates(config: Any) -> Any:
    """Return a config with `_plain_rate` for each learning rate that is a schedule or a function.

    None of these has a variable, and Keras cannot make all functions of users again.
    """
    if not isinstance(config, dict):
        return config
    changed = {key: _with_plain_rates(value) for key, value in config.items()}
    if isinstance(config.get("learning_rate"), dict):
        changed["learning_rate"] = _plain_rate
    return changed


def _plain_rate() -> float:
    return 0.0


def _kinds(variables: Sequence[keras.Variable]) -> list[tuple[Shape, str]]:
    return [(tuple(variable.shape), str(variable.dtype)) for variable in variables]
