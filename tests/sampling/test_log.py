import numpy as np

from keras_initx.sampling import portable_log


def test_is_the_natural_logarithm():
    x = np.concatenate([np.geomspace(5e-324, 1.7e308, 10_001), np.arange(1.0, 10_000)])
    np.testing.assert_allclose(portable_log(x), np.log(x), rtol=1e-15, atol=2e-16)


def test_bits_are_frozen():
    assert [float(value).hex() for value in portable_log(np.array([0.1, 3.0, 1e100]))] == [
        "-0x1.26bb1bbb55515p+1",
        "0x1.193ea7aad030ap+0",
        "0x1.cc845b54b54f1p+7",
    ]
