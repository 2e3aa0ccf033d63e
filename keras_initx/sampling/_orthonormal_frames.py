"""Random matrices with orthonormal columns, uniformly distributed over them (Haar measure)."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from keras_initx._compiled_kernel import load_library
from keras_initx._received import show
from keras_initx._typing import Array, DType, Tensor
from keras_initx.backends._current import backend
from keras_initx.sampling._namespace import DEVICE, HOST, TRACED, Namespace
from keras_initx.sampling._stream import Draw, Stream, check_size

# Reflections applied at a time: small enough that the work that is not a matrix product stays
# small, large enough that the products run at full speed. The order of the draws depends on it.
_PANEL = 64
# The kernel makes frames of up to this many elements, which stay in the cache: the matrix products
# of a panel are faster for larger ones, and for smaller ones calling them takes longer than their
# arithmetic.
_SMALL = 1 << 14
# The number of draws that indices of 32 bits tell apart.
_MAX_INDEX = 1 << 31


def householder_frame(
    stream: Stream, rows: int, columns: int, dtype: DType = "float32", start: int = 0
) -> Tensor:
    """Make a frame from Householder reflections, without a factorization.

    In step `j`, a QR factorization of a Gaussian matrix reflects a Gaussian vector of length
    `rows - j` onto the first axis. The rest of the matrix stays Gaussian, by rotation invariance.
    So this function draws all vectors at once. It computes only their product, a panel at a time,
    in the compact WY form `H_1 ... H_b = I - V inv(triu(V'V, 1) + I) V'` for vectors with
    `|v|^2 = 2`.

    Reference:
        Stewart, "The efficient generation of random orthogonal matrices", SIAM J. Numer. Anal. 17
        (1980). Mezzadri, "How to generate random matrices from the classical compact groups",
        Notices of the AMS 54 (2007). Joffrain et al., "Accumulating Householder transformations,
        revisited", ACM TOMS 32 (2006).
    """
    if columns > rows:
        raise ValueError(
            "`columns` must be at most `rows`. "
            f"Received: rows={show(rows)}, columns={show(columns)}"
        )
    xp = stream.xp
    count = _draws_in(rows, columns)
    check_size(start + count, (rows, columns))
    draws = stream.normal(Draw.FRAME, (count,), dtype, start)
    if xp is DEVICE and backend.householder_product is not None and count < _MAX_INDEX:
        program, begins = _product_program(rows, columns, dtype)
        return program(draws, backend.constant(begins))
    if xp is HOST and rows * columns <= _SMALL and load_library() is not None:
        return _frame_by_kernel(draws, rows, columns)
    frame = xp.eye(rows, columns, dtype=dtype)
    signs: list[Tensor] = []
    for first in reversed(range(0, columns, _PANEL)):
        size = min(_PANEL, columns - first)
        length = rows - first
        before = _draws_before(first, rows)
        panel = xp.triu(xp.reshape(draws[before : before + size * length], (size, length)))
        panel, sign = _reflections(xp, panel)
        signs.insert(0, sign)
        gram = xp.triu(xp.matmul(panel, xp.transpose(panel)))
        gram = xp.set_diagonal(gram, xp.ones((size,), dtype))
        # Above and to the left of the panel's end the frame is still the identity.
        product = panel[:, :size]
        end = first + size
        if end < columns:
            rest = xp.matmul(panel[:, size:], frame[end:, end:])
            product = xp.concatenate([product, rest], axis=1)
        change = xp.solve_upper(gram, product)
        frame = xp.subtract_product(frame, first, xp.transpose(panel), change)
    frame *= xp.reshape(xp.concatenate(signs), (1, columns))
    return frame


def _frame_by_kernel(draws: Array, rows: int, columns: int) -> Array:
    """Make the frame from its draws by the compiled kernel."""
    frame = np.zeros((rows, columns), draws.dtype)
    addresses = frame.ctypes.data, draws.ctypes.data
    load_library().initx_frame(*addresses, rows, columns, _PANEL, frame.itemsize)
    return frame


@functools.lru_cache(maxsize=64)
def _product_program(
    rows: int, columns: int, dtype: DType
) -> tuple[Callable[[Tensor, Tensor], Tensor], Array]:
    """Return the program that makes a frame from its draws by the backend's product of reflections.

    For each vector, its other argument has the offset of the draws from the beginning of the zeros.
    A loop over panels would launch thousands of small operations, and a GPU would wait for them.
    """
    multiply = backend.householder_product
    assert multiply is not None
    number = np.arange(columns).reshape(-1, 1)
    first = number // _PANEL * _PANEL
    begins = _draws_before(first, rows) + (number - first) * (rows - first) - first
    begins = begins.astype("int32")
    begins.flags.writeable = False  # so that it stays on the device

    def frame(draws: Tensor, begins: Tensor) -> Tensor:
        xp = TRACED
        index = begins + xp.arange(rows, dtype="int32")
        vectors, signs = _reflections(xp, xp.triu(xp.take(draws, index)))
        # Libraries keep vectors whose heads are 1, and the factors that make up for it.
        heads = xp.diagonal(vectors)
        vectors = vectors / xp.reshape(heads, (-1, 1))  # not in place: `heads` may be a part of it
        product = multiply(xp.transpose(vectors), heads * heads)
        return product * xp.reshape(signs, (1, columns))

    return backend.program(frame), begins


def _draws_in(rows: int, columns: int) -> int:
    """Return the number of draws in a frame."""
    last = (columns - 1) // _PANEL * _PANEL
    count: int = _draws_before(last, rows) + (columns - last) * (rows - last)
    return count


def _draws_before(first: Any, rows: int) -> Any:
    """Return the number of draws in all panels before column `first`, one or several."""
    return first * rows - first * (first - _PANEL) // 2


def _reflections(xp: Namespace, v: Tensor) -> tuple[Tensor, Tensor]:
    """Return the Householder vectors and signs for vectors that are the rows of `v`.

    Args:
        xp: The namespace of the vectors.
        v: The vectors, zero before their heads, which are on the diagonal. Overwritten on the host.
    """
    norm = xp.sqrt(xp.squared_norms(v))
    # A vector of zeros, which occurs once in 65,536 draws of length one, is replaced by the first
    # axis.
    zero = xp.cast(norm == 0, norm.dtype)
    head = xp.diagonal(v) + zero
    norm = norm + zero
    sign = 1 - 2 * xp.cast(head < 0, norm.dtype)
    # v = x + sign |x| e_j has |v|^2 = 2 |x| (|x| + |x_j|); the new head is sign (|x_j| + |x|).
    v = xp.set_diagonal(v, head + sign * norm)
    v *= xp.reshape(1 / xp.sqrt(norm * (norm + xp.abs(head))), (-1, 1))
    return v, -sign


def qr_frame(
    stream: Stream, rows: int, columns: int, dtype: DType = "float32", start: int = 0
) -> Tensor:
    """Make a frame by QR factorization, with signs so that the diagonal of R is positive.

    Reference:
        Mezzadri, "How to generate random matrices from the classical compact groups", Notices of
        the AMS 54 (2007).
    """
    xp = stream.xp
    q, r = xp.qr(gaussian_frame(stream, rows, columns, dtype, start))
    return xp.where(xp.reshape(xp.diagonal(r), (1, columns)) < 0, -q, q)


def svd_frame(
    stream: Stream, rows: int, columns: int, dtype: DType = "float32", start: int = 0
) -> Tensor:
    """Make a frame from the singular vectors: the orthonormal matrix nearest to the Gaussian one.

    Reference:
        Higham, "Computing the polar decomposition - with applications", SIAM J. Sci. Stat.
        Comput. 7 (1986).
    """
    u, _, vh = stream.xp.svd(gaussian_frame(stream, rows, columns, dtype, start))
    return u @ vh


def gaussian_frame(
    stream: Stream, rows: int, columns: int, dtype: DType = "float32", start: int = 0
) -> Tensor:
    """Return the Gaussian matrix unchanged: times `1 / sqrt(rows)` it is orthonormal on average."""
    return stream.xp.transpose(stream.normal(Draw.FRAME, (columns, rows), dtype, start))
