"""Initializers for a weight that holds several kernels, such as queries, keys and values.

Each kernel gets the fans that it would have in a weight of its own. The number of outputs of the
whole weight is no fan.
"""

import keras

from keras_initx._typing import InitializerLike
from keras_initx.initializers._composition import Scaled
from keras_initx.initializers._variance import VarianceScaling, stddev_for
from keras_initx.recipes._parts import Part
from keras_initx.recipes._weight_rules import Left

SIZES_NOT_KNOWN = Left(
    "it holds several kernels, whose sizes differ or are not known: write a rule with "
    "`Concatenated`",
    is_noted=True,
)


def adapt_to_each_kernel(value: InitializerLike, part: Part) -> InitializerLike | Left:
    """Make an initializer that gives each kernel in a weight its own fans."""
    if part.kernels == 1 or part.weight.fans is None:
        return value
    initializer = keras.initializers.get(value)
    if isinstance(initializer, Scaled):
        scaled = adapt_to_each_kernel(initializer.initializer, part)
        return scaled if isinstance(scaled, Left) else Scaled(scaled, initializer.factor)
    if not isinstance(initializer, VarianceScaling) or initializer.mode == "fan_in":
        return value
    if part.kernels == 0:
        return SIZES_NOT_KNOWN
    fan_in, fan_out = part.weight.fans
    mode = initializer.mode
    stddev = stddev_for(initializer.scale, mode, fan_in, fan_out / part.kernels)
    scale = initializer.scale * (stddev / stddev_for(initializer.scale, mode, fan_in, fan_out)) ** 2
    return VarianceScaling(scale, mode, initializer.distribution)
