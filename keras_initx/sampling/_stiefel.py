"""Random matrices with orthonormal columns, spread evenly over all of them (Haar measure).

Every function takes Gaussian draws of shape `(columns, rows)`, one row for each column of the
result, `columns <= rows`, and returns a `(rows, columns)` matrix. It may overwrite the draws.
"""

# Reflections applied at a time: small enough that the work that is not a matrix product stays
# small, large enough that the products run at full speed.
_PANEL = 64


def householder_frame(xp, gaussian):
    """Make a frame from Householder reflections, without factorising anything.

    The reflection that maps a Gaussian vector of length `rows - j` onto the first axis is what a
    QR factorisation of a Gaussian matrix would compute in step `j`: by rotation invariance the
    rest of the matrix stays Gaussian. So the vectors can be drawn at once, and only their product
    is left to compute, a panel at a time in the compact WY form
    `H_1 ... H_b = I - V inv(triu(V'V, 1) + I) V'` for vectors with `|v|^2 = 2`.

    Reference:
        Stewart, "The efficient generation of random orthogonal matrices", SIAM J. Numer. Anal. 17
        (1980). Mezzadri, "How to generate random matrices from the classical compact groups",
        Notices of the AMS 54 (2007). Joffrain et al., "Accumulating Householder transformations,
        revisited", ACM TOMS 32 (2006).
    """
    columns, rows = gaussian.shape
    vectors, signs = _reflections(xp, gaussian)
    frame = xp.eye(rows, columns, dtype=gaussian.dtype)
    for start in reversed(range(0, columns, _PANEL)):
        panel = vectors[start : start + _PANEL, start:]
        size = panel.shape[0]
        gram = xp.set_diagonal(xp.triu(panel @ xp.transpose(panel)), xp.ones((size,), gaussian.dtype))
        # Above and left of the panel's end the frame is still the identity.
        end = start + size
        product = xp.concatenate([panel[:, :size], panel[:, size:] @ frame[end:, end:]], axis=1)
        frame = xp.subtract_product(frame, start, xp.transpose(panel), xp.solve_upper(gram, product))
    frame *= signs
    return frame


def _reflections(xp, gaussian):
    """Return the Householder vectors as rows, `|v|^2 = 2`, and the signs that make the frame Haar."""
    v = xp.triu(gaussian)
    head = xp.copy(xp.diagonal(v))
    norm = xp.sqrt(xp.squared_norms(v))
    # A vector of zeros, once in 65,536 draws for a vector of length one, stands for the first axis.
    zero = norm == 0
    head = xp.where(zero, xp.ones_like(head), head)
    norm = xp.where(zero, xp.ones_like(norm), norm)
    sign = xp.where(head < 0, -xp.ones_like(head), xp.ones_like(head))
    # v = x + sign |x| e_j has |v|^2 = 2 |x| (|x| + |x_j|); the new head is sign (|x_j| + |x|).
    v = xp.set_diagonal(v, head + sign * norm)
    v *= xp.reshape(1 / xp.sqrt(norm * (norm + xp.abs(head))), (-1, 1))
    return v, -sign


def qr_frame(xp, gaussian):
    """Make a frame by QR factorisation, with the diagonal of R made positive.

    Reference:
        Mezzadri, "How to generate random matrices from the classical compact groups", Notices of
        the AMS 54 (2007).
    """
    q, r = xp.qr(xp.transpose(gaussian))
    diagonal = xp.diagonal(r)
    return xp.where(diagonal < 0, -q, q)


def svd_frame(xp, gaussian):
    """Make a frame from the singular vectors: the orthonormal matrix nearest to the Gaussian one.

    Reference:
        Higham, "Computing the polar decomposition - with applications", SIAM J. Sci. Stat.
        Comput. 7 (1986).
    """
    u, _, vh = xp.svd(xp.transpose(gaussian))
    return u @ vh
