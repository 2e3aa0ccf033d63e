"""LSTM and GRU biases: their shapes, the positions of the gates, and what the layer overwrites."""

import keras
import numpy as np

from keras_initx._typing import Array, Shape, Tensor
from keras_initx.sampling import Namespace


def is_lstm(layer: keras.Layer | None) -> bool:
    return hasattr(layer, "unit_forget_bias")


def is_gru(layer: keras.Layer | None) -> bool:
    return hasattr(layer, "reset_after")


def units_of(layer: keras.Layer | None) -> int | None:
    """Return the number of units of `layer`, or `None` if it has no such attribute."""
    return getattr(layer, "units", getattr(layer, "filters", None))  # a ConvLSTM has filters


def overwrites_forget_bias(layer: keras.Layer | None) -> bool:
    """Return whether `layer` is an LSTM that sets its forget-gate bias to 1 itself."""
    return bool(getattr(layer, "unit_forget_bias", False))


def overwritten_error(required: str, layer: keras.Layer, name: str, value: float) -> ValueError:
    """Return the error for an initializer whose forget-gate bias would be overwritten by `layer`."""
    return ValueError(
        f"{required} in a layer with `unit_forget_bias=True`, which sets the forget-gate bias to 1 itself; "
        f"give the layer `unit_forget_bias=False`. Received: {name}={value!r}, layer={layer.name!r}"
    )


def check_lstm_bias(shape: Shape, layer: keras.Layer | None, units: int | None = None) -> None:
    """Raise `ValueError` unless `shape` is that of an LSTM bias, or of one of the two pieces that `layer` asks for.

    Args:
        shape: The requested shape.
        layer: The layer that asks for it, or `None` if it is unknown.
        units: The required number of units, or `None` to use the layer's.
    """
    patterns: tuple[Shape, ...] = ((1,), (2,)) if overwrites_forget_bias(layer) else ((4,),)
    _check(shape, patterns, "an LSTM's bias, (4 * units,)", layer, units)


def check_gru_bias(shape: Shape, layer: keras.Layer | None, units: int | None = None) -> None:
    """Raise `ValueError` unless `shape` is that of a GRU bias. Arguments as in `check_lstm_bias`."""
    _check(shape, ((3,), (2, 3)), "a GRU's bias, (3 * units,) or (2, 3 * units)", layer, units)


def _check(
    shape: Shape, patterns: tuple[Shape, ...], required: str, layer: keras.Layer | None, units: int | None
) -> None:
    units_of_layer = units_of(layer)
    units = units_of_layer if units is None else units
    if units_of_layer not in (None, units) or not any(_matches(shape, pattern, units) for pattern in patterns):
        raise ValueError(
            f"`shape` must be that of {required}. "
            f"Received: shape={shape}, units={units}, layer={layer and layer.name!r}"
        )


def _matches(shape: Shape, pattern: Shape, units: int | None) -> bool:
    """Return whether `shape` is `pattern` with its last length times `units`, or times any integer if `None`."""
    if len(shape) != len(pattern) or shape[:-1] != pattern[:-1]:
        return False
    return shape[-1] % pattern[-1] == 0 if units is None else shape[-1] == pattern[-1] * units


def lstm_bias(xp: Namespace, input_gate: Tensor, forget_gate: Tensor) -> Tensor:
    """Return an LSTM bias, zero for cell and output gates. Keras' order: input, forget, cell, output."""
    zeros = xp.zeros_like(forget_gate)
    return xp.concatenate([input_gate, forget_gate, zeros, zeros])


def gru_bias(xp: Namespace, update_gate: Tensor, shape: Shape) -> Tensor:
    """Return a GRU bias of `shape`, zero except for the update gate. Keras' order: update, reset, candidate."""
    zeros = xp.zeros_like(update_gate)
    bias = xp.concatenate([update_gate, zeros, zeros])
    # The gate gets the sum of both rows. The first is the one that a layer with a single row has.
    return bias if len(shape) == 1 else xp.stack([bias, xp.zeros_like(bias)])


def lstm_gates(bias: Array) -> Array:
    """Return an LSTM bias as an array with a row for each gate, in the order of `lstm_bias`."""
    return bias.reshape(4, -1)


def gru_gates(bias: Array) -> Array:
    """Return the effective bias of a GRU as an array with a row for each gate, in the order of `gru_bias`."""
    return np.asarray(bias.reshape(-1, 3, bias.shape[-1] // 3).sum(axis=0))
