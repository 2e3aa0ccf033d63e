"""Remedies of an output head: another activation after the last kernel, or another loss."""

from collections.abc import Sequence
from typing import Any

import keras

from keras_initx.tools.diagnose._measured_layers import MeasuredLayer
from keras_initx.tools.diagnose._remedy import Remedy
from keras_initx.tools.diagnose.losses.heads import OutputHead
from keras_initx.tools.diagnose.losses.reach import AppliedActivation


def propose_activation(
    activation: str | None,
    layer: MeasuredLayer,
    loss: str = "",
    head: OutputHead | None = None,
) -> Remedy:
    """Propose another activation in `layer`, and another loss if one is given.

    The text skips an activation or a loss that `layer` and `head` already have.
    """
    clauses = []
    if activation != layer.activation or not loss:
        expression = "None" if activation is None else f'"{activation}"'
        clauses.append(f"activation={expression} in {layer.title}")
    name = getattr(keras.losses.get(loss), "__name__", None) if loss else None
    if loss and (head is None or head.loss.name != name):
        clauses.append(f'loss="{loss}"')
    return Remedy(f"set {' and '.join(clauses)}")


def propose_loss(name: str, **arguments: Any) -> Remedy:
    """Propose the loss of Keras of this name."""
    options = ", ".join(f"{argument}={value!r}" for argument, value in arguments.items())
    return Remedy(f"use loss=keras.losses.{name}({options})")


def propose_removal(applied: Sequence[AppliedActivation]) -> Remedy:
    """Propose to remove some activations."""
    clauses = []
    for activation in applied:
        if activation.is_argument:
            clauses.append(f"set activation=None in {activation.layer}")
        else:
            clauses.append(f"remove {activation.layer}, which applies {activation.activation}")
    return Remedy(" and ".join(clauses))
