"""Chrono initialization: biases of recurrent layers that give each unit its own time scale."""

import functools
from typing import Literal, get_args

import keras
import numpy as np

from keras_initx._checks import check_choice, check_count
from keras_initx._typing import Array, DType, Seed, Shape, Tensor
from keras_initx.initializers._base import RandomInitializer, register
from keras_initx.initializers._caller import layer_using
from keras_initx.initializers._gates import (
    check_gru_bias,
    check_lstm_bias,
    gru_bias,
    is_gru,
    is_lstm,
    lstm_bias,
    overwrites_forget_bias,
    overwritten_error,
)
from keras_initx.sampling import Draw, Stream, affine, portable_log

Cell = Literal["lstm", "gru"]

_CELLS = 1 << 16
_UNITS = 1 << 24
_MOST_STEPS = 1 << 32


@register(
    "chrono_bias",
    formula="log U(1, max_steps - 1) for forget or update gates, its negative for an LSTM's input gates, else 0",
    use="LSTMs and GRUs with long-range dependencies of known length: memory lengths are spread up to it",
)
class ChronoBias(RandomInitializer):
    """Initialize LSTM or GRU biases so that memory lengths are spread evenly up to `max_steps`.

    A gate that keeps a fraction `sigmoid(b)` of the memory at each step has a memory of about `1 /
    (1 - sigmoid(b)) = 1 + exp(b)` steps. With `exp(b)` uniform between 1 and `max_steps - 1`, the
    memory length is uniform between 2 and `max_steps`.

    In an LSTM, `b` is the bias of a unit's forget gate and `-b` that of its input gate, so that a
    cell takes in as much as it forgets; all other biases are zero. In a Keras GRU, whose state is
    `z * h + (1 - z) * candidate`, `b` is the bias of the update gate `z`, in the first row if the
    bias has two (see `GRUUpdateBias`); all other biases are zero.

    Keras' `unit_forget_bias=True`, the default of its LSTM layers, overwrites the forget-gate bias.
    Building such a layer raises an error: set `unit_forget_bias=False`.

    Args:
        max_steps: Longest memory in time steps, an integer from 3 to 2**32. Use the sequence
            length, or the longest dependency that you expect.
        cell: `"lstm"` or `"gru"`. Usually not needed, because it is inferred from the layer.
            Required when the initializer is called directly with a 1D shape, which may be the bias
            of either.
        seed: An integer, a `keras.random.SeedGenerator` or `None`; see `RandomInitializer`.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range; when called, if the shape is not that of
            the bias of an LSTM or a GRU, if it is unknown which of the two it is, or if the layer
            overwrites the forget-gate bias.

    Example:
        >>> bias = keras.ops.convert_to_numpy(ChronoBias(100, cell="lstm", seed=0)((16,)))
        >>> (1 + np.exp(bias[4:8])).round().astype(int).tolist()
        [43, 61, 33, 76]
        >>> layer = keras.layers.LSTM(64, bias_initializer=ChronoBias(784), unit_forget_bias=False)
        >>> layer = keras.layers.GRU(64, bias_initializer=ChronoBias(784))

    Reference:
        Tallec and Ollivier, "Can recurrent neural networks warp time?", ICLR 2018.
    """

    def __init__(self, max_steps: int = 100, *, cell: Cell | None = None, seed: Seed = None) -> None:
        super().__init__(seed=seed)
        self.max_steps: int = check_count("max_steps", max_steps)
        if not 3 <= max_steps <= _MOST_STEPS:
            raise ValueError(f"`max_steps` must be from 3 to {_MOST_STEPS}. Received: {max_steps=!r}")
        self.cell: Cell | None = cell if cell is None else check_choice("cell", cell, get_args(Cell))

    def _check_shape(self, shape: Shape) -> None:
        layer = layer_using(self)
        if overwrites_forget_bias(layer):
            raise overwritten_error("`ChronoBias` cannot be used", layer, "max_steps", self.max_steps)
        cell = self._cell(layer, shape)
        if cell is None:
            raise ValueError(
                "`shape` must be (2, 3 * units), a GRU's, if neither the layer nor `cell` tells an LSTM from a GRU; "
                f'give the cell, as in `ChronoBias({self.max_steps}, cell="lstm")`. '
                f"Received: shape={shape}, cell=None, layer={layer and layer.name!r}"
            )
        {"lstm": check_lstm_bias, "gru": check_gru_bias}[cell](shape, layer)

    def _cell(self, layer: keras.Layer | None, shape: Shape) -> Cell | None:
        """Return which cell a bias of `shape` belongs to, or `None` if that is unknown."""
        if self.cell is not None:
            return self.cell
        if is_lstm(layer):
            return "lstm"
        return "gru" if is_gru(layer) or len(shape) == 2 else None

    def _draw(self, stream: Stream, shape: Shape, dtype: DType) -> Tensor:
        if self._cell(layer_using(self), shape) == "gru":
            return gru_bias(stream.xp, self._keeping(stream, shape[-1] // 3, dtype), shape)
        forget_gate = self._keeping(stream, shape[0] // 4, dtype)
        return lstm_bias(stream.xp, -forget_gate, forget_gate)

    def _keeping(self, stream: Stream, units: int, dtype: DType) -> Tensor:
        """Return the biases of the forget gates of an LSTM or the update gates of a GRU."""
        knots, largest = _quantiles(int(self.max_steps))
        # Each draw represents the midpoint of its interval.
        then = affine(stream.xp, largest / _UNITS / 2, largest / _UNITS, (0, largest))
        return stream.interpolated(Draw.VALUES, (units,), knots, dtype, then)


@functools.lru_cache(maxsize=8)
def _quantiles(max_steps: int) -> tuple[Array, float]:
    """Return the quantiles of log U(1, max_steps - 1) for `Stream.interpolated`, and the largest of them."""
    quantiles = portable_log(1 + (max_steps - 2) * (np.arange(_CELLS + 1) / _CELLS))
    largest = float(quantiles[-1])
    knots = np.rint(quantiles / largest * _UNITS).astype("int32")
    knots.flags.writeable = False
    return knots, largest
