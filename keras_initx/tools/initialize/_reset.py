"""Find the state at the start of training, in addition to the weights: variables and values.

    optimizer           moments: 0; iterations: 0          (the learning rate is kept)
    random generators   [seed, number of draws]: [seed, 0]
    recurrent layers    states between batches: 0

The initial values of an optimizer come from a new optimizer with the same config.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np

from keras_initx._keras import preserve_names
from keras_initx._received import show
from keras_initx._typing import Shape, Tensor
from keras_initx.inspection._former_values import FormerValues
from keras_initx.inspection._names import list_sublayers
from keras_initx.inspection._optimizers import (
    list_items,
    list_optimized_weights,
    list_optimizer_variables,
    list_used_optimizers,
    scales_loss,
    unwrap_optimizer,
)

# A variable and its initial value.
InitialValue = tuple[keras.Variable, Tensor]


def find_initial_state(model: keras.Model) -> list[InitialValue]:
    """Find the variables of optimizers, generators and stateful layers, with initial values.

    The learning rate and the seeds of the generators are kept. Some optimizers start with a copy of
    the weights, so call this after they have been assigned.

    Raises:
        ValueError: If the initial state of an optimizer is unknown.
    """
    state: list[InitialValue] = []
    for optimizer in list_used_optimizers(model):
        state.extend(_find_optimizer_state(optimizer, model))
    for layer in [model, *list_sublayers(model)]:
        state.extend(_find_generator_state(layer))
        for variable in list_recurrent_states(layer):
            state.append((variable, keras.ops.zeros_like(variable.value)))
    return state


def find_new_optimizer_state(model: keras.Model, former: FormerValues) -> list[InitialValue]:
    """Find the variables that optimizers have added since then, with initial values.

    Args:
        model: A model.
        former: The variables that were there before.

    Raises:
        ValueError: If the initial state of an optimizer is unknown.
    """
    state: list[InitialValue] = []
    for optimizer in list_used_optimizers(model):
        variables = list_optimizer_variables(optimizer, model.variables)
        if all(variable in former for variable in variables):
            continue
        for variable, start in _find_optimizer_state(optimizer, model):
            if variable not in former:
                state.append((variable, start))
    return state


def _find_optimizer_state(
    optimizer: keras.optimizers.Optimizer, model: keras.Model
) -> Iterator[InitialValue]:
    if scales_loss(optimizer) and optimizer.built:  # and not only the one inside
        yield optimizer.step_counter, 0
        yield optimizer.dynamic_scale, optimizer.initial_scale
    for variable, fresh in _pair_with_fresh(optimizer, model):
        yield variable, fresh.value


def _find_generator_state(layer: keras.Layer) -> Iterator[InitialValue]:
    # A layer may also keep its generators in a list.
    for value in vars(layer).values():
        for item in list_items(value):
            if isinstance(item, keras.random.SeedGenerator):
                state = keras.ops.convert_to_numpy(item.state.value)
                # The seed stays. The other number counts the draws.
                yield item.state, state * np.array([1, 0], state.dtype)


def list_recurrent_states(layer: keras.Layer) -> list[keras.Variable]:
    """List the states that a recurrent layer keeps between batches. No file has them."""
    if not isinstance(layer, keras.layers.RNN):
        return []
    return [state for state in keras.tree.flatten(layer.states) if state is not None]


@preserve_names()  # those of the optimizers that are made here
def _pair_with_fresh(
    optimizer: keras.optimizers.Optimizer, model: keras.Model
) -> list[tuple[keras.Variable, keras.Variable]]:
    """Pair each variable of an optimizer with the variable of a new, equal optimizer.

    For a `LossScaleOptimizer`, these are the variables of its inner optimizer.
    """
    is_scaled = scales_loss(optimizer)
    optimizer = unwrap_optimizer(optimizer)
    weights = list_optimized_weights(optimizer) or model.trainable_variables
    variables = list_optimizer_variables(optimizer, weights)
    # A user's class may lack a complete config. The class of Keras that it extends has one, and
    # mostly its variables.
    for cls in type(optimizer).__mro__:
        try:
            config = _replace_learning_rates(cls.get_config(optimizer))  # type: ignore[attr-defined]
            fresh: Any = cls.from_config(config)  # type: ignore[attr-defined]
            if is_scaled:  # otherwise Keras would list its variables in another order
                keras.optimizers.LossScaleOptimizer(fresh).build(weights)
            else:
                fresh.build(weights)
        except Exception:
            continue
        fresh_variables = list_optimizer_variables(fresh, weights)
        if _list_shapes_and_dtypes(fresh_variables) == _list_shapes_and_dtypes(variables):
            return list(zip(variables, fresh_variables, strict=True))
    raise ValueError(
        "`model` must have an optimizer that `get_config` and `from_config` can copy, with the "
        "same variables. Fix these methods; or pass `reset=False`, and compile the "
        f"model again. Received: optimizer={show(optimizer)}"
    )


def _replace_learning_rates(config: Any) -> Any:
    """Replace each learning rate in a config that is a schedule or a function by `_plain_rate`.

    A schedule or a function has no variable, and Keras cannot make all functions of users again.
    """
    if not isinstance(config, dict):
        return config
    replaced = {key: _replace_learning_rates(value) for key, value in config.items()}
    if isinstance(config.get("learning_rate"), dict):
        replaced["learning_rate"] = _plain_rate
    return replaced


def _plain_rate() -> float:
    return 0.0


def _list_shapes_and_dtypes(variables: Sequence[keras.Variable]) -> list[tuple[Shape, str]]:
    return [(tuple(variable.shape), str(variable.dtype)) for variable in variables]
