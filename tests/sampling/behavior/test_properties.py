"""What holds for the samplers whatever their arguments."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from keras_initx.initializers import TruncatedLaw, UniformLaw
from keras_initx.sampling import Stream
from keras_initx.sampling._stream import Draw
from keras_initx.sampling._subsets import sparse_normal

KEYS = st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
SIZES = st.integers(0, 80)
DTYPES = st.sampled_from(["float32", "float64"])
NUMBERS = st.floats(-1e30, 1e30)


@given(KEYS, st.sampled_from(Draw), st.integers(0, 2**32 - 400), st.integers(0, 300), st.integers(0, 100))
def test_a_part_of_a_draw_is_that_part_of_the_whole(key, draw, start, begin, size):
    stream = Stream(key)
    whole = stream.normal(draw, (400,), start=start)
    np.testing.assert_array_equal(stream.normal(draw, (size,), start=start + begin), whole[begin : begin + size])


@given(KEYS, st.integers(1, 80), SIZES, st.data())
def test_each_unit_of_a_sparse_matrix_has_the_connections_asked_for(key, inputs, units, data):
    connections = data.draw(st.integers(1, inputs))
    matrix = sparse_normal(Stream(key), inputs, units, connections)
    assert np.count_nonzero(matrix, axis=0).tolist() == [connections] * units


def bounds_in(dtype, lower, upper):
    """Return the bounds, or where `dtype` has no number between them, the number next below them twice."""
    highest = np.dtype(dtype).type(upper)
    if float(highest) > upper:
        highest = np.nextafter(highest, highest.dtype.type(-np.inf))
    if float(highest) < lower:
        return float(highest), float(highest)
    return lower, upper


@given(KEYS, st.sets(NUMBERS, min_size=2, max_size=2).map(sorted), DTYPES)
def test_uniform_values_are_within_their_bounds(key, bounds, dtype):
    lower, upper = bounds
    values = UniformLaw(lower, upper).draw(Stream(key), (100,), dtype)
    lower, upper = bounds_in(dtype, lower, upper)
    assert lower <= values.min()
    assert values.max() <= upper


@given(KEYS, st.floats(-9, 4.9), st.floats(0.001, 9), st.floats(-1e3, 1e3), st.floats(1e-3, 1e3), DTYPES)
def test_truncated_normal_values_are_within_their_bounds(key, lower, width, mean, stddev, dtype):
    upper = max(lower + width, -5)
    law = TruncatedLaw(lower, upper, mean, stddev)
    values = law.draw(Stream(key), (100,), dtype)
    assert np.abs(values).max() <= law.reach * (1 + 1e-6)
    scale = law.untruncated_std
    lowest, highest = bounds_in(dtype, mean + scale * lower, mean + scale * upper)
    assert lowest <= values.min()
    assert values.max() <= highest
