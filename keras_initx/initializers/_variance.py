"""Initial weights whose scale follows from the fans."""

import math
from collections.abc import Callable
from typing import Literal, get_args

from keras_initx._checks import check_choice, check_number
from keras_initx._signatures import shorten_signature
from keras_initx._typing import AxesLike, Seed, Shape
from keras_initx.initializers._initializer import register
from keras_initx.initializers._laws import Law, NormalLaw, TruncatedLaw, UniformLaw
from keras_initx.initializers._scale import AxesInitializer

FanMode = Literal["fan_in", "fan_out", "fan_avg", "fan_geo_avg"]
Distribution = Literal["truncated_normal", "untruncated_normal", "normal", "uniform"]

_MODES: dict[FanMode, Callable[[float, float], float]] = {
    "fan_in": lambda fan_in, fan_out: fan_in,
    "fan_out": lambda fan_in, fan_out: fan_out,
    "fan_avg": lambda fan_in, fan_out: (fan_in + fan_out) / 2,
    "fan_geo_avg": lambda fan_in, fan_out: math.sqrt(fan_in * fan_out),
}


def stddev_for(scale: float, mode: FanMode, fan_in: float, fan_out: float) -> float:
    """Return the standard deviation of weights with variance `scale / n`, `n` chosen by `mode`."""
    return math.sqrt(float(scale) / max(_MODES[mode](fan_in, fan_out), 1))


@register(
    "variance_scaling",
    formula="variance scale / n, with n chosen by mode",
    use="variances and distributions that no named initializer has",
)
class VarianceScaling(AxesInitializer):
    """Draw weights with variance `scale / n`, where `n` is fan-in, fan-out or their mean.

    All distributions have mean 0 and standard deviation `sqrt(scale / n)`, with `n` at least 1. For
    a shape `(*window, inputs, units)`, fan-in, the number of inputs of a unit, is `window *
    inputs`, and fan-out, the number of units connected to an input, is `window * units`. This is
    correct for `Dense` and convolution layers. For other layers you set `input_axes` and
    `output_axes`: `[0, 1]` and `[0, 1, 3]` for a `DepthwiseConv2D`, `[0, 1, 3]` and `[0, 1, 2]` for
    a `Conv2DTranspose`, `[]` and `[1]` for the one row of an `Embedding` that is looked up. Since
    Keras 3.15, `EinsumDense` and `MultiHeadAttention` set both axes themselves.

    This is a subclass of Keras' own class, because these layers check for it.

    Args:
        scale: Factor in the variance, a positive number. Use 2 before relu.
        mode: How `n` is chosen: `"fan_in"`, `"fan_out"`, `"fan_avg"` (their mean) or
            `"fan_geo_avg"` (their geometric mean).
        distribution: `"truncated_normal"` or its alias `"normal"`, truncated at 2.27 standard
            deviations; `"untruncated_normal"`; or `"uniform"`.
        seed: An integer, a `keras.random.SeedGenerator` or `None`; see `RandomInitializer`.
        input_axes: List of the axes of the kernel whose lengths multiply to fan-in.
        output_axes: List of the axes of the kernel whose lengths multiply to fan-out.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range; when called, if the shape does not have the
            given axes.

    Example:
        >>> kernel = VarianceScaling(2.0, distribution="uniform", seed=0)((50, 400))
        >>> round(float(keras.ops.std(kernel)), 2)
        0.2
        >>> initializer = VarianceScaling(2.0, input_axes=[0, 1], seed=0)
        >>> layer = keras.layers.DepthwiseConv2D(
        ...     3, depthwise_initializer=initializer
        ... )

    Reference:
        He, Zhang, Ren and Sun, "Delving deep into rectifiers: surpassing human-level performance
        on ImageNet classification", ICCV 2015. Glorot and Bengio, "Understanding the difficulty of
        training deep feedforward neural networks", AISTATS 2010.
    """

    @shorten_signature
    def __init__(
        self,
        scale: float = 1.0,
        mode: FanMode = "fan_in",
        distribution: Distribution = "truncated_normal",
        seed: Seed = None,
        input_axes: AxesLike = None,
        output_axes: AxesLike = None,
    ) -> None:
        super().__init__(seed=seed, input_axes=input_axes, output_axes=output_axes)
        self.scale: float = check_number("scale", scale, positive=True)
        self.mode: FanMode = check_choice("mode", mode, _MODES)
        self.distribution: Distribution = check_choice(
            "distribution", distribution, get_args(Distribution)
        )

    def law(self, shape: Shape) -> Law:
        stddev = stddev_for(self.scale, self.mode, *self.fans(shape))
        if self.distribution == "uniform":
            limit = math.sqrt(3) * stddev
            return UniformLaw(-limit, limit)
        if self.distribution == "untruncated_normal":
            return NormalLaw(0.0, stddev)
        return TruncatedLaw(-2.0, 2.0, 0.0, stddev)


@register(
    "spectral",
    formula="N(0, s²), s = scale / sqrt(fan_in) · min(1, sqrt(fan_out / fan_in))",
    use=(
        "training dynamics that do not depend on width: the spectral norm is about "
        "sqrt(fan_out / fan_in)"
    ),
)
class Spectral(AxesInitializer):
    """Draw normal weights so that the spectral norm of a kernel is about `sqrt(fan_out / fan_in)`.

    A vector of `n` values near 1 has the norm `sqrt(n)`. If inputs and outputs are both of that
    size, the ratio of their norms is `sqrt(fan_out / fan_in)`; with this spectral norm the outputs
    cannot be larger. A kernel with fewer units than inputs, such as the kernel of the last layer,
    starts smaller than with `FanInNormal`: its outputs are small at first and grow within a few
    training steps.

    The standard deviation is `scale / sqrt(fan_in) * min(1, sqrt(fan_out / fan_in))`. The largest
    singular value is then about `scale * (1 + sqrt(r)) * sqrt(fan_out / fan_in)`, where `r` is the
    ratio of the smaller to the larger fan. This is once to twice the prescribed value; the spectral
    condition allows any constant factor that does not depend on the width.

    Args:
        scale: Scale factor, a positive number. Use `sqrt(2)` before relu.
        seed: An integer, a `keras.random.SeedGenerator` or `None`; see `RandomInitializer`.
        input_axes: List of the axes that count for fan-in; see `VarianceScaling`.
        output_axes: List of the axes that count for fan-out; see `VarianceScaling`.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range; when called, if the shape does not have the
            given axes.

    Example:
        >>> kernel = Spectral(seed=0)((400, 100))
        >>> round(float(keras.ops.std(kernel)), 3)
        0.025
        >>> layer = keras.layers.Dense(10, kernel_initializer="initx.spectral")

    Reference:
        Yang, Simon and Bernstein, "A spectral condition for feature learning", arXiv:2310.17813,
        2023, parametrization 1.
    """

    @shorten_signature
    def __init__(
        self,
        scale: float = 1.0,
        *,
        seed: Seed = None,
        input_axes: AxesLike = None,
        output_axes: AxesLike = None,
    ) -> None:
        super().__init__(seed=seed, input_axes=input_axes, output_axes=output_axes)
        self.scale: float = check_number("scale", scale, positive=True)

    def law(self, shape: Shape) -> Law:
        fan_in, fan_out = self.fans(shape)
        fan_in = max(fan_in, 1)
        fan_out = max(fan_out, 1)
        stddev = float(self.scale) / math.sqrt(fan_in) * min(1.0, math.sqrt(fan_out / fan_in))
        return NormalLaw(0.0, stddev)
