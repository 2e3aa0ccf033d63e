"""Gains: factors on weights that compensate for the effect of an activation on the variance."""

import math

from keras_initx._checks import check_choice, check_number
from keras_initx._typing import Activation, Gain

# The first six are those of `torch.nn.init.calculate_gain` (leaky_relu with Keras' slope of 0.2).
# The others preserve the second moment: 1 / sqrt(E[f(z)^2]) for z ~ N(0, 1), as sqrt(2) does for relu.
_GAINS: dict[Activation, float] = {
    "linear": 1.0,
    "sigmoid": 1.0,
    "tanh": 5 / 3,
    "relu": math.sqrt(2),
    "leaky_relu": math.sqrt(2 / (1 + 0.2**2)),
    "selu": 3 / 4,
    "elu": 1.245198,
    "gelu": 1.533530,
    "silu": 1.676532,
    "swish": 1.676532,
}


def check_gain(gain: Gain) -> Gain:
    """Return `gain`, which must be a positive number or the name of an activation."""
    if isinstance(gain, str):
        return check_choice("gain", gain, _GAINS)
    return check_number("gain", gain, positive=True)


def gain_value(gain: Gain) -> float:
    """Return a checked `gain` as a float."""
    return _GAINS[gain] if isinstance(gain, str) else float(gain)
