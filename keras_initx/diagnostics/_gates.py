"""The effective gate biases of an LSTM or a GRU."""

from typing import Literal

import keras
import numpy as np

from keras_initx._typing import Array
from keras_initx.diagnostics._values import weight_array
from keras_initx.initializers._gates import (
    gru_gates,
    is_gru,
    is_lstm,
    lstm_gates,
    overwrites_forget_bias,
    units_of,
)


def gate_bias(layer: keras.layers.Layer) -> tuple[Literal["forget", "update"], Array] | None:
    """Return the effective forget-gate bias of an LSTM or update-gate bias of a GRU, `None` for other layers.

    Returns:
        A pair: `"forget"` or `"update"`, and an array with the bias of each unit.
    """
    cell = getattr(layer, "cell", None)
    bias = _bias_of(cell)
    if is_lstm(cell):
        return "forget", np.zeros(units_of(cell) or 0, "float32") if bias is None else lstm_gates(bias)[1]
    if is_gru(cell):
        return "update", np.zeros(units_of(cell) or 0, "float32") if bias is None else gru_gates(bias)[0]
    return None


def forget_bias_overwritten(layer: keras.layers.Layer) -> bool:
    """Return whether an LSTM overwrites the forget-gate bias of its initializer with ones.

    The initializer then fills only the other three gates. If these are all 0, it agrees with the default of the layer;
    if they are all 1, the forget gates have the value that it would have given them.
    """
    cell = getattr(layer, "cell", None)
    bias = _bias_of(cell)
    if bias is None or not overwrites_forget_bias(cell):
        return False
    forget, others = lstm_gates(bias)[1], lstm_gates(bias)[[0, 2, 3]]
    return bool((forget == 1).all() and not (others == 0).all() and not (others == 1).all())


def _bias_of(cell: keras.layers.Layer | None) -> Array | None:
    bias = getattr(cell, "bias", None)
    return None if bias is None else weight_array(bias)
