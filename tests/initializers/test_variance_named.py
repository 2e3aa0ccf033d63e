"""The named members of the variance family."""

import math

import keras
import pytest
import scipy
from cases import for_each
from modes import needs_axes, to_numpy
from stacks import assert_distribution

import keras_initx
from keras_initx import HeNormal

TRUNCATED = scipy.stats.truncnorm(-2, 2)
# The variance times fan-in and fan-out, for which distribution.
NAMED = {
    "FanInNormal": (lambda fan_in, fan_out: 1 / fan_in, scipy.stats.norm),
    "GlorotNormal": (lambda fan_in, fan_out: 2 / (fan_in + fan_out), TRUNCATED),
    "GlorotUniform": (lambda fan_in, fan_out: 2 / (fan_in + fan_out), scipy.stats.uniform(-1, 2)),
    "HeNormal": (lambda fan_in, fan_out: 2 / fan_in, TRUNCATED),
    "HeUniform": (lambda fan_in, fan_out: 2 / fan_in, scipy.stats.uniform(-1, 2)),
    "LecunNormal": (lambda fan_in, fan_out: 1 / fan_in, TRUNCATED),
    "LecunUniform": (lambda fan_in, fan_out: 1 / fan_in, scipy.stats.uniform(-1, 2)),
}
KERAS_NAMED = sorted(set(NAMED) - {"FanInNormal"})


@for_each(NAMED)
def test_named_classes_follow_their_formula(name):
    variance, distribution = NAMED[name]
    values = to_numpy(getattr(keras_initx, name)(seed=0)((100, 140)))
    assert_distribution(values, distribution, math.sqrt(variance(100, 140)))


@needs_axes
@for_each(["VarianceScaling", *KERAS_NAMED])
def test_config_and_attributes_are_those_of_keras(name):
    ours, theirs = getattr(keras_initx, name)(seed=3), getattr(keras.initializers, name)(seed=3)
    assert ours.get_config() == theirs.get_config()
    attributes = ("scale", "mode", "distribution", "seed", "input_axes", "output_axes")
    assert [getattr(ours, a) for a in attributes] == [getattr(theirs, a) for a in attributes]


def test_an_error_names_the_class():
    with pytest.raises(TypeError, match=r"^HeNormal: got an unexpected keyword argument 'scale'; use `VarianceScaling"):
        HeNormal(scale=2.0)
