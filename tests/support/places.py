"""Values made on a device beside those of the host."""

import keras
import numpy as np
from modes import to_numpy


def on_host(monkeypatch, function):
    """Return what `function` gives where the host makes all values."""
    with monkeypatch.context() as patch:
        patch.setenv("KERAS_INITX_SAMPLE_ON", "host")
        return function()


def assert_same(monkeypatch, initializer, shape, dtype="float32", exact=True):
    """Check that the values made here are those of the host."""
    values = initializer(shape, dtype)
    expected = on_host(monkeypatch, lambda: initializer(shape, dtype))
    assert (tuple(values.shape), values.dtype) == (tuple(expected.shape), expected.dtype)
    if dtype.endswith("float16"):  # TensorFlow has no array of a scalar in bfloat16
        values, expected = keras.ops.cast(values, "float32"), keras.ops.cast(expected, "float32")
    tolerance = 0 if exact else {"float16": 1e-3, "bfloat16": 1e-2}.get(dtype, 1e-5)
    np.testing.assert_allclose(
        to_numpy(values), to_numpy(expected), rtol=0, atol=tolerance, err_msg=f"{initializer}, {shape}, {dtype}"
    )
