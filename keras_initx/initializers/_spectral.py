"""Initial weights whose largest singular value follows from the numbers of inputs and outputs."""

import math

from keras_initx._checks import check_number
from keras_initx._typing import Axes, DType, Seed, Shape, Tensor
from keras_initx.initializers._axes import AxesInitializer
from keras_initx.initializers._base import register
from keras_initx.initializers._fans import fans
from keras_initx.sampling import Draw, Stream, affine


@register(
    "spectral",
    formula="N(0, s²), s = scale / sqrt(fan_in) · min(1, sqrt(fan_out / fan_in))",
    use="networks of several widths that should learn alike: the spectral norm is about sqrt(fan_out / fan_in)",
)
class Spectral(AxesInitializer):
    """Draw weights from a normal distribution so that a kernel has the spectral norm `sqrt(fan_out / fan_in)`, about.

    The norm of a vector of `n` values near 1 is `sqrt(n)`. So this is the factor between the norms of
    inputs and outputs that have the right size, and no kernel can give more, whatever its inputs. A
    kernel that has to bring them together, as that of the last layer, starts smaller than with
    `FanInNormal`: outputs are small at first, and grow to their size in a few steps.

    The standard deviation is `scale / sqrt(fan_in) * min(1, sqrt(fan_out / fan_in))`. The largest
    singular value is then `scale * (1 + sqrt(r)) * sqrt(fan_out / fan_in)`, about, where `r` is the
    smaller of both fans over the larger: between once and twice what the condition says, which fixes
    it up to a factor that does not depend on the width.

    Args:
        scale: Factor on the weights, a positive number: `sqrt(2)` makes up for relu.
        seed: See `RandomInitializer`.
        input_axes: See `VarianceScaling`.
        output_axes: See `VarianceScaling`.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of its range; when called, if the shape does not have
            the axes named.

    Example:
        >>> kernel = Spectral(seed=0)((400, 100))
        >>> round(float(keras.ops.std(kernel)), 3)
        0.025
        >>> layer = keras.layers.Dense(10, kernel_initializer="initx.spectral")

    Reference:
        Yang, Simon and Bernstein, "A spectral condition for feature learning", arXiv:2310.17813,
        2023, parametrization 1.
    """

    def __init__(
        self, scale: float = 1.0, *, seed: Seed = None, input_axes: Axes = None, output_axes: Axes = None
    ) -> None:
        super().__init__(seed=seed, input_axes=input_axes, output_axes=output_axes)
        self.scale: float = check_number("scale", scale, positive=True)

    def expected_std(self, shape: Shape) -> float:
        fan_in, fan_out = (max(fan, 1) for fan in fans(shape, self.input_axes, self.output_axes))
        return float(self.scale) / math.sqrt(fan_in) * min(1.0, math.sqrt(fan_out / fan_in))

    def _draw(self, stream: Stream, shape: Shape, dtype: DType) -> Tensor:
        return stream.normal(Draw.VALUES, shape, dtype, then=affine(stream.xp, 0, self.expected_std(shape)))
