import itertools
import math

import numpy as np
import pytest
import scipy
from modes import BACKEND, MODES, float64, run, to_numpy

from keras_initx import Orthogonal, OrthogonalQR
from keras_initx.initializers import _orthogonal

METHODS = ("householder", "qr", "svd")


def gram(matrix):
    return matrix.T @ matrix if matrix.shape[0] >= matrix.shape[1] else matrix @ matrix.T


@pytest.mark.parametrize("method", METHODS)
def test_matrices_of_any_shape(method):
    for shape in (*itertools.product(range(4), range(4)), (128, 128), (300, 70), (70, 300)):
        matrix = to_numpy(Orthogonal(method=method, seed=0)(shape))
        np.testing.assert_allclose(gram(matrix), np.eye(min(shape)), atol=1e-6, err_msg=str(shape))


@pytest.mark.parametrize(
    ("method", "shape", "blocks"), [*((method, (30, 120), 4) for method in METHODS), ("householder", (100, 60), 3)]
)
def test_each_block_is_orthogonal_by_itself(method, shape, blocks):
    kernel = to_numpy(Orthogonal(method=method, blocks=blocks, seed=0)(shape))
    parts = np.split(kernel, blocks, axis=1)
    for part in parts:
        np.testing.assert_allclose(gram(part), np.eye(min(part.shape)), atol=1e-5)
    assert not np.allclose(parts[0], parts[1])


@pytest.mark.parametrize(("gain", "value"), [(2, 2), ("relu", math.sqrt(2))])
def test_gain_is_a_factor(gain, value):
    np.testing.assert_allclose(
        to_numpy(Orthogonal(gain=gain, seed=0)((8, 5))), value * to_numpy(Orthogonal(seed=0)((8, 5))), rtol=1e-6
    )


def test_orthogonal_qr_is_the_method_qr():
    fixed = OrthogonalQR("relu", seed=1, blocks=2, singular_values=3.0, input_axes=[1])
    named = Orthogonal("relu", 1, method="qr", blocks=2, singular_values=3.0, input_axes=[1])
    np.testing.assert_array_equal(to_numpy(fixed((8, 5))), to_numpy(named((8, 5))))


def test_gaussian_is_near_orthogonal():
    matrix = to_numpy(Orthogonal(method="gaussian", seed=0)((10_000, 20)))
    error = np.abs(gram(matrix) - np.eye(20)).max()
    assert 1e-3 < error < 5 / math.sqrt(10_000)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_16_bits_are_orthogonal_to_their_own_precision(dtype):
    matrix = to_numpy(Orthogonal(seed=0)((100, 100), dtype)).astype("float32")
    assert np.abs(gram(matrix) - np.eye(100)).max() < {"float16": 1e-3, "bfloat16": 8e-3}[dtype]


def spectrum(matrix):
    return np.linalg.svd(np.asarray(matrix, "float64"), compute_uv=False)


@pytest.mark.parametrize(
    ("method", "shape", "mode"),
    [
        *((method, (30, 50), "eager") for method in METHODS),
        ("householder", (50, 30), "eager"),
        ("householder", (30, 30), "eager"),
        pytest.param("householder", (30, 50), MODES[-1], marks=pytest.mark.release_backends),
    ],
    ids=str,
)
def test_singular_values_are_those_given(method, shape, mode):
    # Neither sorted nor distinct, and one of them zero.
    values = [*np.linspace(0, 3, 28).tolist(), 2.0, 2.0]
    kernel = run(mode, lambda: Orthogonal(method=method, seed=0, singular_values=values)(shape))
    np.testing.assert_allclose(spectrum(kernel), sorted(values, reverse=True), atol=1e-5 * 3)


@pytest.mark.parametrize(("shape", "condition"), [((200, 90), 10), ((90, 200), 1), ((3, 3, 10, 60), 10), ((5, 1), 10)])
def test_a_number_is_the_condition_number(condition, shape):
    values = spectrum(to_numpy(Orthogonal(seed=0, singular_values=condition)(shape)).reshape(-1, shape[-1]))
    # One singular value alone has no other to be larger than.
    ratio = 1 if values.size == 1 else condition ** (-1 / (values.size - 1))
    expected = ratio ** np.arange(values.size)
    np.testing.assert_allclose(values, expected / np.sqrt(np.mean(expected**2)), atol=1e-5 * values[0])


@pytest.mark.parametrize(("method", "shape"), [*((method, (30, 12)) for method in METHODS), ("householder", (3, 12))])
def test_each_block_has_the_singular_values(method, shape):
    kernel = to_numpy(Orthogonal(gain=2, method=method, blocks=4, seed=0, singular_values=(1, 5, 3))(shape))
    parts = np.split(kernel, 4, axis=1)
    for part in parts:
        np.testing.assert_allclose(spectrum(part), [10, 6, 2], atol=1e-4)
    assert not np.allclose(parts[0], parts[1])


@pytest.mark.parametrize(("dtype", "error"), [("float16", 2e-3), ("bfloat16", 2e-2), ("float64", 1e-13)])
def test_singular_values_in_other_dtypes(dtype, error):
    values = np.linspace(0.1, 1, 40).tolist()
    with float64():
        kernel = to_numpy(Orthogonal(seed=0, singular_values=values)((60, 40), dtype))
    np.testing.assert_allclose(spectrum(kernel), values[::-1], atol=error)


@pytest.mark.rare
def test_singular_vectors_are_haar_on_both_sides_and_independent():
    kernels = [to_numpy(Orthogonal(seed=seed, singular_values=[4, 3, 2, 1])((4, 4))) for seed in range(2000)]
    u, _, v = np.linalg.svd(np.stack(kernels))
    # The seeds are fixed; with random ones each assertion would fail once in 10,000.
    for row, column in [(0, 0), (2, 1), (3, 3)]:
        for vectors in u, v:
            # The square of an entry of a uniform point on the sphere in n dimensions is Beta(1/2, (n-1)/2).
            squares = vectors[:, row, column] ** 2
            assert scipy.stats.kstest(squares, scipy.stats.beta(0.5, 1.5).cdf).pvalue > 1e-4
        # A pair of singular vectors is known up to the sign that both have in common.
        ours, theirs = u[:, row, column], v[:, column, row]
        assert scipy.stats.binomtest(int((ours * theirs > 0).sum()), 2000).pvalue > 1e-4
        assert scipy.stats.spearmanr(ours**2, theirs**2).pvalue > 1e-4


def test_no_draw_is_used_for_two_frames(monkeypatch):
    drawn = []

    def frame(stream, rows, columns, dtype, start):
        drawn.extend(range(start, start + rows * columns))
        return np.eye(rows, columns, dtype=dtype)

    monkeypatch.setitem(_orthogonal._FRAMES, "householder", frame)
    Orthogonal(blocks=3, seed=0, singular_values=2)((7, 12))
    assert sorted(drawn) == list(range(3 * (7 * 4 + 4 * 4)))


def test_refuses_units_that_cannot_be_cut_into_blocks():
    with pytest.raises(ValueError, match=r"multiple of `blocks`\. Received: shape=\(8, 6\), blocks=4"):
        Orthogonal(blocks=4)((8, 6))


def test_refuses_a_shape_with_another_number_of_singular_values():
    message = r"must have 2 singular values .* it has 6\. Received: shape=\(8, 12\), blocks=2, singular_values=\[1, 2\]"
    with pytest.raises(ValueError, match=message):
        Orthogonal(blocks=2, singular_values=[1, 2])((8, 12))


@pytest.mark.skipif(BACKEND != "torch", reason="the other backends do not tell")
@pytest.mark.parametrize("shape", [(30, 40), (40, 30)])
def test_elements_lie_in_the_order_of_their_indices(shape):
    assert Orthogonal(seed=1)(shape).is_contiguous()
