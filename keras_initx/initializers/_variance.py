"""Initial weights whose variance follows from the number of inputs and outputs."""

import math
from collections.abc import Callable
from typing import Literal, get_args

from keras_initx._checks import check_choice, check_number
from keras_initx._typing import Axes, DType, Seed, Shape, Tensor
from keras_initx.initializers._axes import AxesInitializer
from keras_initx.initializers._base import register
from keras_initx.initializers._fans import fans
from keras_initx.sampling import Draw, Stream, affine, truncated_normal, uniform_between

Mode = Literal["fan_in", "fan_out", "fan_avg", "fan_geo_avg"]
Distribution = Literal["truncated_normal", "untruncated_normal", "normal", "uniform"]

_MODES: dict[Mode, Callable[[int, int], float]] = {
    "fan_in": lambda fan_in, fan_out: fan_in,
    "fan_out": lambda fan_in, fan_out: fan_out,
    "fan_avg": lambda fan_in, fan_out: (fan_in + fan_out) / 2,
    "fan_geo_avg": lambda fan_in, fan_out: math.sqrt(fan_in * fan_out),
}


def stddev_for(scale: float, mode: Mode, fan_in: int, fan_out: int) -> float:
    """Return the standard deviation of weights of variance `scale / n`, with `n` counted by `mode`."""
    return math.sqrt(float(scale) / max(_MODES[mode](fan_in, fan_out), 1))


@register(
    "variance_scaling",
    formula="variance scale / n, n counted by mode",
    use="another variance or distribution than those with a name",
)
class VarianceScaling(AxesInitializer):
    """Draw weights of variance `scale / n`, where `n` counts the inputs or outputs of a unit.

    All distributions have the mean 0 and the standard deviation `sqrt(scale / n)`. `n` is at least
    1. From the shape `(*window, inputs, units)` the number of inputs of a unit, fan-in, is taken
    to be `window * inputs`, and the number of units that an input goes to, fan-out, `window *
    units`. That is right for `Dense` and the convolutions. `input_axes` and `output_axes` give
    the right numbers where it is not: `[0, 1]` and `[0, 1, 3]` for a `DepthwiseConv2D`, `[0, 1, 3]`
    and `[0, 1, 2]` for a `Conv2DTranspose`, `[]` and `[1]` for an `Embedding`. From Keras 3.15
    on, `EinsumDense` and `MultiHeadAttention` fill them in by themselves.

    A subclass of Keras' own class, because that is what these layers look for.

    Args:
        scale: Factor of the variance, a positive number: 2 makes up for relu.
        mode: What `n` is: `"fan_in"`, `"fan_out"`, `"fan_avg"`, their mean, or `"fan_geo_avg"`,
            their geometric mean.
        distribution: `"truncated_normal"`, with nothing beyond 2.27 standard deviations, or
            `"normal"`, which is the same; `"untruncated_normal"`; or `"uniform"`.
        seed: See `RandomInitializer`.
        input_axes: Axes of the kernel whose lengths multiply to fan-in, a list of integers.
        output_axes: Axes of the kernel whose lengths multiply to fan-out.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of its range; when called, if the shape does not have
            the axes named.

    Example:
        >>> kernel = VarianceScaling(2.0, distribution="uniform", seed=0)((50, 400))
        >>> round(float(keras.ops.std(kernel)), 2)
        0.2
        >>> told = VarianceScaling(2.0, input_axes=[0, 1], seed=0)
        >>> layer = keras.layers.DepthwiseConv2D(3, depthwise_initializer=told)

    Reference:
        He, Zhang, Ren and Sun, "Delving deep into rectifiers: surpassing human-level performance
        on ImageNet classification", ICCV 2015. Glorot and Bengio, "Understanding the difficulty of
        training deep feedforward neural networks", AISTATS 2010.
    """

    def __init__(
        self,
        scale: float = 1.0,
        mode: Mode = "fan_in",
        distribution: Distribution = "truncated_normal",
        seed: Seed = None,
        input_axes: Axes = None,
        output_axes: Axes = None,
    ) -> None:
        super().__init__(seed=seed, input_axes=input_axes, output_axes=output_axes)
        self.scale: float = check_number("scale", scale, positive=True)
        self.mode: Mode = check_choice("mode", mode, _MODES)
        self.distribution: Distribution = check_choice("distribution", distribution, get_args(Distribution))

    def expected_std(self, shape: Shape) -> float:
        return stddev_for(self.scale, self.mode, *fans(shape, self.input_axes, self.output_axes))

    def _draw(self, stream: Stream, shape: Shape, dtype: DType) -> Tensor:
        stddev = self.expected_std(shape)
        if self.distribution == "uniform":
            limit = math.sqrt(3) * stddev
            return uniform_between(stream, shape, -limit, limit, dtype)
        if self.distribution == "untruncated_normal":
            return stream.normal(Draw.VALUES, shape, dtype, then=affine(stream.xp, 0, stddev))
        return truncated_normal(stream, shape, -2, 2, 0, stddev, dtype)
