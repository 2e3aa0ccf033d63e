"""What a plan of a model shows as the standard deviation that a weight is to have."""

import math

import keras
import pytest
from cases import label

from keras_initx import (
    FanInNormal,
    HeUniform,
    Orthogonal,
    RandomNormal,
    RandomUniform,
    ReLUBias,
    Scaled,
    Sparse,
    Spectral,
    TruncatedNormal,
)

EXPECTED = (
    (RandomUniform(-1, 2), (7,), 3 / math.sqrt(12)),
    (RandomNormal(1, 0.3), (7,), 0.3),
    (TruncatedNormal(1, 0.3, lower=-1), (7,), 0.3),
    (HeUniform(), (3, 3, 4, 8), math.sqrt(2 / 36)),
    (FanInNormal(), (0, 4), 1),
    (Spectral(3), (64, 16), 3 / 16),
    (Spectral(), (100, 400), 1 / 10),
    (Spectral(), (0, 0), 1),
    (Sparse(4), (64, 8), 0.5 * math.sqrt(4 / 64)),
    (Sparse(4, gain=3), (64, 8), 1.5 * math.sqrt(4 / 64)),
    (Sparse(4, stddev=0.3), (64, 8), 0.3 * math.sqrt(4 / 64)),
    (Sparse(), (4, 8), 0.5),
    (Sparse(), (0, 8), 0),
    (Orthogonal(), (16, 9), 1 / 4),
    (Orthogonal(3, blocks=2), (9, 32), 3 / 4),
    (Orthogonal(3, singular_values=[3, 1]), (2, 16), 3 * math.sqrt(5 / 16)),
    (Orthogonal(singular_values=100), (3, 16), 1 / 4),
    (Orthogonal(singular_values=100), (0, 16), 1 / 4),
    (Orthogonal(), (0, 0), 1),
    (Scaled(RandomNormal(1, 0.3), -2), (7,), 0.6),
    (Scaled(keras.initializers.RandomNormal(), -2), (7,), None),
    (ReLUBias(), (7,), None),
)


@pytest.mark.once
@pytest.mark.parametrize(("initializer", "shape", "expected"), EXPECTED, ids=label)
def test_is_that_of_the_formula(initializer, shape, expected):
    found = initializer.expected_std(shape)
    assert found == (expected if expected is None else pytest.approx(expected))
