"""Probabilities of tests, of numbers alone."""

import json
import math
import subprocess
import sys

import pytest
import scipy
from modes import until_keras

from keras_initx.tools.audit import _probabilities
from keras_initx.tools.audit._probabilities import holm


def test_holm():
    # Each is multiplied by the number of those that are not smaller, and is no smaller than the one before.
    assert holm([0.04, 0.01, math.nan, 0.03]) == pytest.approx([0.06, 0.03, math.nan, 0.06], nan_ok=True)
    assert holm([]) == []


def test_holm_of_some_of_the_tests():
    assert holm([0.02, 0.01], number=5) == pytest.approx([0.08, 0.05])


@pytest.mark.parametrize("distance", [0.01, 0.03, 0.05])
def test_a_distance_of_distributions_has_the_probability_of_kolmogorov(distance):
    assert _probabilities.kolmogorov_p_value(distance, 1000) == pytest.approx(
        scipy.stats.kstwo.sf(distance, 1000), rel=0.05
    )


@pytest.mark.parametrize("degrees", [(300, 200), (2, 2), (5, 40), (1000, 7)])
@pytest.mark.parametrize("ratio", [0.02, 0.7, 1.05, 1.3, 50])
def test_a_ratio_of_variances_has_the_probability_on_both_sides_of_1(ratio, degrees):
    law = scipy.stats.f(*degrees)
    expected = 2 * (law.sf(ratio) if ratio > 1 else law.cdf(ratio))
    assert _probabilities.variance_ratio_p_value(ratio, *degrees) == pytest.approx(min(1, expected))


@pytest.mark.parametrize("endless", [math.inf, 1e12])
def test_a_variance_may_be_exact(endless):
    law = scipy.stats.chi2(20)
    assert _probabilities.variance_ratio_p_value(2.0, 20, endless) == pytest.approx(2 * law.sf(40), rel=1e-6)
    assert _probabilities.variance_ratio_p_value(0.5, 20, endless) == pytest.approx(2 * law.cdf(10), rel=1e-6)
    assert _probabilities.variance_ratio_p_value(2.0, endless, 20) == pytest.approx(2 * law.cdf(10), rel=1e-6)
    assert _probabilities.variance_ratio_p_value(3.0, 200, endless) == pytest.approx(1.4110215e-41)


@pytest.mark.parametrize("degrees", [1, 5, 50, 1e12])
@pytest.mark.parametrize("t", [-3.0, 0.0, 1.0, 30.0])
def test_a_t_has_the_probability_of_one_as_far_from_0(t, degrees):
    assert _probabilities.student_p_value(t, degrees) == pytest.approx(2 * scipy.stats.t.sf(abs(t), degrees))


@pytest.mark.parametrize("count", [0, 3, 20, 200])
def test_a_count_has_the_tail_of_poisson(count):
    assert _probabilities.poisson_tail(count, 4.0) == pytest.approx(scipy.stats.poisson.sf(count - 1, 4.0))
    assert _probabilities.poisson_tail(count, 0.0) == (count == 0)


@pytest.mark.parametrize(("first", "second"), [(5, 12), (0, 1), (300, 700), (40_000, 41_000)])
def test_two_counts_of_one_rate_have_the_probability_of_a_binomial_test(first, second):
    expected = scipy.stats.binomtest(second, first + second, 0.5).pvalue
    assert _probabilities.rate_p_value(first, 10**6, second, 10**6) == pytest.approx(expected)


def test_of_counts_in_samples_of_different_sizes_the_nearer_end_counts_twice():
    expected = 2 * scipy.stats.binom(20, 0.75).cdf(10)
    assert _probabilities.rate_p_value(10, 100, 10, 300) == pytest.approx(expected)
    assert _probabilities.rate_p_value(0, 100, 0, 300) == 1


@pytest.mark.parametrize(
    ("count", "of", "other", "of_other"), [(60, 100, 590, 1000), (3, 40, 30, 40), (0, 9, 9, 9), (5, 5, 5, 5)]
)
def test_few_of_a_kind_have_the_probability_of_fishers_test(count, of, other, of_other):
    table = [[count, of - count], [other, of_other - other]]
    expected = scipy.stats.fisher_exact(table, alternative="less").pvalue
    assert _probabilities.fisher_p_value(count, of, other, of_other) == pytest.approx(expected)


USE = """
import json, sys
sys.modules.update(dict.fromkeys(["matplotlib", "pandas", "sklearn"]))  # Keras imports what there is
import keras_initx
import keras

def loaded():
    return [name for name in ("scipy.special", "scipy.stats") if name in sys.modules]

def build():
    return keras.Sequential([keras.Input((64,)), keras.layers.Dense(64)])

found = {"imported": loaded()}
keras_initx.initialize(build(), {"*kernel": "initx.he_normal"}, seed=0)
found["initialized"] = loaded()
assert keras_initx.audit(build()).ok and keras_initx.audit(build(), like=build).ok
found["audited"] = loaded()
print(json.dumps(found))
"""


@pytest.mark.rare
@until_keras("3.16", "import these parts of SciPy themselves")
def test_scipy_is_imported_by_the_first_audit_and_its_statistics_never():
    result = subprocess.run([sys.executable, "-c", USE], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout) == {"imported": [], "initialized": [], "audited": ["scipy.special"]}
