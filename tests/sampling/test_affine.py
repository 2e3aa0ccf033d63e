import keras
import numpy as np
import pytest
from modes import BACKEND, STREAM_MODES, run

from keras_initx.backends import backend
from keras_initx.sampling import Draw, Stream, affine

pytestmark = pytest.mark.usefixtures("optimized")

CASES = [(0.3, 0.7), (-1, 1e-3), (1e5, 0.01), (0, 0.1), (0.1, 1.6)]
# A compiler that rounds one of them in another way rounds the others so too.
TRACED = CASES if BACKEND == "torch" else CASES[:1]


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
        return keras.ops.stack([Stream((5, 0)).normal(Draw.VALUES, (10_000,), then=affine(*case)) for case in TRACED])

    for (offset, factor), computed in zip(TRACED, run(mode, all_computed), strict=True):
        expected = (standard + np.float32(offset / factor)) * np.float32(factor)
        np.testing.assert_array_equal(computed, expected, err_msg=f"{offset}, {factor}")


@pytest.mark.every_backend
@pytest.mark.parametrize("mode", STREAM_MODES)
def test_bounds_hold_to_the_last_bit(mode):
    # Neither is a number of float32: the nearest ones are above 0.1 and 0.8.
    computed = values(
        mode, lambda stream, then: stream.uniform(Draw.VALUES, (10_000,), then=then), 0.0, 1.0, (0.1, 0.8)
    )
    assert float(computed.min()) == float(np.float32(0.1)) > 0.1
    assert float(computed.max()) == float(np.nextafter(np.float32(0.8), np.float32(0))) < 0.8
