"""Initial biases of recurrent layers: one value for all units."""

from keras_initx._checks import check_count, check_number
from keras_initx._typing import DType, Shape, Tensor
from keras_initx.initializers._base import ConstantInitializer, register
from keras_initx.initializers._caller import layer_using
from keras_initx.initializers._gates import (
    check_gru_bias,
    check_lstm_bias,
    gru_bias,
    lstm_bias,
    overwrites_forget_bias,
    overwritten_error,
)
from keras_initx.sampling import Namespace


@register(
    "lstm_forget_bias",
    formula="value for the forget gates, 0 for the others",
    use="LSTMs with long memory: forget gates start open, with a bias of 1 or 2",
)
class LSTMForgetBias(ConstantInitializer):
    """Set the forget-gate bias of an LSTM to `value`, and all other biases to zero.

    The bias of an LSTM with `u` units has `4u` entries, for the input, forget, cell and output
    gates in this order. With a bias of 0 a forget gate starts half closed, at `sigmoid(0) = 0.5`,
    and the cell loses half of its memory at each step. Biases of 1 and 2 keep 0.73 and 0.88 of it,
    so that gradients reach further back.

    Keras' own `unit_forget_bias=True`, the default of its layers, sets the forget-gate bias to 1
    and calls the initializer only for the other parts, in two pieces. The result is correct for
    `value=1`. For any other value, building the layer raises an error: set
    `unit_forget_bias=False`.

    Args:
        value: Bias of the forget gates, usually 1 or 2.
        units: Number of units of the layer. Usually not needed, because it is inferred from the
            layer or the shape. If given, any other shape raises an error.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range; when called, if the shape is not that of an
            LSTM's bias, or if the layer overwrites the forget-gate bias with another value.

    Example:
        >>> keras.ops.convert_to_numpy(LSTMForgetBias(2.0)((8,))).tolist()
        [0.0, 0.0, 2.0, 2.0, 0.0, 0.0, 0.0, 0.0]
        >>> layer = keras.layers.LSTM(64, bias_initializer=LSTMForgetBias(2.0), unit_forget_bias=False)

    Reference:
        Gers, Schmidhuber and Cummins, "Learning to forget: continual prediction with LSTM", Neural
        Computation 12 (2000). Jozefowicz, Zaremba and Sutskever, "An empirical exploration of
        recurrent network architectures", ICML 2015.
    """

    def __init__(self, value: float = 1.0, *, units: int | None = None) -> None:
        self.value: float = check_number("value", value)
        self.units: int | None = units if units is None else check_count("units", units)

    def _check_shape(self, shape: Shape) -> None:
        layer = layer_using(self)
        if overwrites_forget_bias(layer):
            if self.value != 1:
                raise overwritten_error("`value` must be 1", layer, "value", self.value)
            if getattr(layer, "bias_initializer", None) is not self:
                raise overwritten_error("`LSTMForgetBias` cannot be within another", layer, "value", self.value)
        check_lstm_bias(shape, layer, self.units)

    def _fill(self, xp: Namespace, shape: Shape, dtype: DType) -> Tensor:
        if overwrites_forget_bias(layer_using(self)):
            return xp.zeros(shape, dtype)
        forget_gate = xp.full((shape[0] // 4,), float(self.value), dtype)
        return lstm_bias(xp, xp.zeros_like(forget_gate), forget_gate)


@register(
    "gru_update_bias",
    formula="value for the update gates, 0 for the others",
    use="GRUs with long memory: update gates start by keeping most of the state",
)
class GRUUpdateBias(ConstantInitializer):
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
        value: Bias of the update gates. For the forget gates of an LSTM, 1 and 2 are usual.
        units: Number of units of the layer. Usually not needed, because it is inferred from the
            layer or the shape. If given, any other shape raises an error.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range; when called, if the shape is not that of a
            GRU's bias.

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

    def __init__(self, value: float = 1.0, *, units: int | None = None) -> None:
        self.value: float = check_number("value", value)
        self.units: int | None = units if units is None else check_count("units", units)

    def _check_shape(self, shape: Shape) -> None:
        check_gru_bias(shape, layer_using(self), self.units)

    def _fill(self, xp: Namespace, shape: Shape, dtype: DType) -> Tensor:
        return gru_bias(xp, xp.full((shape[-1] // 3,), float(self.value), dtype), shape)
