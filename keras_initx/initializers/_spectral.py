"""Initial weights with a prescribed spectral norm."""

import math

from keras_initx._checks import check_number
from keras_initx._typing import Axes, DType, Seed, Shape, Tensor
from keras_initx.initializers._axes import AxesInitializer
from keras_initx.initializers._base import register
from keras_initx.sampling import Draw, Stream, affine


@register(
    "spectral",
    formula="N(0, s²), s = scale / sqrt(fan_in) · min(1, sqrt(fan_out / fan_in))",
    use="training dynamics that do not depend on width: the spectral norm is about sqrt(fan_out / fan_in)",
)
class Spectral(AxesInitializer):
    """Draw normal weights scaled so that the spectral norm of a kernel is about `sqrt(fan_out / fan_in)`.

    A vector of `n` values near 1 has the norm `sqrt(n)`. If inputs and outputs are both of that
    size, the ratio of their norms is `sqrt(fan_out / fan_in)`; with this spectral norm the outputs
    cannot be larger. A kernel with fewer units than inputs, such as that of the last layer, starts
    smaller than with `FanInNormal`: its outputs are small at first and grow within a few training
    steps.

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

    def __init__(
        self, scale: float = 1.0, *, seed: Seed = None, input_axes: Axes = None, output_axes: Axes = None
    ) -> None:
        super().__init__(seed=seed, input_axes=input_axes, output_axes=output_axes)
        self.scale: float = check_number("scale", scale, positive=True)

    def expected_std(self, shape: Shape) -> float:
        fan_in, fan_out = (max(fan, 1) for fan in self._fans(shape))
        return float(self.scale) / math.sqrt(fan_in) * min(1.0, math.sqrt(fan_out / fan_in))

    def _draw(self, stream: Stream, shape: Shape, dtype: DType) -> Tensor:
        return stream.normal(Draw.VALUES, shape, dtype, then=affine(stream.xp, 0, self.expected_std(shape)))
