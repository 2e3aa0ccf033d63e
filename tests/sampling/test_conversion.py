"""Tables of quantiles and logarithms: what they are, and that their bits are frozen."""

import hashlib
import math

import numpy as np
import pytest
import scipy

from keras_initx.sampling import portable_log
from keras_initx.sampling._conversion import SIZE, normal_table


def test_entries_are_scaled_quantiles():
    quantiles = scipy.stats.norm.ppf((np.arange(SIZE) + 0.5) / SIZE)
    scaled = quantiles / math.sqrt(2 * np.mean(quantiles**2))
    np.testing.assert_allclose(normal_table("float64"), scaled, rtol=1e-13)


def test_moments_of_a_sum_of_two_entries():
    table = normal_table("float64")
    assert math.fsum(table) == 0
    assert 2 * np.mean(table**2) == pytest.approx(1, abs=1e-12)
    excess_kurtosis = np.mean(table**4) / np.mean(table**2) ** 2 / 2 - 1.5
    assert abs(excess_kurtosis) < 5e-4


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        ("float32", "dfdb399543b1ac6e4d1d912ee78c6c4a887fba09462a409b98081dfbc7543be3"),
        ("float64", "d4a69c755066d237d3cb18ec2d7d0022d5999d49c21cb211cac0584fd085b8c1"),
    ],
)
def test_bits_of_the_table_are_frozen(dtype, expected):
    assert hashlib.sha256(normal_table(dtype).tobytes()).hexdigest() == expected


def test_the_table_cannot_be_written_to():
    with pytest.raises(ValueError, match="read-only"):
        normal_table("float32")[0] = 0


def test_is_the_natural_logarithm():
    x = np.concatenate([np.geomspace(5e-324, 1.7e308, 10_001), np.arange(1.0, 10_000)])
    np.testing.assert_allclose(portable_log(x), np.log(x), rtol=1e-15, atol=2e-16)


def test_bits_are_frozen():
    assert [float(value).hex() for value in portable_log(np.array([0.1, 3.0, 1e100]))] == [
        "-0x1.26bb1bbb55515p+1",
        "0x1.193ea7aad030ap+0",
        "0x1.cc845b54b54f1p+7",
    ]
