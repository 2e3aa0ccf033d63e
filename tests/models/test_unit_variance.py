"""The search for the factor of a kernel, on functions that stand for a layer."""

import numpy as np
import pytest

from keras_initx.models._lsuv import unit_variance


X = np.random.default_rng(0).normal(size=(200, 5))


def search(outputs, *, power=2.0, tolerance=1e-6, max_steps=10):
    """Return the result, and the factors that were tried."""
    factors = []
    found = unit_variance(lambda factor: factors.append(factor) or outputs(factor), power, tolerance, max_steps)
    return found, factors


def test_an_output_proportional_to_its_kernel_takes_one_step():
    found, factors = search(lambda factor: 3 * factor * X)
    assert (found.factor * 3 * X).var() == pytest.approx(1)
    assert (found.steps, found.reason) == (1, "")
    assert factors == [1.0, found.factor]


def test_an_added_term_takes_secant_steps():
    found, factors = search(lambda factor: 0.1 * X[:, :4] + factor * X[:, 1:])
    assert (0.1 * X[:, :4] + found.factor * X[:, 1:]).var() == pytest.approx(1, abs=1e-6)
    assert found.steps == len(factors) - 1 > 1


def test_a_large_added_term_takes_few_secant_steps():
    # 79 % of the variance that is asked for. Steps that take the output for proportional to its kernel would be many.
    found, _ = search(lambda factor: 0.89 * X[:, :4] + factor * X[:, 1:], max_steps=6)
    assert abs((0.89 * X[:, :4] + found.factor * X[:, 1:]).var() - 1) < 1e-6


def test_the_closest_factor_is_set_last():
    # The second factor leads away from a variance of 1.
    found, factors = search(lambda factor: X * (2.0 if factor == 1 else 9.0), max_steps=1)
    assert (found.factor, factors[-1], len(factors)) == (1.0, 1.0, 3)


@pytest.mark.parametrize(
    "outputs",
    [
        lambda factor: 1e-15 * factor * X,
        lambda factor: 1e15 * factor * X,
        lambda factor: factor * (3 + 3e-4 * X),
        lambda factor: 2 * factor**0.06 * X,
    ],
    ids=["small", "large", "little spread", "slow"],
)
def test_a_factor_is_found_wherever_there_is_one(outputs):
    found, _ = search(outputs)
    assert outputs(found.factor).var() == pytest.approx(1, abs=1e-5)
    assert not found.reason


@pytest.mark.parametrize(
    ("outputs", "reason"),
    [
        (lambda factor: None, "not floating-point"),
        (lambda factor: np.where(X > 2, np.nan, X), "not finite"),
        (lambda factor: 0 * X, "is zero"),
        (lambda factor: X[:0], "is zero"),
        (lambda factor: 0 * X + 3, "the same for all examples"),
        (lambda factor: 2 * X, "does not follow its kernel"),
        (lambda factor: 2 * X / factor, "does not follow its kernel"),
        (lambda factor: 1e-60 * X, "does not follow its kernel"),
        # A factor beyond the range of float32.
        (lambda factor: 1e60 * factor * X, "does not follow its kernel"),
        (lambda factor: 1e-60 * factor * X, "does not follow its kernel"),
        (lambda factor: 3 + 3e-6 * factor * X, "the same for all examples"),
        (lambda factor: 2 * factor**0.04 * X, "does not follow its kernel"),
        (lambda factor: 2 * X if factor == 1 else 0 * X, "vanishes or overflows"),
        (lambda factor: 2 * X if factor == 1 else X / 0.0, "vanishes or overflows"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_why_no_factor_is_found(outputs, reason):
    found, _ = search(outputs)
    assert (found.factor, found.steps) == (1.0, 0)
    assert reason in found.reason
