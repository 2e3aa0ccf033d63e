"""The example of the README: forty layers and the digits that they do not learn to read."""

import numpy as np
import pytest

import keras_initx
from keras_initx import demo


def test_the_digits_are_standardized():
    x, y = demo.digits()
    assert x.shape == (1797, 64)
    np.testing.assert_allclose([x.mean(), x.std()], [0, 1], atol=1e-12)
    assert np.unique(y).tolist() == list(range(10))


def test_the_variance_is_halved_in_each_layer():
    x, _ = demo.digits()
    model = demo.forty_layers()
    # The second moments of ten layers fall by 2**10, times the spread of draws of this depth.
    found = keras_initx.diagnose(model, x)
    first, last = (found.rows[n].after for n in (9, 19))
    fall = (first.std**2 + first.mean**2) / (last.std**2 + last.mean**2)
    assert np.log2(fall) == pytest.approx(10, abs=5)


def test_each_problem_of_the_network_is_found_and_gone_after_the_remedy():
    x, y = demo.digits()
    model = demo.forty_layers()
    report = keras_initx.diagnose(model, x, y)
    assert report.problems[0].problem == "vanishing"
    keras_initx.initialize(model, report, seed=0)
    assert keras_initx.diagnose(model, x, y).ok
