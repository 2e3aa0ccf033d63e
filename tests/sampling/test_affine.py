import keras
import numpy as np
import pytest
from modes import STREAM_MODES, run

from keras_initx.backends._current import backend
from keras_initx.sampling import Stream, affine
from keras_initx.sampling._stream import Draw

pytestmark = pytest.mark.usefixtures("optimized")

CASES = [(0.3, 0.7), (-1, 1e-3), (1e5, 0.01), (0, 0.1), (0.1, 1.6)]


def values(mode, draw, *arguments):
    def call():
        stream = Stream((5, 0))
        result = draw(stream, affine(*arguments))
        return backend.to_tensor(result) if isinstance(result, np.ndarray) else result

    return run(mode, call)


@pytest.mark.every_backend
@pytest.mark.parametrize("mode", STREAM_MODES)
def test_rounds_alike_everywhere(mode):
    standard = Stream((5, 0)).normal(Draw.VALUES, (10_000,))

    def all_computed():
        return keras.ops.stack([Stream((5, 0)).normal(Draw.VALUES, (10_000,), then=affine(*case)) for case in CASES])

    for (offset, factor), computed in zip(CASES, run(mode, all_computed), strict=True):
        expected = (standard + np.float32(offset / factor)) * np.float32(factor)
        np.testing.assert_array_equal(computed, expected, err_msg=f"{offset}, {factor}")


@pytest.mark.parametrize(("offset", "factor"), CASES)
def test_is_offset_and_factor_to_rounding(offset, factor):
    standard = Stream((5, 0)).normal(Draw.VALUES, (10_000,))
    expected = offset + factor * standard.astype("float64")
    computed = Stream((5, 0)).normal(Draw.VALUES, (10_000,), then=affine(offset, factor))
    np.testing.assert_allclose(computed, expected, rtol=3e-7, atol=3e-7 * abs(offset))


@pytest.mark.every_backend
@pytest.mark.parametrize("mode", STREAM_MODES)
def test_bounds_hold_to_the_last_bit(mode):
    # Neither is a number of float32: the nearest ones are above 0.1 and 0.8.
    computed = values(
        mode, lambda stream, then: stream.uniform(Draw.VALUES, (10_000,), then=then), 0.0, 1.0, (0.1, 0.8)
    )
    assert float(computed.min()) == float(np.float32(0.1)) > 0.1
    assert float(computed.max()) == float(np.nextafter(np.float32(0.8), np.float32(0))) < 0.8


@pytest.mark.parametrize("mode", STREAM_MODES)
def test_bounds_that_are_numbers_of_the_dtype_are_values(mode):
    bounds = (0.25, 0.75)
    computed = values(mode, lambda stream, then: stream.uniform(Draw.VALUES, (100,), then=then), 0.0, 1.0, bounds)
    assert (float(computed.min()), float(computed.max())) == bounds
