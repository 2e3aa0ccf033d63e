"""Probabilities of tests, of numbers alone."""

import math

import pytest

from keras_initx.audits import holm


def test_holm():
    # Each is multiplied by the number of those that are not smaller, and is no smaller than the one before.
    assert holm([0.04, 0.01, math.nan, 0.03]) == pytest.approx([0.06, 0.03, math.nan, 0.06], nan_ok=True)
    assert holm([]) == []


def test_holm_of_some_of_the_tests():
    assert holm([0.02, 0.01], number=5) == pytest.approx([0.08, 0.05])
