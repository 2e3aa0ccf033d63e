import numpy as np
import pytest
import scipy.stats
from modes import float64

from keras_initx.sampling import Draw, Stream, householder_frame, qr_frame, svd_frame
from keras_initx.sampling._namespace import HOST, TRACED

# With fixed seeds a test passes always or never; a random seed would fail one test here in 10,000.
P_VALUE = 1e-4
SIZES = [(1, 1), (2, 1), (2, 2), (3, 1), (3, 2), (3, 3), (64, 64), (65, 65), (200, 130), (500, 7), (300, 300)]


def gaussian(rows, columns, seed=0, dtype="float32"):
    return Stream((seed, 0)).normal(Draw.FRAME, (columns, rows), dtype)


@pytest.fixture(params=[householder_frame, qr_frame, svd_frame], ids=lambda frame: frame.__name__)
def frame(request):
    return request.param


@pytest.mark.parametrize(("rows", "columns"), SIZES)
def test_columns_are_orthonormal(frame, rows, columns):
    q = frame(HOST, gaussian(rows, columns))
    assert q.shape == (rows, columns)
    np.testing.assert_allclose(q.T @ q, np.eye(columns), atol=2e-6)


def test_float64_is_orthonormal_to_its_own_precision(frame):
    q = frame(HOST, gaussian(100, 80, dtype="float64"))
    np.testing.assert_allclose(q.T @ q, np.eye(80), atol=1e-14)


@pytest.mark.parametrize(("rows", "columns"), SIZES)
def test_the_trace_gives_what_the_host_gives(frame, rows, columns):
    draws = gaussian(rows, columns)
    traced = np.asarray(frame(TRACED, TRACED.convert_to_tensor(draws)))
    np.testing.assert_allclose(traced, frame(HOST, draws), atol=1e-5)


def test_householder_multiplies_reflections():
    """Against the definition: one reflection after the other, in float64."""
    draws = gaussian(9, 6, dtype="float64")
    product, signs = np.eye(9), np.ones(6)
    for j, draw in enumerate(draws):
        x = np.where(np.arange(9) >= j, draw, 0)
        sign = 1 if x[j] >= 0 else -1
        v = x + sign * np.linalg.norm(x) * np.eye(9)[j]
        product = product @ (np.eye(9) - 2 * np.outer(v, v) / (v @ v))
        signs[j] = -sign
    np.testing.assert_allclose(householder_frame(HOST, draws), product[:, :6] * signs, atol=1e-13)


def test_the_first_column_is_the_first_draw_normalised(frame):
    if frame is svd_frame:
        pytest.skip("the polar factor spreads the draws over all columns")
    draws = gaussian(20, 5)
    first = draws[0] / np.linalg.norm(draws[0])
    np.testing.assert_allclose(frame(HOST, draws)[:, 0], first, atol=1e-6)


def test_a_vector_of_zeros_counts_as_the_first_axis():
    q = householder_frame(HOST, np.zeros((3, 5), "float32"))
    np.testing.assert_allclose(q, np.eye(5, 3), atol=1e-6)


def test_qr_does_not_zero_a_column_where_the_diagonal_is_zero():
    q = qr_frame(HOST, np.zeros((3, 5), "float32"))
    np.testing.assert_allclose(q.T @ q, np.eye(3), atol=1e-6)


@pytest.fixture(scope="module")
def many():
    """Return 4 by 4 frames of 2,000 seeds, by each method."""
    return {
        frame: np.stack([frame(HOST, gaussian(4, 4, seed)) for seed in range(2000)])
        for frame in (householder_frame, qr_frame, svd_frame)
    }


@pytest.mark.parametrize(("row", "column"), [(0, 0), (2, 1), (0, 3), (3, 3)])
def test_each_entry_has_the_haar_marginal(frame, many, row, column):
    # The square of an entry of a uniform point on the sphere in n dimensions is Beta(1/2, (n-1)/2).
    squares = many[frame][:, row, column] ** 2
    assert scipy.stats.kstest(squares, scipy.stats.beta(0.5, 1.5).cdf).pvalue > P_VALUE
    assert scipy.stats.binomtest(int((many[frame][:, row, column] > 0).sum()), 2000).pvalue > P_VALUE


def test_rotations_and_reflections_are_equally_likely(frame, many):
    assert scipy.stats.binomtest(int((np.linalg.det(many[frame]) > 0).sum()), 2000).pvalue > P_VALUE


def test_traces_have_the_moments_of_haar(frame, many):
    # Diaconis and Shahshahani (1994): E tr Q = 0, E (tr Q)^2 = 1, E (tr Q)^4 = 3.
    traces = np.trace(many[frame], axis1=1, axis2=2)
    for power, moment in ((1, 0), (2, 1), (4, 3)):
        sample = traces**power
        assert abs(sample.mean() - moment) < 4 * sample.std() / np.sqrt(sample.size)


def test_a_large_frame_is_orthonormal():
    q = householder_frame(HOST, gaussian(2048, 2048))
    assert np.abs(q.T @ q - np.eye(2048)).max() < 1e-5


def test_the_trace_works_in_float64(frame):
    with float64():
        draws = TRACED.convert_to_tensor(gaussian(30, 20, dtype="float64"))
        q = np.asarray(frame(TRACED, draws))
    np.testing.assert_allclose(q.T @ q, np.eye(20), atol=1e-14)
