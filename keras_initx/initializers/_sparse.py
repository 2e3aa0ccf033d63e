"""Sparse initial weights."""

import math

from keras_initx._checks import check_count, check_number
from keras_initx._typing import Axes, DType, Gain, Seed, Shape, Tensor
from keras_initx.initializers._axes import MatrixInitializer
from keras_initx.initializers._base import register
from keras_initx.initializers._gain import check_gain, gain_value
from keras_initx.sampling import Stream, sparse_normal

_DEFAULT_CONNECTIONS = 10


@register(
    "sparse",
    formula="k of n inputs ~ N(0, gain² / k), the others 0",
    use="wide layers: each unit starts joined to a few random inputs, and its input keeps its size",
)
class Sparse(MatrixInitializer):
    """Join each unit to a fixed number of randomly chosen inputs; all other weights are zero.

    Unit `j` of a kernel is the slice `[..., j]`, unless `input_axes` or `output_axes` say otherwise.
    Exactly `k` of its `n` entries, each set of `k` equally likely, are drawn from `N(0, stddev^2)`.
    With few inputs a unit cannot be drowned by their number: its input keeps its size however wide
    the layer below is, and units differ from each other from the first step. A unit that has fewer
    than `k` inputs joins all of them.

    From Keras 3.15 on, `EinsumDense` and the attention layers fill in the axes by themselves. Others
    have to be told: `input_axes=[0, 1]` for a `DepthwiseConv2D`, whose units have a window of one
    channel each, `[0, 1, 3]` for a `Conv2DTranspose`.

    Args:
        connections: Number of inputs of each unit, `k`. 10 unless this or `sparsity` is given.
        sparsity: Fraction of weights that are zero, in `[0, 1)`; a unit keeps at least one
            connection. Cannot be given together with `connections`.
        stddev: Standard deviation of the weights that are not zero. By default
            `gain / sqrt(k)`, which keeps the variance of a unit's input; textbooks use 0.01 to 1.
        gain: Factor of the default `stddev`: a number, or an activation's name (`"relu"`).
        seed: See `RandomInitializer`.
        input_axes: Axes of the kernel that are the inputs of a unit, a list of integers. By default
            all that are not in `output_axes`.
        output_axes: Axes of the kernel along which the units are. By default all that are not in
            `input_axes`; the last one if neither is given.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of its range, if both `connections` and `sparsity` are
            given, or `stddev` and a `gain`; when called, if the shape has fewer than two
            dimensions and no axes are given, or if those given do not name each axis once.

    Example:
        >>> import numpy as np
        >>> kernel = keras.ops.convert_to_numpy(Sparse(connections=3, seed=0)((64, 32)))
        >>> np.unique((kernel != 0).sum(axis=0)).tolist()
        [3]
        >>> layer = keras.layers.Dense(32, kernel_initializer="initx.sparse")
        >>> told = Sparse(connections=4, input_axes=[0, 1])
        >>> layer = keras.layers.DepthwiseConv2D(3, depthwise_initializer=told)

    Reference:
        Martens, "Deep learning via Hessian-free optimization", ICML 2010, section 5.
    """

    def __init__(
        self,
        connections: int | None = None,
        *,
        sparsity: float | None = None,
        stddev: float | None = None,
        gain: Gain = 1.0,
        seed: Seed = None,
        input_axes: Axes = None,
        output_axes: Axes = None,
    ) -> None:
        super().__init__(seed=seed, input_axes=input_axes, output_axes=output_axes)
        check_gain(gain)
        if connections is not None:
            check_count("connections", connections)
        if sparsity is not None:
            check_number("sparsity", sparsity)
            if not 0 <= sparsity < 1:
                raise ValueError(f"`sparsity` must be in [0, 1). Received: {sparsity=!r}")
            if connections is not None:
                raise ValueError(
                    f"Only one of `connections` and `sparsity` can be given. Received: {connections=!r}, {sparsity=!r}"
                )
        if stddev is not None:
            check_number("stddev", stddev, positive=True)
            if gain != 1.0:
                raise ValueError(f"Only one of `stddev` and `gain` can be given. Received: {stddev=!r}, {gain=!r}")
        self.connections: int | None = connections
        self.sparsity: float | None = sparsity
        self.stddev: float | None = stddev
        self.gain: Gain = gain

    def expected_std(self, shape: Shape) -> float:
        inputs, _ = self._matrix_shape(shape)
        connections = self._connections(inputs)
        return self._stddev(connections) * math.sqrt(connections / max(inputs, 1))

    def _draw_matrix(self, stream: Stream, inputs: int, units: int, dtype: DType) -> Tensor:
        connections = self._connections(inputs)
        return sparse_normal(stream, inputs, units, connections, self._stddev(connections), dtype)

    def _stddev(self, connections: int) -> float:
        """Return the standard deviation of the weights of a unit with so many connections."""
        return gain_value(self.gain) / math.sqrt(max(connections, 1)) if self.stddev is None else float(self.stddev)

    def _connections(self, inputs: int) -> int:
        """Return the number of connections of a unit with `inputs` inputs."""
        if self.sparsity is not None:
            # Rounded half up, so that the count does not depend on whether it is odd or even.
            connections = max(1, math.floor(inputs * (1 - self.sparsity) + 0.5))
        else:
            connections = self.connections or _DEFAULT_CONNECTIONS
        return min(int(connections), inputs)
