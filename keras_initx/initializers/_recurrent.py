"""Initial biases of recurrent layers."""

from keras_initx.initializers._base import ConstantInitializer, register
from keras_initx.initializers._caller import layer_using
from keras_initx.initializers._checks import check_count, check_number


@register(
    "lstm_forget_bias",
    formula="value for the forget gates, 0 for the others",
    use="LSTMs with long memory: forget gates start open, at a bias of 1 or 2",
)
class LSTMForgetBias(ConstantInitializer):
    """Open an LSTM's forget gates at the start: `value` in their part of the bias, zero elsewhere.

    The bias of an LSTM with `u` units has `4u` entries, for the input, forget, cell and output
    gates in this order. With a bias of 0 a forget gate starts half closed, at `sigmoid(0) = 0.5`,
    and the memory of a cell halves with every step; 1 and 2 (0.73 and 0.88 kept) let gradients
    reach far back.

    Keras' own `unit_forget_bias=True`, the default of its layers, writes ones into the forget part
    and asks the initializer only for the other parts, in two pieces. The result is right for
    `value=1`, and a `value` that could not take effect is refused when the layer is built: give
    the layer `unit_forget_bias=False` then.

    Args:
        value: Bias of the forget gates; 1 and 2 are customary.
        units: Number of units of the layer. Normally left out and read off the layer or the
            shape; give it where an initializer called by hand should refuse any other shape.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of its range; when called, if the shape is not that of an
            LSTM's bias, or if the layer overwrites the forget part with another value.

    Example:
        >>> keras.ops.convert_to_numpy(LSTMForgetBias(2.0)((8,))).tolist()
        [0.0, 0.0, 2.0, 2.0, 0.0, 0.0, 0.0, 0.0]
        >>> layer = keras.layers.LSTM(64, bias_initializer=LSTMForgetBias(2.0), unit_forget_bias=False)

    Reference:
        Gers, Schmidhuber and Cummins, "Learning to forget: continual prediction with LSTM", Neural
        Computation 12 (2000). Jozefowicz, Zaremba and Sutskever, "An empirical exploration of
        recurrent network architectures", ICML 2015.
    """

    def __init__(self, value=1.0, units=None):
        self.value = check_number("value", value)
        self.units = units if units is None else check_count("units", units)

    def _check_shape(self, shape):
        layer = layer_using(self)
        units = _units(layer) if self.units is None else self.units
        expected = _units(layer) in (None, units)
        if _overwrites_forget_bias(layer):
            if self.value != 1:
                raise ValueError(
                    "`value` must be 1 in a layer with `unit_forget_bias=True`, which writes ones into the forget "
                    "gates itself; give the layer `unit_forget_bias=False`. "
                    f"Received: value={self.value!r}, layer={layer.name!r}"
                )
            expected &= units is None or shape in ((units,), (2 * units,))
        else:
            expected &= len(shape) == 1 and (shape[0] % 4 == 0 if units is None else shape[0] == 4 * units)
        if not expected:
            raise ValueError(
                "`shape` must be that of an LSTM's bias, (4 * units,). "
                f"Received: shape={shape}, units={units}, layer={layer and layer.name!r}"
            )

    def _fill(self, xp, shape, dtype):
        zeros = xp.zeros(shape, dtype)
        if _overwrites_forget_bias(layer_using(self)):
            return zeros
        units = shape[0] // 4
        return xp.concatenate([zeros[:units], xp.full((units,), float(self.value), dtype), zeros[2 * units :]])


def _units(layer):
    """Return the number of units of a layer (`filters` in a ConvLSTM), or `None` if it does not say."""
    return getattr(layer, "units", getattr(layer, "filters", None))


def _overwrites_forget_bias(layer):
    return getattr(layer, "unit_forget_bias", False)
