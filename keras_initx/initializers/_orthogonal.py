"""Orthogonal initial weights."""

import math

from keras_initx import sampling
from keras_initx.initializers._base import RandomInitializer, register
from keras_initx.initializers._checks import check_choice, check_count, check_parts, check_rank
from keras_initx.initializers._gain import check_gain, gain_value

_FRAMES = {
    "auto": sampling.householder_frame,
    "householder": sampling.householder_frame,
    "qr": sampling.qr_frame,
    "svd": sampling.svd_frame,
    "gaussian": sampling.gaussian_frame,
}


@register(
    "orthogonal",
    "orthogonal_qr",
    formula="gain · Q, Q'Q = I or QQ' = I, Haar-uniform",
    use="very deep networks and recurrent kernels: signals keep their length, forward and backward",
)
class Orthogonal(RandomInitializer):
    """Give a matrix with orthonormal columns, or rows if it has fewer of them, times `gain`.

    The matrix `Q`, with `Q'Q = I` (or `QQ' = I`), is drawn evenly from all such matrices (Haar
    measure). It keeps the length of every signal that passes, forward and backward, so that very
    deep and recurrent networks neither vanish nor explode at the start. Kernels of more than two
    dimensions are flattened to `(inputs, units)`, the last axis being the units.

    Computed in float32 (float64 when asked for) and cast last, so 16-bit kernels work. Equal across
    backends to rounding: within 1e-5 with the default method, a little more where `"qr"` or `"svd"`
    factorise draws that are badly conditioned.

    Args:
        gain: Factor on the matrix: a number, or an activation's name (`"relu"` is `sqrt(2)`).
        method: How the matrix is made from Gaussian draws. `"householder"` multiplies random
            reflections; it needs no factorisation and is the fastest. `"qr"` and `"svd"` factorise
            a Gaussian matrix. All three are Haar-uniform, and give different matrices for one seed.
            `"gaussian"` is near-orthogonal: `N(0, 1/n)` for `n` the longer side. `"auto"`
            is `"householder"`.
        blocks: Number of equal parts of the last axis that are made orthogonal each by itself:
            4 for the gates of an LSTM, 3 for a GRU.
        seed: See `RandomInitializer`.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of its range; when called, if the shape has fewer than
            two dimensions or its last length is not a multiple of `blocks`.

    Example:
        >>> kernel = Orthogonal(seed=0)((3, 3, 16, 32))
        >>> matrix = keras.ops.reshape(kernel, (144, 32))
        >>> gram = keras.ops.matmul(keras.ops.transpose(matrix), matrix)
        >>> bool(keras.ops.max(keras.ops.abs(gram - keras.ops.eye(32))) < 1e-5)
        True
        >>> layer = keras.layers.LSTM(64, recurrent_initializer=Orthogonal(blocks=4))

    Reference:
        Saxe, McClelland and Ganguli, "Exact solutions to the nonlinear dynamics of learning in
        deep linear neural networks", ICLR 2014.
    """

    def __init__(self, gain=1.0, method="auto", blocks=1, seed=None):
        super().__init__(seed)
        self.gain = check_gain(gain)
        self.method = check_choice("method", method, _FRAMES)
        self.blocks = check_count("blocks", blocks)

    def _check_shape(self, shape):
        check_rank(shape, 2)
        check_parts(shape, "blocks", self.blocks)

    def _draw(self, stream, shape, dtype):
        matrix = (math.prod(shape[:-1]), shape[-1])
        kernel = orthogonal_matrix(stream, matrix, gain_value(self.gain), self.blocks, dtype, self.method)
        return stream.xp.reshape(kernel, shape)


def orthogonal_matrix(stream, shape, gain, blocks, dtype, method="auto"):
    """Return a matrix of `shape` whose last axis is `blocks` matrices side by side, each orthogonal by itself.

    Args:
        stream: The `Stream` to draw from.
        shape: Number of rows and of columns, the latter a multiple of `blocks`.
        gain: Factor on the matrices, a float.
        blocks: Number of matrices.
        dtype: `"float32"` or `"float64"`.
        method: As in `Orthogonal`.
    """
    xp = stream.xp
    rows, columns = shape[0], shape[1] // blocks
    if rows * columns == 0:
        return xp.zeros(shape, dtype)
    short, long = sorted((rows, columns))
    make_frame, starts = _FRAMES[method], range(0, blocks * short * long, short * long)
    with xp.full_precision():
        frames = [make_frame(stream, long, short, dtype, start) for start in starts]
    if rows < columns:
        frames = [xp.transpose(frame) for frame in frames]
    # One product, so that no compiler can merge two into one that is rounded otherwise.
    scale = gain / (math.sqrt(long) if method == "gaussian" else 1)
    matrix = frames[0] if blocks == 1 else xp.concatenate(frames, axis=1)
    if scale != 1:
        matrix *= scale
    return matrix
