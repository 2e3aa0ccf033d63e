"""Compute the objective that `fit` minimizes for a compiled model, and undo the state it leaves."""

import contextlib
import inspect
from collections.abc import Iterator
from typing import Any

import keras

from keras_initx._keras import compiled_loss
from keras_initx._typing import Tensor
from keras_initx.backends._attributes import preserve_attributes


def compute_objective(
    model: keras.Model,
    x: Any,
    y: Any,
    outputs: Any,
    sample_weight: Any = None,
    *,
    training: bool = True,
) -> Tensor:
    """Compute the objective that `fit` minimizes, from outputs of a compiled model.

    Args:
        model: The model.
        x: Its inputs.
        y: The targets.
        outputs: The outputs of the model for these inputs.
        sample_weight: The weights of the examples, or `None`.
        training: Whether the model is in training mode.
    """
    # As `fit` does, by position: a model's own `compute_loss` may name its arguments differently,
    # or lack the last one.
    compute_loss = model.compute_loss
    if "training" in inspect.signature(compute_loss).parameters:
        return compute_loss(x, y, outputs, sample_weight, training=training)
    return compute_loss(x, y, outputs, sample_weight)


def computes_own_loss(model: keras.Model) -> bool:
    # By its class or by itself.
    return getattr(model.compute_loss, "__func__", None) is not keras.Model.compute_loss


def has_own_train_step(model: keras.Model) -> bool:
    # By its class or by itself.
    return getattr(model.train_step, "__func__", None) is not keras.Model.train_step


def sum_added_losses(model: keras.Model) -> Tensor:
    """Sum the losses that regularizers and `add_loss` added in the last call."""
    total = keras.ops.zeros(())
    for term in model.losses:
        total = total + keras.ops.sum(term)
    return total


@contextlib.contextmanager
def preserve_compiled_loss(model: keras.Model) -> Iterator[None]:
    """Undo the building of the compiled loss at the end of the block.

    A built loss would change the random numbers that `fit` draws. Plain attributes of losses are
    put back too.
    """
    losses = keras.tree.flatten(getattr(model, "loss", None))
    with preserve_attributes(losses), _undo_loss_build(model):
        yield


@contextlib.contextmanager
def _undo_loss_build(model: keras.Model) -> Iterator[None]:
    loss = compiled_loss(model)
    if loss is None:
        yield
        return
    attributes = dict(vars(loss))
    metric_count = len(loss.metrics)
    try:
        yield
    finally:
        vars(loss).update(attributes)
        del loss.metrics[metric_count:]
