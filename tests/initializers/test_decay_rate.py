"""Logarithms of the rates at which the states of state-space and gated delta layers decay."""

import hashlib

import keras
import numpy as np
import pytest
import scipy
from modes import to_numpy

from keras_initx import DecayRate

# A right sample fails a test of a distribution with this chance. The seeds are fixed, so it fails always or never.
ERROR_RATE = 1e-3


@pytest.mark.parametrize(("lowest", "highest"), [(1, 16), (0, 16), (1e-6, 1e6), (3, 3.001)])
def test_rates_are_uniform(lowest, highest):
    logarithms = to_numpy(DecayRate(lowest, max_rate=highest, seed=0)((40_000,))).astype("float64")
    uniform = scipy.stats.uniform(lowest, highest - lowest)
    assert scipy.stats.kstest(np.exp(logarithms), uniform.cdf).pvalue > ERROR_RATE


def test_it_is_that_of_mamba_2():
    """The formula of `mamba_ssm`, for the quantiles."""
    quantiles = DecayRate().law(()).quantiles
    expected = np.log(np.linspace(1, 16, len(quantiles.knots)))
    np.testing.assert_allclose(quantiles.lowest + quantiles.unit * quantiles.knots, expected, atol=1e-6)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_a_rate_of_0_is_never_drawn(dtype):
    """In 16 bits, a uniform number is 0 once in some hundred draws, and its logarithm -inf."""
    logarithms = DecayRate(0, seed=0)((1_000_000,), dtype)
    assert float(keras.ops.min(keras.ops.cast(logarithms, "float32"))) > np.log(16 / 2**18)


@pytest.mark.parametrize(
    ("lowest", "highest", "digest"),
    [
        (1, 16, "cdde553bd6092358"),
        (0, 16, "61e1511e6e9bdd5f"),
        (1e-6, 1e6, "333b9a3e0445afa8"),
        (3, 3.001, "60f3070e779cb5f2"),
    ],
)
def test_bits_of_the_table_are_frozen(lowest, highest, digest):
    quantiles = DecayRate(lowest, max_rate=highest).law(()).quantiles
    assert (np.diff(quantiles.knots) > 0).all()
    text = f"{quantiles.lowest.hex()} {quantiles.highest.hex()}".encode()
    assert hashlib.sha256(quantiles.knots.tobytes() + text).hexdigest()[:16] == digest


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"min_rate": 16}, "`min_rate` must be 0 or at least 1e-06, and below `max_rate`"),
        ({"min_rate": 1e-7}, "`min_rate` must be 0 or at least 1e-06"),
        ({"min_rate": -1}, "`min_rate` must be 0 or at least 1e-06"),
        ({"max_rate": 1e7}, "`max_rate`, which must be at most 1e\\+06"),
    ],
)
def test_refuses_bad_rates(arguments, message):
    with pytest.raises(ValueError, match=message):
        DecayRate(**arguments)
