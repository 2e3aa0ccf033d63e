"""Biases whose softplus is the time step of a state-space layer."""

import hashlib

import numpy as np
import pytest
import scipy
from modes import to_numpy

from keras_initx import TimeStepBias

# A right sample fails a test of a distribution with this chance. The seeds are fixed, so it fails always or never.
ERROR_RATE = 1e-3


def time_steps(**arguments):
    bias = to_numpy(TimeStepBias(seed=0, **arguments)((40_000,))).astype("float64")
    return np.logaddexp(0, bias)


@pytest.mark.parametrize(("shortest", "longest"), [(0.001, 0.1), (1e-6, 100), (0.5, 0.6)])
def test_time_steps_are_uniform_on_a_logarithmic_scale(shortest, longest):
    steps = time_steps(min_step=shortest, max_step=longest, floor=1e-6)
    uniform = scipy.stats.uniform(np.log(shortest), np.log(longest / shortest))
    assert scipy.stats.kstest(np.log(steps), uniform.cdf).pvalue > ERROR_RATE


def test_shorter_time_steps_than_the_floor_become_the_floor():
    steps = time_steps(min_step=1e-5, max_step=0.1, floor=1e-3)
    np.testing.assert_allclose(steps.min(), 1e-3, rtol=1e-5)
    assert np.isclose(steps, 1e-3, rtol=1e-5).mean() == pytest.approx(0.5, abs=0.02)


def test_it_is_that_of_mamba():
    """The formula of `mamba_ssm`, for the quantiles."""
    quantiles = TimeStepBias(0.001, max_step=0.1).law(()).quantiles
    dt = np.exp(np.linspace(0, 1, len(quantiles.knots)) * np.log(100) + np.log(0.001))
    expected = dt + np.log(-np.expm1(-dt))
    np.testing.assert_allclose(quantiles.lowest + quantiles.unit * quantiles.knots, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("shortest", "longest", "digest"),
    [(0.001, 0.1, "47d6868634fcc6f7"), (1e-6, 100.0, "860cada3191c4f1e"), (0.5, 0.6, "fe6bf1256c3192d1")],
)
def test_bits_of_the_table_are_frozen(shortest, longest, digest):
    quantiles = TimeStepBias(shortest, max_step=longest).law(()).quantiles
    assert (np.diff(quantiles.knots) > 0).all()
    text = f"{quantiles.lowest.hex()} {quantiles.highest.hex()}".encode()
    assert hashlib.sha256(quantiles.knots.tobytes() + text).hexdigest()[:16] == digest


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"min_step": 0.1}, "`min_step` must be at least 1e-06 and below `max_step`"),
        ({"min_step": 1e-7}, "`min_step` must be at least 1e-06"),
        ({"max_step": 101}, "`max_step`, which must be at most 100"),
        ({"floor": 0.1}, "`floor` must be below `max_step`"),
        ({"floor": -1}, "`floor` must be a positive number"),
    ],
)
def test_refuses_bad_time_steps(arguments, message):
    with pytest.raises(ValueError, match=message):
        TimeStepBias(**arguments)
