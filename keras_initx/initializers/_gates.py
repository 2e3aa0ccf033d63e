"""The bias of an LSTM and of a GRU: its shape, where in it the gates are, and what the layer writes itself."""

import keras
import numpy as np

from keras_initx._typing import Array, Shape, Tensor
from keras_initx.sampling import Namespace


def is_lstm(layer: keras.Layer | None) -> bool:
    return hasattr(layer, "unit_forget_bias")


def is_gru(layer: keras.Layer | None) -> bool:
    return hasattr(layer, "reset_after")


def units_of(layer: keras.Layer | None) -> int | None:
    """Return the number of units of `layer`, `None` if it does not say."""
    return getattr(layer, "units", getattr(layer, "filters", None))  # a ConvLSTM has filters


def overwrites_forget_bias(layer: keras.Layer | None) -> bool:
    """Tell whether `layer` is an LSTM that writes ones into its forget gates itself."""
    return bool(getattr(layer, "unit_forget_bias", False))


def overwritten_error(required: str, layer: keras.Layer, name: str, value: float) -> ValueError:
    """Return the error for an initializer whose forget biases would not take effect in `layer`."""
    return ValueError(
        f"{required} in a layer with `unit_forget_bias=True`, which writes ones into the forget gates itself; "
        f"give the layer `unit_forget_bias=False`. Received: {name}={value!r}, layer={layer.name!r}"
    )


def check_lstm_bias(shape: Shape, layer: keras.Layer | None, units: int | None = None) -> None:
    """Refuse a `shape` that is not an LSTM's bias, or one of the two pieces of it that `layer` asks for.

    Args:
        shape: The shape asked for.
        layer: The layer that asks for it, or `None` if none is known.
        units: The number of units required, or `None` for the layer's.
    """
    patterns: tuple[Shape, ...] = ((1,), (2,)) if overwrites_forget_bias(layer) else ((4,),)
    _check(shape, patterns, "an LSTM's bias, (4 * units,)", layer, units)


def check_gru_bias(shape: Shape, layer: keras.Layer | None, units: int | None = None) -> None:
    """Refuse a `shape` that is not a GRU's bias. The arguments are those of `check_lstm_bias`."""
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
    """Tell whether `shape` is `pattern` with the last length multiplied by `units`, by anything if `None`."""
    if len(shape) != len(pattern) or shape[:-1] != pattern[:-1]:
        return False
    return shape[-1] % pattern[-1] == 0 if units is None else shape[-1] == pattern[-1] * units


def lstm_bias(xp: Namespace, input_gate: Tensor, forget_gate: Tensor) -> Tensor:
    """Return an LSTM's bias, zero for cell and output gates: Keras' order is input, forget, cell, output."""
    zeros = xp.zeros_like(forget_gate)
    return xp.concatenate([input_gate, forget_gate, zeros, zeros])


def gru_bias(xp: Namespace, update_gate: Tensor, shape: Shape) -> Tensor:
    """Return a GRU's bias of `shape`, zero for all but the update gate: Keras' order is update, reset, candidate."""
    zeros = xp.zeros_like(update_gate)
    bias = xp.concatenate([update_gate, zeros, zeros])
    # Of two rows the gate gets the sum. The first one is what a layer with a single row has.
    return bias if len(shape) == 1 else xp.stack([bias, xp.zeros_like(bias)])


def lstm_gates(bias: Array) -> Array:
    """Return an LSTM's bias, an array, with a row for each gate, in the order of `lstm_bias`."""
    return bias.reshape(4, -1)


def gru_gates(bias: Array) -> Array:
    """Return a GRU's bias in force, an array, with a row for each gate, in the order of `gru_bias`."""
    return np.asarray(bias.reshape(-1, 3, bias.shape[-1] // 3).sum(axis=0))
