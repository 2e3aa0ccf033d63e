"""Orthogonal initial weights."""

import math
import numbers
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from keras_initx import sampling
from keras_initx._checks import check_choice, check_count
from keras_initx._typing import Array, Axes, DType, Gain, Seed, Shape, Tensor
from keras_initx.initializers._axes import MatrixInitializer
from keras_initx.initializers._base import register
from keras_initx.initializers._gain import check_gain, gain_value
from keras_initx.sampling import Stream

Method = Literal["householder", "qr", "svd", "gaussian"]
SingularValues = float | Sequence[float] | None

_FRAMES: dict[Method, Callable[..., Tensor]] = {
    "householder": sampling.householder_frame,
    "qr": sampling.qr_frame,
    "svd": sampling.svd_frame,
    "gaussian": sampling.gaussian_frame,
}


@register(
    "orthogonal",
    formula="gain · Q, Q'Q = I or QQ' = I, Haar-uniform; with singular_values s, gain · U diag(s) V'",
    use="very deep networks and recurrent kernels: signals keep their length, forward and backward",
)
class Orthogonal(MatrixInitializer):
    """Give a matrix with orthonormal columns, or rows if it has fewer of them, times `gain`.

    The matrix `Q`, with `Q'Q = I` (or `QQ' = I`), is drawn uniformly from all such matrices
    (Haar measure). It keeps the length of every signal that passes, forward and backward, so that very
    deep and recurrent networks neither vanish nor explode at the start. Kernels of more than two
    dimensions are flattened to `(inputs, units)`, the last axis being the units unless `input_axes`
    or `output_axes` say otherwise. From Keras 3.15 on, `EinsumDense` and the attention layers fill
    the axes in by themselves.

    `singular_values` asks for other lengths along random directions: the matrix is then
    `U diag(singular_values) V'`, with `U` and `V` drawn like `Q`, independently.

    Computed in float32 (float64 when asked for) and cast last, so 16-bit kernels work. Equal across
    backends to rounding: within 1e-5 with the default method, a little more where `"qr"` or `"svd"`
    factorise draws that are badly conditioned.

    Args:
        gain: Factor on the matrix: a number, or an activation's name (`"relu"` is `sqrt(2)`).
        seed: See `RandomInitializer`.
        method: How the matrix is made from Gaussian draws. `"householder"` multiplies random
            reflections; it needs no factorisation and is the fastest. `"qr"` and `"svd"` factorise
            a Gaussian matrix. All three are Haar-uniform, and give different matrices for one seed.
            `"gaussian"` is near-orthogonal: `N(0, 1/n)` for `n` the longer side.
        blocks: Number of equal parts of the units that are made orthogonal each by itself: 4 for
            the gates of an LSTM, 3 for a GRU. Several axes of units are flattened first.
        singular_values: The singular values of each block, before `gain`: a list of
            `min(inputs, units)` numbers of at least 0. Or one number of at least 1, the condition
            number: the largest singular value is so many times the smallest, each is the same
            multiple of the next, and the mean of their squares is 1, so that a signal keeps its
            length on average. Not for `"gaussian"`.
        input_axes: Axes of the kernel that are the inputs of a unit, a list of integers. By default
            all that are not in `output_axes`.
        output_axes: Axes of the kernel along which the units are. By default all that are not in
            `input_axes`; the last one if neither is given.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of its range; when called, if the shape has fewer than
            two dimensions and no axes are given, if those given do not name each axis once, if
            the number of units is not a multiple of `blocks`, or if there are more or fewer
            `singular_values` than a block has.

    Example:
        >>> kernel = Orthogonal(seed=0)((3, 3, 16, 32))
        >>> matrix = keras.ops.reshape(kernel, (144, 32))
        >>> gram = keras.ops.matmul(keras.ops.transpose(matrix), matrix)
        >>> bool(keras.ops.max(keras.ops.abs(gram - keras.ops.eye(32))) < 1e-5)
        True
        >>> layer = keras.layers.LSTM(64, recurrent_initializer=Orthogonal(blocks=4))
        >>> kernel = Orthogonal(singular_values=[3, 2, 1], seed=0)((5, 3))
        >>> keras.ops.convert_to_numpy(keras.ops.svd(kernel, compute_uv=False)).round().tolist()
        [3.0, 2.0, 1.0]

    Reference:
        Saxe, McClelland and Ganguli, "Exact solutions to the nonlinear dynamics of learning in
        deep linear neural networks", ICLR 2014.
    """

    def __init__(
        self,
        gain: Gain = 1.0,
        seed: Seed = None,
        *,
        method: Method = "householder",
        blocks: int = 1,
        singular_values: SingularValues = None,
        input_axes: Axes = None,
        output_axes: Axes = None,
    ) -> None:
        super().__init__(seed=seed, input_axes=input_axes, output_axes=output_axes)
        self.gain: Gain = check_gain(gain)
        self.method: Method = check_choice("method", method, _FRAMES)
        self.blocks: int = check_count("blocks", blocks)
        self.singular_values: SingularValues = _check_singular_values(singular_values)
        if singular_values is not None and method == "gaussian":
            raise ValueError(
                f'`singular_values` cannot be given with `method="gaussian"`, which makes no frame. '
                f"Received: {singular_values=!r}, {method=!r}"
            )

    def _check_shape(self, shape: Shape) -> None:
        super()._check_shape(shape)
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
                    f"`shape` must have as many singular values in each block as `singular_values` has numbers, and "
                    f"has {count}. Received: shape={shape}, blocks={self.blocks}, "
                    f"singular_values={self.singular_values!r}"
                )

    def expected_std(self, shape: Shape) -> float:
        inputs, units = self._matrix_shape(shape)
        short, long = sorted((inputs, units // self.blocks))
        mean_square = 1.0
        if self.singular_values is not None and short:
            mean_square = float(np.mean(_spectrum(self.singular_values, short) ** 2))
        return gain_value(self.gain) * math.sqrt(mean_square / max(long, 1))

    def _draw_matrix(self, stream: Stream, inputs: int, units: int, dtype: DType) -> Tensor:
        gain = gain_value(self.gain)
        return orthogonal_matrix(stream, (inputs, units), gain, self.blocks, dtype, self.method, self.singular_values)


def orthogonal_matrix(
    stream: Stream,
    shape: Shape,
    gain: float,
    blocks: int,
    dtype: DType,
    method: Method = "householder",
    singular_values: SingularValues = None,
) -> Tensor:
    """Return a matrix of `shape` whose last axis is `blocks` matrices side by side, each orthogonal by itself.

    Args:
        stream: The `Stream` to draw from.
        shape: Number of rows and of columns, the latter a multiple of `blocks`.
        gain: Factor on the matrices, a float.
        blocks: Number of matrices.
        dtype: `"float32"` or `"float64"`.
        method: As in `Orthogonal`.
        singular_values: As in `Orthogonal`.
    """
    xp = stream.xp
    rows, columns = shape[0], shape[1] // blocks
    if rows * columns == 0:
        return xp.zeros(shape, dtype)
    short, long = sorted((rows, columns))
    make_frame = _FRAMES[method]
    with xp.full_precision():
        parts = [make_frame(stream, long, short, dtype, block * short * long) for block in range(blocks)]
        if singular_values is not None:
            spectrum = _spectrum(singular_values, short).astype(dtype)
            # Drawn after the last of the first frames, so that no draw is used twice.
            start = blocks * short * long
            for block in range(blocks):
                turn = make_frame(stream, short, short, dtype, start + block * short * short)
                parts[block] = xp.multiply(parts[block], spectrum) @ xp.transpose(turn)
    if rows < columns:
        parts = [xp.transpose(part) for part in parts]
    # One product, so that no compiler can merge two into one that is rounded otherwise.
    scale = gain / (math.sqrt(long) if method == "gaussian" else 1)
    matrix = parts[0] if blocks == 1 else xp.concatenate(parts, axis=1)
    if scale != 1:
        matrix *= scale
    return matrix


def _check_singular_values(value: Any) -> SingularValues:
    """Return `value`: `None`, a condition number, or a list or tuple of singular values."""
    if value is None:
        return value
    items, least = (value, 0) if isinstance(value, list | tuple) else ([value], 1)
    required = (
        "`singular_values` must be `None`, a number of at least 1 or a list of numbers of at least 0. "
        f"Received: singular_values={value!r}"
    )
    if any(isinstance(item, bool) or not isinstance(item, numbers.Real) for item in items):
        raise TypeError(required)
    if not all(least <= item < math.inf for item in items):
        raise ValueError(required)
    checked: SingularValues = value
    return checked


def _spectrum(singular_values: float | Sequence[float], count: int) -> Array:
    """Return `count` singular values, as given or for the condition number given."""
    if isinstance(singular_values, Sequence):
        return np.array(singular_values, "float64")
    values = float(singular_values) ** -np.linspace(0, 1, count)
    return values / math.sqrt(np.mean(values**2))
