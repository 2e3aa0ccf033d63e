"""Orthogonal initial weights."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from keras_initx._checks import check_choice, check_count, is_real, to_float
from keras_initx._received import show
from keras_initx._signatures import shorten_signature
from keras_initx._typing import Array, AxesLike, DType, Gain, Seed, Shape, Tensor
from keras_initx.backends._current import backend
from keras_initx.initializers._initializer import register
from keras_initx.initializers._laws import FrameLaw, Law, NormalLaw
from keras_initx.initializers._scale import MatrixInitializer, check_gain, check_product, gain_value
from keras_initx.sampling._conversion import NORMAL_REACH
from keras_initx.sampling._orthonormal_frames import (
    gaussian_frame,
    householder_frame,
    qr_frame,
    svd_frame,
)
from keras_initx.sampling._stream import Stream

Method = Literal["householder", "qr", "svd", "gaussian"]
Spectrum = float | Sequence[float] | None

_FRAMES: dict[Method, Callable[..., Tensor]] = {
    "householder": householder_frame,
    "qr": qr_frame,
    "svd": svd_frame,
    "gaussian": gaussian_frame,
}


@register(
    "orthogonal",
    formula=(
        "gain · Q, Q'Q = I or QQ' = I, Haar-uniform; with singular_values s, gain · U diag(s) V'"
    ),
    use=(
        "very deep networks and recurrent kernels: a square kernel preserves the norm of what it "
        "multiplies"
    ),
)
class Orthogonal(MatrixInitializer):
    """Draw a random orthogonal matrix, times `gain`.

    Use it for recurrent kernels and for deep networks. The matrix `Q` has orthonormal columns, `Q'Q
    = I`, or orthonormal rows, `QQ' = I`, if it has fewer rows than columns. It is drawn uniformly
    from all such matrices (Haar measure). A square `Q` preserves the norm of its inputs exactly,
    forward and backward, so signals neither vanish nor explode in deep linear networks. Activations
    between the layers change the norm, which `gain` compensates on average. Kernels of more than
    two dimensions are flattened to `(inputs, units)`; the last axis is the units unless
    `input_axes` or `output_axes` are given. Since Keras 3.15, `EinsumDense` and the attention
    layers set these axes themselves.

    With `singular_values` the matrix is `U diag(singular_values) V'` instead, with `U` and `V`
    drawn independently in the same way as `Q`.

    Computed in float32 (float64 if requested) and cast last, so 16-bit kernels work. Backends agree
    to rounding: within 1e-5 with the default method; slightly more is possible with `"qr"` and
    `"svd"` for ill-conditioned draws.

    Args:
        gain: Scale factor: a number, or the name of an activation (`"relu"` is `sqrt(2)`).
        seed: An integer, a `keras.random.SeedGenerator` or `None`; see `RandomInitializer`.
        method: How the matrix is computed from Gaussian draws. `"householder"` multiplies random
            reflections; it needs no factorization and is the fastest. `"qr"` and `"svd"` factorize
            a Gaussian matrix. All three are Haar-uniform, but give different matrices for the same
            seed. `"gaussian"` is only approximately orthogonal: `N(0, 1/n)`, where `n` is the
            longer side.
        blocks: Number of equal blocks that the units are divided into, each orthogonal by itself: 4
            for the gates of an LSTM, 3 for a GRU, the length of `b` for an `EinsumDense` with the
            equation `"abc,bcd->abd"`. Multiple output axes are flattened first.
        singular_values: The singular values of each block, before `gain`: a list of `min(inputs,
            units)` numbers of at least 0. Or a single number of at least 1, the condition number:
            the singular values are then spaced geometrically, with mean square 1, so that the norm
            of a signal is preserved on average. Not available with `"gaussian"`.
        input_axes: List of the axes of the kernel that are inputs. By default all that are not in
            `output_axes`.
        output_axes: List of the axes of the kernel that are units. By default all that are not in
            `input_axes`, or the last axis if neither is given.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range; when called, if the shape has fewer than two
            dimensions and no axes are given, if the given axes do not list each axis exactly once,
            if the number of units is not a multiple of `blocks`, if the length of
            `singular_values` does not match the shape of a block, or if the dtype of the
            computation does not hold both `gain` and the singular values.

    Example:
        >>> kernel = Orthogonal(seed=0)((3, 3, 16, 32))
        >>> matrix = keras.ops.reshape(kernel, (144, 32))
        >>> gram = keras.ops.matmul(keras.ops.transpose(matrix), matrix)
        >>> bool(keras.ops.max(keras.ops.abs(gram - keras.ops.eye(32))) < 1e-5)
        True
        >>> layer = keras.layers.LSTM(
        ...     64, recurrent_initializer=Orthogonal(blocks=4)
        ... )
        >>> kernel = Orthogonal(singular_values=[3, 2, 1], seed=0)((5, 3))
        >>> values = keras.ops.svd(kernel, compute_uv=False)
        >>> keras.ops.convert_to_numpy(values).round().tolist()
        [3.0, 2.0, 1.0]

    Reference:
        Saxe, McClelland and Ganguli, "Exact solutions to the nonlinear dynamics of learning in
        deep linear neural networks", ICLR 2014.
    """

    @shorten_signature
    def __init__(
        self,
        gain: Gain = 1.0,
        seed: Seed = None,
        *,
        method: Method = "householder",
        blocks: int = 1,
        singular_values: Spectrum = None,
        input_axes: AxesLike = None,
        output_axes: AxesLike = None,
    ) -> None:
        super().__init__(seed=seed, input_axes=input_axes, output_axes=output_axes)
        self.gain: Gain = check_gain(gain)
        self.method: Method = check_choice("method", method, _FRAMES)
        self.blocks: int = check_count("blocks", blocks)
        self.singular_values: Spectrum = _check_singular_values(singular_values)
        if singular_values is not None and method == "gaussian":
            raise ValueError(
                f'`singular_values` cannot be used with `method="gaussian"`. '
                f"Received: singular_values={show(singular_values)}, method={show(method)}"
            )

    def check_shape(self, shape: Shape) -> None:
        super().check_shape(shape)
        inputs, units = self._matrix_shape(shape)
        if units % self.blocks:
            raise ValueError(
                f"`shape` must have a number of units that is a multiple of `blocks`. "
                f"Received: shape={shape}, blocks={self.blocks}"
            )
        if isinstance(self.singular_values, list | tuple):
            count = min(inputs, units // self.blocks)
            if len(self.singular_values) != count:
                raise ValueError(
                    f"`shape` must have {len(self.singular_values)} singular values in each block, "
                    f"as many as `singular_values`; it has {count}. Received: shape={shape}, "
                    f"blocks={self.blocks}, singular_values={show(self.singular_values)}"
                )

    def law(self, shape: Shape) -> Law:
        inputs, units = self._matrix_shape(shape)
        short, long = sorted((inputs, units // self.blocks))
        gain = gain_value(self.gain)
        singular_values: float | Array = gain
        mean_square = 1.0
        if self.singular_values is not None and short:
            spectrum = _spectrum(self.singular_values, short)
            mean_square = float(np.mean(spectrum**2))
            singular_values = gain * np.sort(spectrum)[::-1]
        std = gain * math.sqrt(mean_square / max(long, 1))
        if self.method == "gaussian":
            return NormalLaw(0.0, std)
        return FrameLaw(*self._axes(shape), int(self.blocks), singular_values, std)

    def _check_dtype(self, shape: Shape, dtype: DType) -> None:
        check_product(self, gain_value(self.gain), self._largest_before_gain(shape), dtype)

    def _largest_before_gain(self, shape: Shape) -> float:
        if self.method == "gaussian":
            return NORMAL_REACH
        inputs, units = self._matrix_shape(shape)
        short = min(inputs, units // self.blocks)
        if self.singular_values is None or short == 0:
            return 1.0
        return float(max(_spectrum(self.singular_values, short)))

    def is_exact(self) -> bool:
        return self.method == "gaussian"

    def _work(self, shape: Shape) -> int:
        # 512 x 512 take the host as long as some million draws.
        of_draws = self.method == "gaussian" or backend.householder_product is None
        return math.prod(shape) * (1 if of_draws else 8)

    def _draw_matrix(self, stream: Stream, inputs: int, units: int, dtype: DType) -> Tensor:
        xp = stream.xp
        blocks = int(self.blocks)
        columns = units // blocks
        if inputs * columns == 0:
            return xp.zeros((inputs, units), dtype)
        with xp.full_precision():
            parts = self._draw_blocks(stream, inputs, columns, dtype)
        if inputs < columns:
            parts = [xp.transpose(part) for part in parts]
        matrix = parts[0]
        if blocks > 1:
            matrix = xp.concatenate(parts, axis=1)
        # A single factor, so that no compiler can merge two multiplications and round differently.
        scale = gain_value(self.gain)
        if self.method == "gaussian":
            scale /= math.sqrt(max(inputs, columns))
        if scale != 1:
            matrix *= scale
        return matrix

    def _draw_blocks(self, stream: Stream, inputs: int, columns: int, dtype: DType) -> list[Tensor]:
        """Return the blocks before `gain`, each with its longer side first."""
        xp = stream.xp
        blocks = int(self.blocks)
        short, long = sorted((inputs, columns))
        make_frame = _FRAMES[self.method]
        parts = []
        for block in range(blocks):
            parts.append(make_frame(stream, long, short, dtype, block * short * long))
        if self.singular_values is None:
            return parts
        spectrum = _spectrum(self.singular_values, short).astype(dtype)[np.newaxis]
        # V starts after the last element of all U, so that no draw is used twice.
        start = blocks * short * long
        for block in range(blocks):
            turn = make_frame(stream, short, short, dtype, start + block * short * short)
            parts[block] = xp.multiply(parts[block], spectrum) @ xp.transpose(turn)
        return parts


@register(
    "orthogonal_qr",
    formula="gain · Q, G = QR for a Gaussian G; with singular_values s, gain · U diag(s) V'",
    use="when a QR factorization is required; Orthogonal has the same distribution and is faster",
)
class OrthogonalQR(Orthogonal):
    """Draw a random orthogonal matrix by QR factorization, times `gain`.

    Same as `Orthogonal` with `method="qr"`: the factor `Q` of a Gaussian matrix, with signs chosen
    so that the diagonal of `R` is positive. The default method of `Orthogonal` has the same
    distribution and is faster; for the same seed the two give different matrices.

    Args:
        gain: See `Orthogonal`.
        seed: An integer, a `keras.random.SeedGenerator` or `None`; see `RandomInitializer`.
        blocks: See `Orthogonal`.
        singular_values: See `Orthogonal`.
        input_axes: See `Orthogonal`.
        output_axes: See `Orthogonal`.

    Raises:
        TypeError: See `Orthogonal`.
        ValueError: See `Orthogonal`.

    Example:
        >>> matrix = OrthogonalQR(seed=0)((64, 32))
        >>> gram = keras.ops.matmul(keras.ops.transpose(matrix), matrix)
        >>> bool(keras.ops.max(keras.ops.abs(gram - keras.ops.eye(32))) < 1e-5)
        True
        >>> layer = keras.layers.SimpleRNN(
        ...     64, recurrent_initializer="initx.orthogonal_qr"
        ... )

    Reference:
        Mezzadri, "How to generate random matrices from the classical compact groups", Notices of
        the AMS 54 (2007).
    """

    @shorten_signature
    def __init__(
        self,
        gain: Gain = 1.0,
        seed: Seed = None,
        *,
        blocks: int = 1,
        singular_values: Spectrum = None,
        input_axes: AxesLike = None,
        output_axes: AxesLike = None,
    ) -> None:
        super().__init__(
            gain,
            seed,
            method="qr",
            blocks=blocks,
            singular_values=singular_values,
            input_axes=input_axes,
            output_axes=output_axes,
        )


def _check_singular_values(value: Any) -> Any:
    """Return `value`, which must be `None`, a condition number, or a list of singular values."""
    if value is None:
        return value
    items = [value]
    least = 1
    if isinstance(value, list | tuple):
        items = list(value)
        least = 0
    required = (
        "`singular_values` must be `None`, a number of at least 1 or a list of numbers of at least "
        f"0. Received: singular_values={show(value)}"
    )
    if not all(map(is_real, items)):
        raise TypeError(required)
    for item in items:
        if not least <= to_float(item) < math.inf:
            raise ValueError(required)
    return value


def _spectrum(singular_values: float | Sequence[float], count: int) -> Array:
    """Return `count` singular values: those given, or geometric ones for a condition number."""
    if isinstance(singular_values, Sequence):
        return np.array(singular_values, "float64")
    values = float(singular_values) ** -np.linspace(0, 1, count)
    return values / math.sqrt(np.mean(values**2))
