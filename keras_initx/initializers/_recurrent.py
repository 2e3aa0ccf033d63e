"""Initial biases of LSTM and GRU layers."""

import functools
from typing import Literal, get_args

import keras
import numpy as np

from keras_initx._checks import check_choice, check_count, check_number
from keras_initx._keras import layer_using
from keras_initx._received import show
from keras_initx._typing import DType, Seed, Shape, Tensor
from keras_initx.initializers._gates import count_units, is_gru, is_lstm, overwrites_forget_bias
from keras_initx.initializers._initializer import ConstantInitializer, RandomInitializer, register
from keras_initx.initializers._laws import Law, MixedLaw, TabulatedLaw
from keras_initx.sampling._conversion import CELLS, Quantiles, portable_log
from keras_initx.sampling._namespace import Namespace
from keras_initx.sampling._stream import Stream

Cell = Literal["lstm", "gru"]

_MOST_STEPS = 1 << 32


class _GateBias(ConstantInitializer):
    """Base class of initializers that set the biases of one gate, see `LSTMForgetBias`."""

    def __init__(self, value: float = 1.0, *, units: int | None = None) -> None:
        self.value: float = check_number("value", value)
        if units is not None:
            check_count("units", units)
        self.units: int | None = units

    def largest(self, shape: Shape) -> float:
        return abs(float(self.value))


@register(
    "lstm_forget_bias",
    formula="value for the forget gates, 0 for the others",
    use="LSTMs with long memory: forget gates that start further open than with Keras' own 1",
)
class LSTMForgetBias(_GateBias):
    """Set the forget-gate bias of an LSTM to `value`, and all other biases to zero.

    Use it if your sequences are long. The bias of an LSTM with `u` units has `4u` entries, for the
    input, forget, cell and output gates in this order. With a bias of 0 a forget gate starts half
    closed, at `sigmoid(0) = 0.5`, and the cell loses half of its memory at each step. Biases of 1
    and 2 keep 0.73 and 0.88 of it, so that gradients reach further back.

    Keras' own `unit_forget_bias=True`, the default of its layers, sets the forget-gate bias to 1
    and calls the initializer only for the other parts, in two pieces. The result is correct for
    `value=1`. For any other value, building the layer raises an error, and you must set
    `unit_forget_bias=False`.

    Args:
        value: Bias of the forget gates, usually 1 or 2.
        units: Number of units of the layer. Usually not needed, because it is inferred from the
            layer or the shape. If given, any other shape raises an error.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range; when called, if an LSTM's bias cannot have the
            shape, or if the layer overwrites the forget-gate bias with another value.

    Example:
        >>> keras.ops.convert_to_numpy(LSTMForgetBias(2.0)((8,))).tolist()
        [0.0, 0.0, 2.0, 2.0, 0.0, 0.0, 0.0, 0.0]
        >>> bias = LSTMForgetBias(2.0)
        >>> layer = keras.layers.LSTM(
        ...     64, bias_initializer=bias, unit_forget_bias=False
        ... )

    Reference:
        Gers, Schmidhuber and Cummins, "Learning to forget: continual prediction with LSTM", Neural
        Computation 12 (2000). Jozefowicz, Zaremba and Sutskever, "An empirical exploration of
        recurrent network architectures", ICML 2015.
    """

    def check_shape(self, shape: Shape) -> None:
        layer = layer_using(self)
        if overwrites_forget_bias(layer):
            if self.value != 1:
                raise _overwritten_error("`value` must be 1", layer, "value", self.value)
            if getattr(layer, "bias_initializer", None) is not self:
                raise _overwritten_error(
                    "`LSTMForgetBias` cannot be inside another initializer",
                    layer,
                    "value",
                    self.value,
                )
        _check_bias(shape, "lstm", layer, self.units)

    def fill(self, xp: Namespace, shape: Shape, dtype: DType) -> Tensor:
        if overwrites_forget_bias(layer_using(self)):
            return xp.zeros(shape, dtype)
        forget_gate = xp.full((shape[0] // 4,), float(self.value), dtype)
        return _lstm_bias(xp, xp.zeros_like(forget_gate), forget_gate)


@register(
    "gru_update_bias",
    formula="value for the update gates, 0 for the others",
    use="GRUs with long memory: update gates start by keeping most of the state",
)
class GRUUpdateBias(_GateBias):
    """Set the update-gate bias of a GRU to `value`, and all other biases to zero.

    In Keras the new state of a GRU is `z * h + (1 - z) * candidate`, where `z` is the update gate:
    a positive bias keeps more of the old state. With a bias of 0 the state keeps half at each step;
    1 and 2 keep 0.73 and 0.88. Other libraries may swap `z` and `1 - z`, which reverses the sign of
    the bias.

    The bias of a GRU with `u` units has `3u` entries, for the update gate, the reset gate and the
    candidate in this order. With `reset_after=True`, the default of Keras' layers, it has two rows,
    one for the inputs and one for the state. The update gate adds both, so `value` is only in the
    first row, the one that a layer with `reset_after=False` also has.

    Args:
        value: Bias of the update gates, usually 1 or 2. The larger, the longer memory lasts.
        units: Number of units of the layer. Usually not needed, because it is inferred from the
            layer or the shape. If given, any other shape raises an error.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range; when called, if a GRU's bias cannot have the
            shape.

    Example:
        >>> keras.ops.convert_to_numpy(GRUUpdateBias(2.0)((2, 6))).tolist()
        [[2.0, 2.0, 0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0, 0.0, 0.0]]
        >>> layer = keras.layers.GRU(64, bias_initializer="initx.gru_update_bias")

    Reference:
        Cho and others, "Learning phrase representations using RNN encoder-decoder for statistical
        machine translation", EMNLP 2014, for the GRU. Jozefowicz, Zaremba and Sutskever, "An
        empirical exploration of recurrent network architectures", ICML 2015, for the forget-gate
        bias of an LSTM.
    """

    def check_shape(self, shape: Shape) -> None:
        _check_bias(shape, "gru", layer_using(self), self.units)

    def fill(self, xp: Namespace, shape: Shape, dtype: DType) -> Tensor:
        return _gru_bias(xp, xp.full((shape[-1] // 3,), float(self.value), dtype), shape)


@register(
    "chrono_bias",
    formula=(
        "log U(1, max_steps - 1) for forget or update gates, its negative for an LSTM's input "
        "gates, else 0"
    ),
    use=(
        "LSTMs and GRUs with long-range dependencies of known length: memory lengths are spread "
        "up to it"
    ),
)
class ChronoBias(RandomInitializer):
    """Initialize LSTM or GRU biases so that memory lengths are spread evenly up to `max_steps`.

    A gate that keeps a fraction `sigmoid(b)` of the memory at each step has a memory of about `1 /
    (1 - sigmoid(b)) = 1 + exp(b)` steps. With `exp(b)` uniform between 1 and `max_steps - 1`, the
    memory length is uniform between 2 and `max_steps`.

    In an LSTM, `b` is the bias of a unit's forget gate and `-b` is the bias of its input gate, so
    that a cell takes in as much as it forgets; all other biases are zero. In a Keras GRU, whose
    state is `z * h + (1 - z) * candidate`, `b` is the bias of the update gate `z`, in the first row
    if the bias has two (see `GRUUpdateBias`); all other biases are zero.

    Keras' `unit_forget_bias=True`, the default of its LSTM layers, overwrites the forget-gate bias.
    Building such a layer raises an error, and you must set `unit_forget_bias=False`.

    Args:
        max_steps: Longest memory in time steps, an integer from 3 to 2**32. Use the sequence
            length, or the longest dependency that you expect.
        cell: `"lstm"` or `"gru"`. Usually not needed, because it is inferred from the layer. You
            must give it if you call the initializer directly with a 1D shape, because both cells
            may have such a bias.
        seed: An integer, a `keras.random.SeedGenerator` or `None`; see `RandomInitializer`.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range; when called, if neither an LSTM's nor a GRU's
            bias can have the shape, if both can, or if the layer overwrites the forget-gate bias.

    Example:
        >>> bias = ChronoBias(100, cell="lstm", seed=0)((16,))
        >>> bias = keras.ops.convert_to_numpy(bias)
        >>> (1 + np.exp(bias[4:8])).round().astype(int).tolist()
        [43, 61, 33, 76]
        >>> bias = ChronoBias(784)
        >>> layer = keras.layers.LSTM(
        ...     64, bias_initializer=bias, unit_forget_bias=False
        ... )
        >>> layer = keras.layers.GRU(64, bias_initializer=ChronoBias(784))

    Reference:
        Tallec and Ollivier, "Can recurrent neural networks warp time?", ICLR 2018.
    """

    def __init__(
        self, max_steps: int = 100, *, cell: Cell | None = None, seed: Seed = None
    ) -> None:
        super().__init__(seed=seed)
        self.max_steps: int = check_count("max_steps", max_steps)
        if not 3 <= max_steps <= _MOST_STEPS:
            raise ValueError(
                f"`max_steps` must be from 3 to {_MOST_STEPS}. "
                f"Received: max_steps={show(max_steps)}"
            )
        if cell is not None:
            check_choice("cell", cell, get_args(Cell))
        self.cell: Cell | None = cell

    def check_shape(self, shape: Shape) -> None:
        layer = layer_using(self)
        if overwrites_forget_bias(layer):
            raise _overwritten_error(
                "`ChronoBias` cannot be used", layer, "max_steps", self.max_steps
            )
        cell = self._cell(layer, shape)
        if cell is None:
            raise ValueError(
                "`shape` must be (2, 3 * units), which only a GRU has, or the cell must be "
                f'given, as in `ChronoBias({self.max_steps}, cell="lstm")`. '
                f"Received: shape={shape}, cell=None, layer={show(layer and layer.name)}"
            )
        _check_bias(shape, cell, layer, takes_units=False)

    def _cell(self, layer: keras.Layer | None, shape: Shape) -> Cell | None:
        """Return which cell a bias of `shape` belongs to, or `None` if that is unknown."""
        if self.cell is not None:
            return self.cell
        if is_lstm(layer):
            return "lstm"
        if is_gru(layer) or len(shape) == 2:
            return "gru"
        return None

    def largest(self, shape: Shape) -> float:
        return self._kept().reach

    def draw(self, stream: Stream, shape: Shape, dtype: DType) -> Tensor:
        if self._cell(layer_using(self), shape) == "gru":
            update_gate = self._kept().draw(stream, (shape[-1] // 3,), dtype)
            return _gru_bias(stream.xp, update_gate, shape)
        forget_gate = self._kept().draw(stream, (shape[0] // 4,), dtype)
        return _lstm_bias(stream.xp, -forget_gate, forget_gate)

    def law(self, shape: Shape) -> Law:
        return MixedLaw()  # that of gates, and zeros

    def _kept(self) -> TabulatedLaw:
        """Return the law of the forget gates of an LSTM or the update gates of a GRU."""
        return TabulatedLaw("log-uniform", _log_quantiles(int(self.max_steps)), least=0.0)


@functools.lru_cache(maxsize=8)
def _log_quantiles(max_steps: int) -> Quantiles:
    """Return the quantiles of log U(1, max_steps - 1)."""
    logarithms = portable_log(1 + (max_steps - 2) * np.linspace(0, 1, CELLS + 1))
    logarithms[0] = 0  # that of 1, which is computed with an error of rounding
    return Quantiles.of(logarithms)


def _overwritten_error(required: str, layer: keras.Layer, name: str, value: float) -> ValueError:
    """Return the error for an initializer whose forget-gate bias `layer` would overwrite."""
    return ValueError(
        f"{required} in a layer with `unit_forget_bias=True`, which sets the forget-gate bias to 1 "
        "itself; give the layer `unit_forget_bias=False`. "
        f"Received: {name}={show(value)}, layer={show(layer.name)}"
    )


def _check_bias(
    shape: Shape,
    cell: Cell,
    layer: keras.Layer | None,
    units: int | None = None,
    *,
    takes_units: bool = True,
) -> None:
    """Raise `ValueError` unless a bias has this shape, or a piece of a bias that an LSTM requests.

    Args:
        shape: The requested shape.
        cell: The cell whose bias it must be, an LSTM or a GRU.
        layer: The layer that requests it, or `None` if it is unknown.
        units: The required number of units, or `None` to use the layer's. If that is unknown too,
            any number fits.
        takes_units: Whether the user can give it.
    """
    if cell == "gru":
        required = "a GRU's bias, (3 * units,) or (2, 3 * units)"
        gates = [3]
    else:
        required = "an LSTM's bias, (4 * units,)"
        # A layer that sets the forget-gate bias asks for the input gate, and for the last two.
        gates = [1, 2] if overwrites_forget_bias(layer) else [4]
    is_cell = is_lstm(layer) if cell == "lstm" else is_gru(layer)
    units_of_layer = count_units(layer) if is_cell else None
    hint = ""
    if units is None:
        units = count_units(layer)
        if layer is not None and not is_cell and takes_units:
            name = "LSTM" if cell == "lstm" else "GRU"
            hint = f"; the layer is no {name}: if it has the bias of one, pass `units=`"
    fitting = units
    if fitting is None:
        length = shape[-1] if shape else 0
        fitting = length // gates[0]
    shapes: list[Shape] = [(gate * fitting,) for gate in gates]
    if cell == "gru":
        shapes.append((2, 3 * fitting))
    if units_of_layer not in (None, units) or shape not in shapes:
        raise ValueError(
            f"`shape` must be the shape of {required}. "
            f"Received: shape={shape}, units={units}, layer={show(layer and layer.name)}{hint}"
        )


def _lstm_bias(xp: Namespace, input_gate: Tensor, forget_gate: Tensor) -> Tensor:
    """Return an LSTM bias, zero for cell and output gates."""
    # Keras' order: input, forget, cell, output.
    zeros = xp.zeros_like(forget_gate)
    return xp.concatenate([input_gate, forget_gate, zeros, zeros])


def _gru_bias(xp: Namespace, update_gate: Tensor, shape: Shape) -> Tensor:
    """Return a GRU bias of `shape`, zero except for the update gate."""
    # Keras' order: update, reset, candidate.
    zeros = xp.zeros_like(update_gate)
    bias = xp.concatenate([update_gate, zeros, zeros])
    if len(shape) == 1:
        return bias
    # The gate gets the sum of both rows. The first is the one that a layer with a single row has.
    return xp.stack([bias, xp.zeros_like(bias)])
