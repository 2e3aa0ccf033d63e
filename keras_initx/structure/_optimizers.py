"""What an optimizer consists of: others inside, its learning rate, its variables."""

from collections.abc import Iterable, Sequence
from typing import Any

import keras

from keras_initx.backends import backend

__all__ = ["all_variables", "items_of", "rate_of", "rates_after", "unscaled"]


def rate_of(optimizer: keras.optimizers.Optimizer) -> float | None:
    """Return the present learning rate, or `None` for a `MultiOptimizer`, which has several."""
    rate = getattr(optimizer, "learning_rate", None)
    if rate is None:
        return None
    # A function may return a number of Python.
    return float(backend.host_view(keras.ops.convert_to_tensor(rate)))


def rates_after(optimizer: keras.optimizers.Optimizer, steps: Sequence[int]) -> list[float]:
    """Return the learning rates after some steps from here.

    Where gradients are accumulated, each is the present one.
    """
    iterations = optimizer.iterations
    if not isinstance(iterations, keras.Variable):  # but a quotient of one
        return [rate_of(optimizer) or 0.0] * len(steps)
    now = int(backend.host_view(iterations.value))
    rates = []
    try:
        for step in steps:
            iterations.assign(now + step)
            rates.append(rate_of(optimizer) or 0.0)
    finally:
        iterations.assign(now)
    return rates


def unscaled(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """Return the optimizer in a `LossScaleOptimizer`, and any other as it is."""
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return optimizer.inner_optimizer
    return optimizer


def all_variables(
    optimizer: keras.optimizers.Optimizer, weights: Sequence[keras.Variable]
) -> list[keras.Variable]:
    """Return the variables of `optimizer`, which updates `weights`, also those in its attributes.

    In a `LossScaleOptimizer`, Keras does not list those that are made by themselves: the product of
    momenta of Nadam, the places of Adafactor for vectors.
    """
    found = {id(variable): variable for variable in optimizer.variables}
    others = {id(weight) for weight in weights}
    for value in vars(optimizer).values():
        for item in items_of(value):
            variables = []
            if isinstance(item, keras.Variable):
                variables = [item]
            elif isinstance(item, keras.optimizers.Optimizer):
                variables = all_variables(item, weights)
            for variable in variables:
                if id(variable) not in others:
                    found.setdefault(id(variable), variable)
    return list(found.values())


def items_of(value: Any) -> Iterable[Any]:
    """Return what is in a list, a tuple or a dict, and of any other value the value."""
    if isinstance(value, dict):
        return value.values()
    if isinstance(value, list | tuple):
        return value
    return [value]
