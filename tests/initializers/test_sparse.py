import math

import keras
import numpy as np
import pytest
import scipy
from modes import STREAM_MODES, run, to_numpy

from keras_initx import Sparse


def connections(initializer, shape):
    counts = np.count_nonzero(to_numpy(initializer(shape)).reshape(-1, shape[-1]), axis=0)
    assert np.unique(counts).size == 1
    return counts[0]


def test_ten_connections_by_default():
    assert connections(Sparse(seed=0), (64, 32)) == 10


@pytest.mark.parametrize("count", [1, 32, 33, 64])
def test_as_many_connections_as_asked_for(count):
    assert connections(Sparse(connections=count, seed=0), (64, 32)) == count


def test_a_unit_with_fewer_inputs_joins_all_of_them():
    assert connections(Sparse(seed=0), (4, 32)) == 4


@pytest.mark.parametrize(("sparsity", "count"), [(0, 50), (0.5, 25), (0.9, 5), (0.99, 1), (0.999, 1), (0.75, 13)])
def test_sparsity_is_the_fraction_of_zeros(sparsity, count):
    assert connections(Sparse(sparsity=sparsity, seed=0), (50, 32)) == count


@pytest.mark.parametrize(
    ("kwargs", "stddev"),
    [
        ({}, 1 / math.sqrt(10)),
        ({"sparsity": 0.5}, 1 / math.sqrt(200)),
        ({"gain": "relu"}, math.sqrt(2 / 10)),
        ({"stddev": 0.01}, 0.01),
    ],
    ids=str,
)
def test_weights_are_normal_with_the_stddev_asked_for(kwargs, stddev):
    kernel = to_numpy(Sparse(**kwargs, seed=0)((400, 2000)))
    # The seed is fixed; with a random one this would fail once in 10,000.
    assert scipy.stats.kstest(kernel[kernel != 0], scipy.stats.norm(scale=stddev).cdf).pvalue > 1e-4


@pytest.mark.parametrize(
    ("mode", "count"),
    [("eager", 10), ("eager", 40), pytest.param(STREAM_MODES[-1], 10, marks=pytest.mark.every_backend)],
)
def test_no_connection_is_rounded_to_zero(count, mode):
    sparse = Sparse(count, stddev=1e-6, seed=0)
    half = run(mode, lambda: sparse((50, 300), "float16"))
    assert np.count_nonzero(half, axis=0).tolist() == [count] * 300
    exact = to_numpy(sparse((50, 300)))
    away_from_zero = np.copysign(np.maximum(np.abs(exact), 2.0**-24), exact)
    np.testing.assert_array_equal(half, np.where(exact == 0, 0, away_from_zero).astype("float16"))


@pytest.mark.parametrize("mode", ["eager", pytest.param(STREAM_MODES[-1], marks=pytest.mark.release_backends)])
def test_a_machine_may_round_the_smallest_numbers_of_float32_to_zero(mode):
    values = run(mode, lambda: Sparse(10, stddev=2e-38, seed=0)((50, 300)))
    assert np.count_nonzero(np.abs(values) >= np.finfo("float32").tiny, axis=0).tolist() == [10] * 300
    assert (values < 0).sum() == (to_numpy(Sparse(10, seed=0)((50, 300))) < 0).sum()


@pytest.mark.parametrize(
    ("kwargs", "dtype"), [({"stddev": 5e-8}, "float16"), ({"gain": 1e-37}, "bfloat16"), ({"stddev": 1e-38}, "float32")]
)
def test_refuses_a_dtype_in_which_most_connections_would_be_zero(kwargs, dtype):
    generator = keras.random.SeedGenerator(3)
    with pytest.raises(
        ValueError, match=rf"`dtype` must be able to hold weights .* would be zero\. Received: dtype='{dtype}'"
    ):
        Sparse(**kwargs, connections=100, seed=generator)((200, 3), dtype)
    assert to_numpy(generator.state.value).tolist() == [3, 0]


def test_sparsity_counts_in_float64_whatever_its_type():
    narrow = Sparse(sparsity=np.float32(0.3), seed=1)
    for again in (Sparse.from_config(narrow.get_config()), Sparse(sparsity=float(np.float32(0.3)), seed=1)):
        np.testing.assert_array_equal(to_numpy(again((5, 4))), to_numpy(narrow((5, 4))))
