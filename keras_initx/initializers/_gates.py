"""Recurrent layers: LSTMs and GRUs, and the order of the gates in their biases.

Attributes tell the kind of a layer, so that cells, convolutional LSTMs and layers of users count
too.
"""

import keras
import numpy as np

from keras_initx._typing import Array


def is_lstm(layer: keras.Layer | None) -> bool:
    """Return whether `layer` is an LSTM or its cell."""
    return hasattr(layer, "unit_forget_bias")


def is_gru(layer: keras.Layer | None) -> bool:
    """Return whether `layer` is a GRU or its cell."""
    return hasattr(layer, "reset_after")


def count_units(layer: keras.Layer | None) -> int | None:
    """Return the number of units of `layer`, or `None` if it has no such attribute."""
    return getattr(layer, "units", getattr(layer, "filters", None))  # a ConvLSTM has filters


def overwrites_forget_bias(layer: keras.Layer | None) -> bool:
    """Return whether `layer` is an LSTM that sets its forget-gate bias to 1 itself."""
    return bool(getattr(layer, "unit_forget_bias", False))


def lstm_gates(bias: Array) -> Array:
    """Return an LSTM bias as an array with a row for each gate: input, forget, cell, output."""
    return bias.reshape(4, -1)


def gru_gates(bias: Array) -> Array:
    """Return the effective bias of a GRU, with a row for each gate: update, reset, candidate.

    With `reset_after` there are two biases for each gate, for the inputs and for the state, which
    are added.
    """
    units = bias.shape[-1] // 3
    return np.asarray(bias.reshape(-1, 3, units).sum(axis=0))
