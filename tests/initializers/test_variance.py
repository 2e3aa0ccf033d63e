"""The variance family: modes, distributions and axes."""

import math

import keras
import numpy as np
import pytest
import scipy
from modes import to_numpy
from stacks import assert_distribution

from keras_initx import HeNormal, VarianceScaling

layers = keras.layers
TRUNCATED = scipy.stats.truncnorm(-2, 2)


@pytest.mark.parametrize(
    ("mode", "n", "distribution", "expected"),
    [
        ("fan_in", 100, "truncated_normal", TRUNCATED),
        ("fan_out", 225, "normal", TRUNCATED),
        ("fan_avg", 162.5, "untruncated_normal", scipy.stats.norm),
        ("fan_geo_avg", 150, "uniform", scipy.stats.uniform(-1, 2)),
    ],
)
def test_each_mode_and_distribution(mode, n, distribution, expected):
    values = to_numpy(VarianceScaling(3, mode, distribution, seed=1)((100, 225)))
    assert_distribution(values, expected, math.sqrt(3 / n))


def test_n_is_at_least_one():
    assert np.isfinite(to_numpy(VarianceScaling(seed=0)((0, 4)))).all()
    assert np.abs(to_numpy(VarianceScaling(distribution="uniform", seed=0)(()))) < math.sqrt(3)


def built_kernel(make, shape):
    layer = make()
    layer.build((None, *shape))
    return to_numpy(layer.weights[0])


def test_axes_given_to_einsum_dense_are_kept():
    told = HeNormal(seed=0, input_axes=[0, 1], output_axes=[2])
    kernel = built_kernel(
        lambda: layers.EinsumDense("ab,bcd->acd", (20, 30), kernel_initializer=told),
        (500,),
    )
    np.testing.assert_array_equal(kernel, to_numpy(told((500, 20, 30))))


def test_layers_take_it_for_keras_own():
    assert issubclass(VarianceScaling, keras.initializers.VarianceScaling)
    assert isinstance(HeNormal(), keras.initializers.VarianceScaling)


def test_a_tuple_of_axes_equals_the_list_that_a_config_makes_of_it():
    given = HeNormal(seed=0, input_axes=(0, 1))
    assert given.input_axes == (0, 1)
    assert given.get_config()["input_axes"] == [0, 1]
    assert HeNormal.from_config(given.get_config()) == given
