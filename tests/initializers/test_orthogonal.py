import math

import numpy as np
import pytest
from modes import to_numpy

from keras_initx import Orthogonal

METHODS = ("auto", "householder", "qr", "svd")


def gram(matrix):
    return matrix.T @ matrix if matrix.shape[0] >= matrix.shape[1] else matrix @ matrix.T


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("rows", range(4))
@pytest.mark.parametrize("columns", range(4))
def test_all_small_sizes(method, rows, columns):
    matrix = to_numpy(Orthogonal(method=method, seed=0)((rows, columns)))
    np.testing.assert_allclose(gram(matrix), np.eye(min(rows, columns)), atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [(128, 128), (300, 70), (70, 300)], ids=str)
def test_matrices_of_any_shape(method, shape):
    np.testing.assert_allclose(gram(to_numpy(Orthogonal(method=method, seed=0)(shape))), np.eye(min(shape)), atol=1e-5)


@pytest.mark.parametrize("shape", [(3, 3, 4, 50), (3, 3, 16, 8), (2, 3, 4, 5, 6)], ids=str)
def test_kernels_are_flattened_to_inputs_by_units(shape):
    matrix = to_numpy(Orthogonal(seed=0)(shape)).reshape(-1, shape[-1])
    np.testing.assert_allclose(gram(matrix), np.eye(min(matrix.shape)), atol=1e-5)


def test_2048_by_2048():
    matrix = to_numpy(Orthogonal(seed=0)((2048, 2048)))
    assert np.abs(gram(matrix) - np.eye(2048)).max() < 1e-5


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("shape", "blocks"), [((30, 120), 4), ((100, 60), 3)])
def test_each_block_is_orthogonal_by_itself(method, shape, blocks):
    kernel = to_numpy(Orthogonal(method=method, blocks=blocks, seed=0)(shape))
    parts = np.split(kernel, blocks, axis=1)
    for part in parts:
        np.testing.assert_allclose(gram(part), np.eye(min(part.shape)), atol=1e-5)
    assert not np.allclose(parts[0], parts[1])


@pytest.mark.parametrize(("gain", "value"), [(2, 2), ("relu", math.sqrt(2)), ("tanh", 5 / 3), (np.float32(0.5), 0.5)])
def test_gain_is_a_factor(gain, value):
    np.testing.assert_allclose(
        to_numpy(Orthogonal(gain=gain, seed=0)((8, 5))), value * to_numpy(Orthogonal(seed=0)((8, 5))), rtol=1e-6
    )


def test_gaussian_is_near_orthogonal():
    matrix = to_numpy(Orthogonal(method="gaussian", seed=0)((10_000, 20)))
    error = np.abs(gram(matrix) - np.eye(20)).max()
    assert 1e-3 < error < 5 / math.sqrt(10_000)


def test_auto_is_householder():
    np.testing.assert_array_equal(
        to_numpy(Orthogonal(seed=0)((9, 7))), to_numpy(Orthogonal(method="householder", seed=0)((9, 7)))
    )


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_16_bits_are_orthogonal_to_their_own_precision(dtype):
    matrix = to_numpy(Orthogonal(seed=0)((100, 100), dtype)).astype("float32")
    assert np.abs(gram(matrix) - np.eye(100)).max() < {"float16": 1e-3, "bfloat16": 8e-3}[dtype]


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"gain": 0}, ValueError, r"`gain` must be a positive number\. Received: gain=0"),
        ({"gain": None}, TypeError, r"`gain` must be a positive number\. Received: gain=None"),
        ({"gain": "rleu"}, ValueError, r"`gain` must be one of \('linear', .*\)\. Received: gain='rleu'"),
        ({"method": "lu"}, ValueError, r"`method` must be one of \('auto', .*\)\. Received: method='lu'"),
        ({"method": ["qr"]}, ValueError, r"`method` must be one of \('auto', .*\)\. Received: method=\['qr'\]"),
        ({"blocks": 0}, ValueError, r"`blocks` must be a positive integer\. Received: blocks=0"),
        ({"blocks": 1.0}, TypeError, r"`blocks` must be a positive integer\. Received: blocks=1\.0"),
    ],
    ids=str,
)
def test_refuses_bad_arguments(kwargs, error, message):
    with pytest.raises(error, match=message):
        Orthogonal(**kwargs)


def test_refuses_a_last_axis_that_cannot_be_cut_into_blocks():
    with pytest.raises(ValueError, match=r"multiple of `blocks`\. Received: shape=\(8, 6\), blocks=4"):
        Orthogonal(blocks=4)((8, 6))
