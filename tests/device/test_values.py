"""What is made on a device has the bits of what is made on the host, in each case and shape of the contract.

`tests/backends` compares a few of them in each run.
"""

import keras
import numpy as np
import pytest
from cases import CASES, FIRST_CASES, RARE_CASES
from modes import BACKEND, float64, to_numpy
from places import assert_same, on_host

import keras_initx
from keras_initx.initializers import RandomInitializer, UniformLaw
from keras_initx.sampling import Stream, _stream, affine
from keras_initx.sampling._stream import Draw

pytestmark = pytest.mark.every_backend


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64"])
@pytest.mark.parametrize("cls", FIRST_CASES, ids=lambda cls: cls.__name__)
def test_every_shape_has_the_values_of_the_host(way, monkeypatch, cls, dtype):
    with float64():
        for case in (case for case in CASES + RARE_CASES if case.cls is cls):
            for shape in case.shapes:
                assert_same(monkeypatch, case.make(), shape, dtype, case.exact)


@pytest.mark.parametrize("count", [10, 40])
def test_no_connection_is_rounded_to_zero(way, monkeypatch, count):
    assert_same(monkeypatch, keras_initx.Sparse(count, stddev=1e-6, seed=0), (50, 300), "float16")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("bounds", [None, (0.1, 0.8)])
@pytest.mark.parametrize(("offset", "factor"), [(0.3, 0.7), (-1, 1e-3), (1e5, 0.01), (0, 0.1)])
def test_offset_and_factor_round_as_on_the_host(way, monkeypatch, offset, factor, bounds, dtype):
    def draw():
        stream = Stream((5, 0), dtype)
        made = stream.normal(Draw.VALUES, (3000,), then=affine(offset, factor, bounds))
        return made if isinstance(made, np.ndarray) else to_numpy(made)

    np.testing.assert_array_equal(draw(), on_host(monkeypatch, draw))


@pytest.mark.parametrize(("dtype", "stddev"), [("float16", 1e-6), ("bfloat16", 1e-39), ("float32", 1e-39)])
def test_values_below_the_smallest_normal_one(way, monkeypatch, dtype, stddev):
    initializer = keras_initx.RandomNormal(stddev=stddev, seed=1)
    made = to_numpy(initializer((50, 70), dtype))
    expected = on_host(monkeypatch, lambda: to_numpy(initializer((50, 70), dtype)))
    assert np.count_nonzero(expected) > 3000
    # XLA on a CPU makes zeros of those of float32.
    flushed = 0 if BACKEND == "torch" or dtype == "float16" else np.abs(expected) < np.finfo("float32").tiny
    np.testing.assert_array_equal(made, np.where(flushed & (made == 0), made, expected))


@keras.saving.register_keras_serializable("tests")
class Narrow(RandomInitializer):
    """An initializer with bounds that 16 bits have no number between."""

    def law(self, shape):
        return UniformLaw(1.0001, 1.0002, is_strict=True)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("cls", [Narrow, keras_initx.RandomUniform])
def test_bounds_hold_as_on_the_host(way, monkeypatch, cls, dtype):
    assert_same(monkeypatch, cls(seed=5), (70, 50), dtype)  # a seed with uniform values that 16 bits lead over a bound


@pytest.mark.parametrize(
    ("connections", "shape", "dtype"),
    [
        (10, (90, 333), "bfloat16"),
        (40, (90, 333), "bfloat16"),
        (40, (1100, 3), "float32"),  # a column is larger than a block
        (10, (0, 4), "float32"),
        (40, (4, 0), "float32"),
    ],
)
def test_a_sparse_matrix_of_many_blocks_or_none(way, monkeypatch, connections, shape, dtype):
    assert_same(monkeypatch, keras_initx.Sparse(connections, seed=3), shape, dtype)


@pytest.mark.parametrize(("connections", "shape"), [(10, (90, 11)), (40, (90, 2))])
def test_a_sparse_matrix_of_too_many_draws_is_refused(way, monkeypatch, connections, shape):
    monkeypatch.setattr(_stream, "_MAX_SIZE", 100)
    with pytest.raises(ValueError, match=r"`shape` must need at most 2\*\*32 random numbers"):
        keras_initx.Sparse(connections, seed=3)(shape)


@pytest.mark.parametrize("shape", [(150, 130), (130, 150)])
def test_a_frame_of_several_panels(way, monkeypatch, shape):
    assert_same(monkeypatch, keras_initx.Orthogonal(seed=3), shape, exact=False)
