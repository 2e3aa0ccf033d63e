"""Remedies with another activation at the end of a model, or another loss."""

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
    """Return a remedy with another activation in `layer`, and with another loss if one is given.

    What the layer and the loss of `head` have already is left out.
    """
    parts = []
    if activation != layer.activation or not loss:
        expression = "None" if activation is None else f'"{activation}"'
        parts.append(f"activation={expression} in {layer.title}")
    name = getattr(keras.losses.get(loss), "__name__", None) if loss else None
    if loss and (head is None or head.loss.name != name):
        parts.append(f'loss="{loss}"')
    return Remedy(f"set {' and '.join(parts)}")


def propose_loss(name: str, **arguments: Any) -> Remedy:
    """Return a remedy with a loss of Keras of this name."""
    options = ", ".join(f"{argument}={value!r}" for argument, value in arguments.items())
    return Remedy(f"use loss=keras.losses.{name}({options})")


def propose_removal(applied: Sequence[AppliedActivation]) -> Remedy:
    """Return a remedy without some activations."""
    texts = []
    for one in applied:
        if one.is_argument:
            texts.append(f"set activation=None in {one.layer}")
        else:
            texts.append(f"remove {one.layer}, which applies {one.activation}")
    return Remedy(" and ".join(texts))
