"""What a plan of a model shows as the standard deviation that a weight is to have."""

import keras
import pytest
from cases import for_each, label
from modes import to_numpy

from keras_initx import (
    FanInNormal,
    HeUniform,
    LecunNormal,
    Orthogonal,
    RandomNormal,
    RandomUniform,
    ReLUBias,
    Scaled,
    Sparse,
    Spectral,
    TruncatedNormal,
    VarianceScaling,
)

DRAWN = (
    (RandomNormal(1, 0.3, seed=2), (200, 200)),
    (TruncatedNormal(1, 0.3, seed=3, lower=-1), (200, 200)),
    (HeUniform(seed=4), (3, 3, 40, 80)),
    (LecunNormal(seed=6, input_axes=[0, 1]), (3, 3, 4000, 1)),
    (VarianceScaling(3, "fan_geo_avg", "uniform", 7), (50, 800)),
    (Spectral(seed=9), (100, 400)),
    (Sparse(sparsity=0.75, stddev=0.3, seed=12), (64, 2000)),
    (Sparse(seed=13), (4, 8000)),
    (Orthogonal(3, 15, blocks=2), (90, 320)),
    (Orthogonal("relu", 16, method="gaussian"), (160, 90)),
    (Orthogonal(3, 17, singular_values=[3, 1]), (2, 4000)),
    (Orthogonal(seed=18, singular_values=100), (80, 160)),
    (Scaled(RandomNormal(1, 0.3, seed=20), -2), (200, 200)),
    (Scaled(RandomUniform(-1, 2, seed=21), -2), (200, 200)),
)


@for_each(DRAWN)
def test_is_that_of_the_values(case):
    initializer, shape = case
    assert to_numpy(initializer(shape)).std() == pytest.approx(initializer.expected_std(shape), rel=0.02)


@pytest.mark.parametrize(
    ("initializer", "shape", "expected"),
    [
        (FanInNormal(), (0, 4), 1),
        (Sparse(), (0, 8), 0),
        (Orthogonal(singular_values=100), (0, 16), 1 / 4),
    ],
    ids=label,
)
def test_without_values_it_is_a_number_too(initializer, shape, expected):
    assert initializer.expected_std(shape) == expected


def test_is_unknown_for_constants_and_initializers_of_users():
    class Own(keras.initializers.Initializer):
        def __call__(self, shape, dtype=None):
            return keras.ops.ones(shape, dtype)

    assert ReLUBias().expected_std((7,)) is None
    assert Scaled(Own(), -2).expected_std((7,)) is None


def test_is_that_of_keras_initializers_within_others():
    assert Scaled(keras.initializers.RandomNormal(), -2).expected_std((7,)) == 0.1
