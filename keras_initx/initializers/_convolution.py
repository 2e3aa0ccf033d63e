"""Initial kernels of convolutions: identities, and upsampling without artifacts."""

import functools
import math
from collections.abc import Iterator

import keras
import numpy as np

from keras_initx._checks import check_count, check_parts
from keras_initx._received import show
from keras_initx._typing import Array, DType, Gain, InitializerLike, Seed, Shape, Tensor
from keras_initx.initializers._as_ours import adapt_initializer, check_initializer
from keras_initx.initializers._composition import Composite
from keras_initx.initializers._initializer import (
    ConstantInitializer,
    Initializer,
    RandomInitializer,
    rank_error,
    register,
)
from keras_initx.initializers._laws import CenterLaw, FrameLaw, Law, TiledLaw
from keras_initx.initializers._orthogonal import Orthogonal
from keras_initx.initializers._scale import check_gain, gain_value
from keras_initx.sampling._namespace import Namespace
from keras_initx.sampling._stream import Stream


@register(
    "delta_orthogonal",
    formula="gain · Q at the window's center, QQ' = I, Haar-uniform; 0 elsewhere",
    use=(
        "very deep convolutional networks: before its activation each layer preserves the norm of "
        "its input exactly"
    ),
)
class DeltaOrthogonal(RandomInitializer):
    """Initialize a convolution to multiply each pixel's channels by a random orthogonal matrix.

    Use it for very deep convolutional networks without normalization. A kernel `(*window, inputs,
    units)` is zero except at the center of the window. The center is `gain` times a matrix `Q` of
    shape `(inputs, units)` with orthonormal rows, `QQ' = I`, drawn uniformly from all such matrices
    (Haar measure). With `padding="same"` and `gain=1` the layer preserves the norm of the signal at
    each pixel, before its activation. A kernel that is orthogonal as a flattened matrix
    (`Orthogonal`) does not, because windows overlap.

    The center of a window of length `k` is index `(k - 1) // 2`, which `padding="same"` aligns with
    the output pixel, also for even `k`.

    The number of units must be at least the number of inputs, in each group: no matrix preserves
    the norm of more inputs than units.

    Backends agree to rounding: within 1e-5.

    Args:
        gain: Scale factor: a number, or the name of an activation (`"relu"` is `sqrt(2)`).
        groups: The `groups` of the layer. Each group gets its own matrix.
        seed: An integer, a `keras.random.SeedGenerator` or `None`; see `RandomInitializer`.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range; when called, if the shape does not have 3 to
            5 dimensions, its last length is not a multiple of `groups`, or a group has fewer units
            than inputs.

    Example:
        >>> delta = DeltaOrthogonal(seed=0)
        >>> layer = keras.layers.Conv2D(
        ...     32, 3, padding="same", kernel_initializer=delta
        ... )
        >>> image = keras.random.normal((1, 8, 8, 16), seed=1)
        >>> change = keras.ops.norm(layer(image), axis=-1)
        >>> change /= keras.ops.norm(image, axis=-1)
        >>> bool(keras.ops.max(keras.ops.abs(change - 1)) < 1e-5)
        True

    Reference:
        Xiao, Bahri, Sohl-Dickstein, Schoenholz and Pennington, "Dynamical isometry and a mean field
        theory of CNNs: how to train 10,000-layer vanilla convolutional neural networks", ICML 2018.
    """

    def __init__(self, gain: Gain = 1.0, *, groups: int = 1, seed: Seed = None) -> None:
        super().__init__(seed=seed)
        self.gain: Gain = check_gain(gain)
        self.groups: int = check_count("groups", groups)

    def check_shape(self, shape: Shape) -> None:
        _check_kernel(self, shape)
        check_parts(shape, "groups", self.groups)
        if shape[-2] * self.groups > shape[-1]:
            raise ValueError(
                "`shape` must have at least as many units as inputs in each group, to preserve the "
                f"norm. Received: shape={shape}, groups={self.groups}"
            )

    def law(self, shape: Shape) -> Law:
        gain = gain_value(self.gain)
        columns = max(shape[-1] // self.groups, 1)
        std = gain / math.sqrt(columns * max(math.prod(shape[:-2]), 1))
        center = FrameLaw([0], [1], int(self.groups), gain, gain / math.sqrt(columns))
        return CenterLaw(center, std)

    def is_exact(self) -> bool:
        return False

    def draw(self, stream: Stream, shape: Shape, dtype: DType) -> Tensor:
        orthogonal = Orthogonal(self.gain, self.seed, blocks=self.groups)
        matrix = orthogonal._draw_matrix(stream, shape[-2], shape[-1], dtype)
        return _at_center(stream.xp, matrix, shape, dtype)


@register(
    "dirac",
    formula="gain · I at the window's center; 0 elsewhere",
    use="convolutions that should start as the identity",
)
class Dirac(ConstantInitializer):
    """Initialize a convolution to the identity, times `gain`.

    A kernel `(*window, inputs, units)` is zero except at the center of the window, where unit `c`
    is connected to input `c` only. With `padding="same"` the layer starts as the identity. Surplus
    units output zero, and surplus inputs have no effect. With `groups` this holds within each
    group.

    The center of a window of length `k` is index `(k - 1) // 2`, which `padding="same"` aligns with
    the output pixel, also for even `k`. (`torch.nn.init.dirac_` uses `k // 2`, which is the same
    for odd `k`.)

    Args:
        gain: Scale factor: a number, or the name of an activation (`"relu"` is `sqrt(2)`).
        groups: The `groups` of the layer.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range; when called, if the shape does not have 3 to
            5 dimensions or its last length is not a multiple of `groups`.

    Example:
        >>> layer = keras.layers.Conv1D(
        ...     2, 3, padding="same", kernel_initializer="initx.dirac"
        ... )
        >>> signal = keras.ops.arange(6, dtype="float32")
        >>> signal = keras.ops.reshape(signal, (1, 3, 2))
        >>> keras.ops.convert_to_numpy(layer(signal)).tolist()
        [[[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]]

    Reference:
        Zagoruyko and Komodakis, "DiracNets: training very deep neural networks without
        skip-connections", arXiv 1706.00388, 2017.
    """

    def __init__(self, gain: Gain = 1.0, *, groups: int = 1) -> None:
        self.gain: Gain = check_gain(gain)
        self.groups: int = check_count("groups", groups)

    def check_shape(self, shape: Shape) -> None:
        _check_kernel(self, shape)
        check_parts(shape, "groups", self.groups)

    def largest(self, shape: Shape) -> float:
        return gain_value(self.gain)

    def fill(self, xp: Namespace, shape: Shape, dtype: DType) -> Tensor:
        group = xp.eye(shape[-2], shape[-1] // self.groups, dtype=dtype) * gain_value(self.gain)
        return _at_center(xp, xp.tile(group, (1, self.groups)), shape, dtype)


@register(
    "icnr",
    formula="one kernel from initializer, repeated for all scaleⁿ pixels of a block",
    use="sub-pixel convolutions: upsampling starts without checkerboard artifacts",
)
class ICNR(Composite):
    """Initialize a sub-pixel convolution without checkerboard artifacts.

    A sub-pixel convolution with a window of `n` dimensions has `scale ** n` units for each channel
    of its output image; depth-to-space arranges them as blocks of `scale` pixels along each axis.
    With independent weights the pixels of a block differ, which shows as a checkerboard. Here all
    pixels of a block get the same kernel, so your layer starts as nearest-neighbor upsampling.
    `initializer` draws this kernel with the shape `(*window, inputs, units / scale ** n)`.

    Units are in the order of `tf.nn.depth_to_space`: unit `p * channels + c` is channel `c` of
    pixel `p` of the block, in row-major order. `torch.nn.PixelShuffle` uses another order, `c *
    scale ** 2 + p`; for a single channel both are the same.

    Values are equal across backends if `initializer` is one of this package.

    Args:
        initializer: An initializer, as an object, a string id or a config. It holds the seed.
        scale: Upsampling factor along each axis, a positive integer.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range; when called, if the shape does not have 3 to
            5 dimensions, its last length is not a multiple of `scale ** n`, or `initializer` does
            not support the shape of the small kernel.

    Example:
        >>> import numpy as np
        >>> kernel = ICNR("initx.he_normal", scale=2)((3, 3, 16, 4 * 8))
        >>> blocks = np.split(keras.ops.convert_to_numpy(kernel), 4, axis=-1)
        >>> all(np.array_equal(block, blocks[0]) for block in blocks)
        True

    Reference:
        Aitken, Ledig, Theis, Caballero, Wang and Shi, "Checkerboard artifact free sub-pixel
        convolution", arXiv 1707.02937, 2017.
    """

    def __init__(self, initializer: InitializerLike = "initx.he_normal", scale: int = 2) -> None:
        self.initializer: keras.initializers.Initializer = check_initializer(
            "initializer", initializer
        )
        self.scale: int = check_count("scale", scale)

    def check_shape(self, shape: Shape) -> None:
        _check_kernel(self, shape)
        check_parts(shape, f"scale ** {len(shape) - 2}", self._block(shape))
        super().check_shape(shape)

    def law(self, shape: Shape) -> Law | None:
        part = adapt_initializer(self.initializer).law(self._small(shape))
        if part is None:
            return None
        return TiledLaw(self._block(shape), part)

    def _parts(self, shape: Shape) -> Iterator[tuple[keras.initializers.Initializer, Shape]]:
        yield self.initializer, self._small(shape)

    def _combined(self, xp: Namespace, values: list[Tensor], shape: Shape) -> Tensor:
        return xp.tile(values[0], (1,) * (len(shape) - 1) + (self._block(shape),))

    def _block(self, shape: Shape) -> int:
        """Return the number of pixels of a block."""
        return math.prod([int(self.scale)] * (len(shape) - 2))

    def _small(self, shape: Shape) -> Shape:
        """Return the shape of the kernel that all pixels of a block share."""
        return (*shape[:-1], shape[-1] // self._block(shape))


@register(
    "bilinear",
    formula="Π (1 - |t - (k - 1) / 2| / ⌈k / 2⌉) from each channel to itself",
    use="transposed convolutions that should start as linear interpolation",
)
class Bilinear(ConstantInitializer):
    """Initialize a transposed convolution to linear interpolation of each channel.

    Along a window axis of length `k`, weight `t` is `1 - |t - (k - 1) / 2| / f` with `f = ceil(k /
    2)`, a triangle; over two or three axes it is the product of the triangles. A kernel `(*window,
    channels, channels)` has these weights from each channel to itself and zeros elsewhere.

    A `Conv1DTranspose`, `Conv2DTranspose` or `Conv3DTranspose` with strides `s`, `padding="same"`
    and windows of length `2 * s - s % 2` then starts as linear, bilinear or trilinear
    interpolation, with pixel centers aligned as in `keras.ops.image.resize`. The image is padded
    with zeros, so the outermost `s / 2` pixels fade.

    Interpolation keeps the number of channels. If your layer also changes it, such as from 64 to 32
    in a U-Net or a decoder, use other weights. Before relu you have three choices:

    - a rule of `initialize` with `HeNormal`, because `initialize` knows the strides
    - in the layer, `VarianceScaling(2 * s**n, input_axes=[0, 1, 3])`, with `n` axes of the window,
      here two
    - a convolution with a window of 1 before this layer, which changes the number of channels

    Raises:
        ValueError: When called, if the shape does not have 3 to 5 dimensions, or its last two
            lengths differ.

    Example:
        >>> keras.ops.convert_to_numpy(Bilinear()((4, 1, 1))).ravel().tolist()
        [0.25, 0.75, 0.75, 0.25]
        >>> layer = keras.layers.Conv2DTranspose(
        ...     16,
        ...     4,
        ...     strides=2,
        ...     padding="same",
        ...     kernel_initializer="initx.bilinear",
        ... )

    Reference:
        Long, Shelhamer and Darrell, "Fully convolutional networks for semantic segmentation", CVPR
        2015.
    """

    def check_shape(self, shape: Shape) -> None:
        _check_kernel(self, shape)
        if shape[-1] != shape[-2]:
            raise ValueError(
                "`shape` must have equal numbers of inputs and outputs, its last two lengths, "
                "because each channel is interpolated by itself; change their number in a "
                "convolution with a window of 1, or use `VarianceScaling` here. "
                f"Received: shape={show(shape)}"
            )

    def fill(self, xp: Namespace, shape: Shape, dtype: DType) -> Tensor:
        # Always computed with NumPy, so that they are rounded the same everywhere.
        window = shape[:-2]
        taps = functools.reduce(np.multiply.outer, map(_triangle, window))
        taps = taps.reshape(*window, 1, 1).astype(dtype)
        identity = xp.eye(shape[-2], shape[-1], dtype=dtype)
        return xp.array(taps) * xp.reshape(identity, (1,) * len(window) + shape[-2:])


def _check_kernel(initializer: Initializer, shape: Shape) -> None:
    """Raise `ValueError` unless `shape` can be the shape of a convolution kernel."""
    if not 3 <= len(shape) <= 5:
        required = "3 to 5 dimensions, the window and two channel axes"
        raise rank_error(initializer, required, shape)


def _triangle(length: int) -> Array:
    """Return the weights along an axis of the window."""
    half = (length + 1) // 2
    return (2 * half - np.abs(2 * np.arange(length) - (length - 1))) / max(2 * half, 1)


def _at_center(xp: Namespace, matrix: Tensor, shape: Shape, dtype: DType) -> Tensor:
    """Return a kernel of `shape` with `matrix` at the center of the window and zeros elsewhere."""
    if math.prod(shape) == 0:
        return xp.zeros(shape, dtype)
    window = shape[:-2]
    center = xp.reshape(matrix, (1,) * len(window) + shape[-2:])
    margins = [((length - 1) // 2, length // 2) for length in window]
    return xp.pad(center, [*margins, (0, 0), (0, 0)])
