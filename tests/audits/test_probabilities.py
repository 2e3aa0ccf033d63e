"""Probabilities of tests, of numbers alone."""

import math

import pytest
import scipy

from keras_initx.audits import _probabilities
from keras_initx.audits._probabilities import holm


def test_holm():
    # Each is multiplied by the number of those that are not smaller, and is no smaller than the one before.
    assert holm([0.04, 0.01, math.nan, 0.03]) == pytest.approx([0.06, 0.03, math.nan, 0.06], nan_ok=True)
    assert holm([]) == []


def test_holm_of_some_of_the_tests():
    assert holm([0.02, 0.01], number=5) == pytest.approx([0.08, 0.05])


@pytest.mark.parametrize("distance", [0.01, 0.03, 0.05])
def test_a_distance_of_distributions_has_the_probability_of_kolmogorov(distance):
    assert _probabilities.kolmogorov(distance, 1000) == pytest.approx(scipy.stats.kstwo.sf(distance, 1000), rel=0.05)


@pytest.mark.parametrize("ratio", [0.7, 1.05, 1.3])
def test_a_ratio_of_variances_has_the_probability_on_both_sides_of_1(ratio):
    law = scipy.stats.f(300, 200)
    expected = 2 * min(law.cdf(ratio), law.sf(ratio))
    assert _probabilities.same_variance(ratio, 300, 200) == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("degrees", [5, 50])
@pytest.mark.parametrize("t", [-3.0, 1.0])
def test_a_t_has_the_probability_of_one_as_far_from_0(t, degrees):
    assert _probabilities.student(t, degrees) == pytest.approx(2 * scipy.stats.t.sf(abs(t), degrees), rel=0.05)


@pytest.mark.parametrize("count", [0, 3, 20])
def test_a_count_has_the_tail_of_poisson(count):
    assert _probabilities.poisson_tail(count, 4.0) == pytest.approx(scipy.stats.poisson.sf(count - 1, 4.0))


def test_two_counts_of_one_rate_have_the_probability_of_a_binomial_test():
    expected = scipy.stats.binomtest(12, 17, 0.5).pvalue
    assert _probabilities.same_rate(5, 100, 12, 100) == pytest.approx(expected)
