"""The initial state of a model apart from its weights."""

from collections.abc import Iterator

import keras
import numpy as np

from keras_initx._typing import Tensor
from keras_initx.diagnostics._layers import parts_of


def initial_state(model: keras.Model) -> list[tuple[keras.Variable, Tensor]]:
    """Return the variables of the optimizer and of the layers' random generators, each with its initial value.

    The learning rate and the seeds of the generators are kept.
    """
    return [*_optimizer_state(model), *_generator_states(model)]


def _optimizer_state(model: keras.Model) -> Iterator[tuple[keras.Variable, Tensor]]:
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None or not optimizer.built:
        return
    fresh = type(optimizer).from_config(optimizer.get_config())
    fresh.build(model.trainable_variables)
    for variable, initial in zip(optimizer.variables, fresh.variables, strict=True):
        yield variable, initial.value


def _generator_states(model: keras.Model) -> Iterator[tuple[keras.Variable, Tensor]]:
    for layer in [model, *parts_of(model)]:
        for value in vars(layer).values():
            for item in value if isinstance(value, list | tuple) else [value]:
                if isinstance(item, keras.random.SeedGenerator):
                    # The state is the seed and the number of draws.
                    yield item.state, keras.ops.convert_to_numpy(item.state.value) * np.array([1, 0], item.state.dtype)
