import numpy as np
import pytest
import scipy
from modes import STREAM_MODES, float64, run

from keras_initx.backends._current import backend
from keras_initx.sampling import Stream
from keras_initx.sampling._namespace import HOST, TRACED
from keras_initx.sampling._orthonormal_frames import _draws_before, _reflections, householder_frame, qr_frame, svd_frame
from keras_initx.sampling._stream import Draw

pytestmark = pytest.mark.usefixtures("optimized")

# With fixed seeds a test passes always or never; a random seed would fail one test here in 10,000.
P_VALUE = 1e-4
SIZES = [(1, 1), (2, 1), (2, 2), (3, 1), (3, 2), (3, 3), (64, 64), (65, 65), (200, 130), (500, 7), (300, 300)]


def make(frame, rows, columns, seed=0, dtype="float32", start=0):
    return frame(Stream((seed, 0)), rows, columns, dtype, start)


def zeros(stream, monkeypatch):
    monkeypatch.setattr(stream, "normal", lambda draw, shape, dtype, start: np.zeros(shape, dtype))
    return stream


FRAMES = [householder_frame, qr_frame, svd_frame]


@pytest.fixture(params=FRAMES, ids=lambda frame: frame.__name__)
def frame(request):
    return request.param


def test_columns_are_orthonormal(frame):
    for rows, columns in SIZES:
        q = make(frame, rows, columns)
        assert q.shape == (rows, columns)
        np.testing.assert_allclose(q.T @ q, np.eye(columns), atol=2e-6, err_msg=f"{rows} by {columns}")


def test_float64_is_orthonormal_to_its_own_precision(frame):
    q = make(frame, 100, 80, dtype="float64")
    np.testing.assert_allclose(q.T @ q, np.eye(80), atol=1e-14)


# Of the other methods there are golden values.
@pytest.mark.parametrize("mode", STREAM_MODES[1:])
@pytest.mark.parametrize(
    ("frame", "rows", "columns"),
    [
        *((frame, 3, 2) for frame in FRAMES),
        *((frame, 64, 64) for frame in FRAMES[:2]),
        pytest.param(svd_frame, 64, 64, marks=pytest.mark.every_backend),
    ],
)
def test_the_trace_gives_what_the_host_gives(frame, rows, columns, mode):
    def call():
        with backend.full_precision():
            return make(frame, rows, columns, start=7)

    np.testing.assert_allclose(run(mode, call), make(frame, rows, columns, start=7), atol=1e-5)


@pytest.mark.parametrize(("rows", "columns"), [(9, 6), (6, 6), (150, 140)])
def test_householder_multiplies_reflections(rows, columns):
    """Against the definition: one reflection after the other, in float64."""
    product, signs = np.eye(rows), np.ones(columns)
    for j in range(columns):
        first = j // 64 * 64
        begin = _draws_before(first, rows) + (j - first) * (rows - first) + (j - first)
        x = np.zeros(rows)
        x[j:] = Stream((0, 0)).normal(Draw.FRAME, (rows - j,), "float64", begin)
        sign = 1 if x[j] >= 0 else -1
        v = x + sign * np.linalg.norm(x) * np.eye(rows)[j]
        product -= np.outer(product @ v, v) * (2 / (v @ v))
        signs[j] = -sign
    made = make(householder_frame, rows, columns, dtype="float64")
    np.testing.assert_allclose(made, product[:, :columns] * signs, atol=1e-13)


def test_no_draw_is_used_twice():
    rows, columns = 200, 150
    ends = [_draws_before(first, rows) + 64 * (rows - first) for first in range(0, columns, 64)]
    assert ends[:-1] == [_draws_before(first, rows) for first in range(64, columns, 64)]
    assert _draws_before(128, rows) + (columns - 128) * (rows - 128) < rows * columns


@pytest.mark.parametrize("frame", [householder_frame, qr_frame], ids=lambda frame: frame.__name__)
def test_the_first_column_is_the_first_draws_normalized(frame):
    draws = Stream((0, 0)).normal(Draw.FRAME, (20,))
    np.testing.assert_allclose(make(frame, 20, 5)[:, 0], draws / np.linalg.norm(draws), atol=1e-6)


def test_a_vector_of_zeros_counts_as_the_first_axis(monkeypatch):
    q = householder_frame(zeros(Stream((0, 0)), monkeypatch), 5, 3)
    np.testing.assert_allclose(q, np.eye(5, 3), atol=1e-6)
    zeros_in_rows = np.zeros((3, 5), "float32")
    v, _ = _reflections(HOST, zeros_in_rows)
    np.testing.assert_allclose(np.linalg.norm(v, axis=1), np.sqrt(2), atol=1e-6)


def test_qr_does_not_zero_a_column_where_the_diagonal_is_zero(monkeypatch):
    q = qr_frame(zeros(Stream((0, 0)), monkeypatch), 5, 3)
    np.testing.assert_allclose(q.T @ q, np.eye(3), atol=1e-6)


@pytest.fixture(scope="module")
def many():
    """Return 4 by 4 frames of 2,000 seeds, by each method."""
    return {frame: np.stack([make(frame, 4, 4, seed) for seed in range(2000)]) for frame in FRAMES}


@pytest.mark.rare
def test_each_entry_has_the_haar_marginal(frame, many):
    for row, column in ((0, 0), (2, 1), (0, 3), (3, 3)):
        entries = many[frame][:, row, column]
        # The square of an entry of a uniform point on the sphere in n dimensions is Beta(1/2, (n-1)/2).
        assert scipy.stats.kstest(entries**2, scipy.stats.beta(0.5, 1.5).cdf).pvalue > P_VALUE, (row, column)
        assert scipy.stats.binomtest(int((entries > 0).sum()), 2000).pvalue > P_VALUE, (row, column)


def test_rotations_and_reflections_are_equally_likely(frame, many):
    assert scipy.stats.binomtest(int((np.linalg.det(many[frame]) > 0).sum()), 2000).pvalue > P_VALUE


@pytest.mark.parametrize("mode", STREAM_MODES[1:])
@pytest.mark.parametrize(
    "frame", [pytest.param(householder_frame, marks=pytest.mark.release_backends), qr_frame, svd_frame]
)
def test_the_trace_works_in_float64(frame, mode):
    with float64():
        q = run(mode, lambda: make(frame, 30, 20, dtype="float64"))
    np.testing.assert_allclose(q.T @ q, np.eye(20), atol=1e-14)


@pytest.mark.parametrize("xp", [HOST, TRACED], ids=["host", "trace"])
def test_a_frame_of_more_columns_than_rows_is_refused(xp):
    with pytest.raises(ValueError, match=r"`columns` must be at most `rows`. Received: rows=3, columns=5"):
        householder_frame(Stream((0, 0), xp=xp), 3, 5)


@pytest.mark.parametrize("xp", [HOST, TRACED], ids=["host", "trace"])
def test_a_frame_of_more_numbers_than_a_draw_has_is_refused(xp):
    with pytest.raises(ValueError, match=r"at most 2\*\*32 random numbers"):
        householder_frame(Stream((0, 0), xp=xp), 2**17, 2**16)
