"""Draws have the distributions that they are asked for."""

import functools
import hashlib
import random

import keras
import numpy as np
import pytest
import scipy
from cases import for_each, label
from modes import MODES, STREAM_MODES, run, to_numpy

import keras_initx
from keras_initx import RandomNormal, RandomUniform, SmallNormal, Triangular, TruncatedNormal

# The seeds are fixed; with a random one each of these tests would fail once in 10,000.
P_VALUE = 1e-4
MILLIONS = (4_000_000,)


def sha256(values):
    return hashlib.sha256(values.tobytes()).hexdigest()


def assert_distribution(values, distribution):
    assert scipy.stats.kstest(values.astype("float64"), distribution.cdf).pvalue > P_VALUE


@pytest.mark.parametrize(
    ("initializer", "distribution"),
    [
        (RandomNormal(3, 0.2, seed=1), scipy.stats.norm(3, 0.2)),
        (SmallNormal(seed=2), scipy.stats.norm(0, 0.01)),
        (RandomUniform(2, 7, seed=4), scipy.stats.uniform(2, 5)),
        (Triangular(0.7, seed=5), scipy.stats.triang(0.5, -0.7, 1.4)),
    ],
    ids=label,
)
def test_distributions(initializer, distribution):
    assert_distribution(to_numpy(initializer((300_000,))), distribution)


def test_a_triangular_distribution_is_that_of_the_sum_of_two_uniform_draws():
    one, other = (to_numpy(RandomUniform(-0.1, 0.1, seed=seed)((300_000,))).astype("float64") for seed in (1, 2))
    both = to_numpy(Triangular(0.2, seed=3)((300_000,))).astype("float64")
    assert scipy.stats.ks_2samp(one + other, both).pvalue > P_VALUE
    assert both.std() == pytest.approx((one + other).std(), rel=0.01)


@for_each(["float16", "bfloat16", "float32"])
def test_a_triangular_distribution_ends_at_its_limit_in_every_dtype(dtype):
    # Of which the next number of 16 bits is larger.
    limit = 0.1003
    values = to_numpy(keras.ops.cast(Triangular(limit, seed=0)((1000, 1000), dtype), "float32"))
    assert 0.99 * limit < np.abs(values).max() <= limit


@pytest.mark.parametrize(
    ("mean", "stddev", "bounds"),
    [
        (0, 0.05, (-2, 2)),
        pytest.param(0, 0.05, (-20, 30), marks=pytest.mark.rare),
        (-1.5, 0.3, (-0.5, 4)),
        pytest.param(-1.5, 0.3, (5, 9), marks=pytest.mark.rare),
    ],
    ids=str,
)
def test_a_truncated_normal_delivers_what_is_asked_for(mean, stddev, bounds):
    lower, upper = bounds
    values = to_numpy(TruncatedNormal(mean, stddev, 0, lower=lower, upper=upper)((300_000,))).astype("float64")
    cut = scipy.stats.truncnorm(lower, upper)
    assert values.std() == pytest.approx(stddev, rel=0.01)
    assert_distribution((values - mean) / stddev * cut.std(), cut)


DIGESTS = {
    "default": ({}, "a3744ff8cd21aa6a5b817639ddafc827bc767f11183a5abc57f635fa643c432b"),
    "other": (
        {"mean": 0.3, "stddev": 0.7, "lower": -1.0, "upper": 3.5},
        "63d1bf170564b39d771e9aa67eae25d68a0081bc4eead2c7f84e5b7030ed82d4",
    ),
}


@pytest.mark.rare
@pytest.mark.parametrize(("mode", "name"), [("eager", "default"), (MODES[-1], "other")])
def test_four_million_draws_of_a_truncated_normal(mode, name):
    kwargs, digest = DIGESTS[name]
    initializer = TruncatedNormal(**kwargs, seed=0)
    values = run(mode, lambda: initializer(MILLIONS))
    assert sha256(values) == digest
    cut = scipy.stats.truncnorm(initializer.lower, initializer.upper)
    scale = initializer.stddev / cut.std()
    # The bounds are where SciPy puts them, to seven digits.
    assert values.min() > initializer.mean + scale * initializer.lower - 1e-7 * scale
    assert values.max() < initializer.mean + scale * initializer.upper + 1e-7 * scale
    assert values.astype("float64").std() == pytest.approx(initializer.stddev, rel=0.001)


@pytest.mark.parametrize("mode", STREAM_MODES)
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_no_uniform_value_is_out_of_bounds(mode, dtype):
    for minval, maxval in ((-0.05, 0.05), (0.1, 0.702), (-1.003, 1.003), (1, 1.0001)):
        initializer = RandomUniform(minval, maxval, seed=0)
        values = run(mode, functools.partial(initializer, (100_000,), dtype)).astype("float64")
        assert minval <= values.min()
        assert values.max() <= maxval


def test_bounds_far_beyond_all_draws_need_no_number_of_16_bits():
    values = to_numpy(TruncatedNormal(stddev=0.5, lower=-1e6, upper=1e300, seed=0)((3000,), "float16"))
    assert values.astype("float64").std() == pytest.approx(0.5, rel=0.05)


@pytest.mark.parametrize("mode", STREAM_MODES)
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_no_truncated_normal_value_is_out_of_bounds(mode, dtype):
    for lower, upper in ((-0.3, 0.4), (-2, 2), (1.001, 1.02)):
        cut = scipy.stats.truncnorm(lower, upper)
        initializer = TruncatedNormal(0, cut.std(), 0, lower=lower, upper=upper)  # of scale 1
        values = run(mode, functools.partial(initializer, (100_000,), dtype)).astype("float64")
        # The bounds are where SciPy puts them, to five digits.
        assert lower - 2e-5 < values.min()
        assert values.max() < upper + 2e-5


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize(
    ("initializer", "distribution"),
    [
        (RandomUniform(-1, 1, seed=0), scipy.stats.uniform(-1, 2)),
        (RandomNormal(0.5, seed=1, stddev=2), scipy.stats.norm(0.5, 2)),
        (TruncatedNormal(0, scipy.stats.truncnorm(-2, 2).std(), seed=2), scipy.stats.truncnorm(-2, 2)),
    ],
    ids=label,
)
def test_16_bit_values_are_distributed_as_the_numbers_nearest_to_draws(initializer, distribution, dtype):
    values = to_numpy(initializer((300_000,), dtype))
    steps, counts = np.unique(values, return_counts=True)
    # Half-way to the next number of 16 bits, where the distribution functions agree.
    ends = (steps[:-1].astype("float64") + steps[1:].astype("float64")) / 2
    distance = np.abs(counts[:-1].cumsum() / values.size - distribution.cdf(ends)).max()
    # With fewer steps than values the test is a little stricter on the sampler than P_VALUE says.
    assert scipy.stats.kstwo(values.size).sf(distance) > P_VALUE


def test_a_mean_that_drowns_the_draws_is_given_as_it_is():
    values = to_numpy(RandomNormal(mean=1.0, stddev=1e-45, seed=0)((10,)))
    assert values.tolist() == [1.0] * 10


def test_a_seed_that_is_not_given_is_32_bits_of_python():
    random.seed(1)
    assert RandomNormal().seed == random.Random(1).getrandbits(32)


@pytest.mark.parametrize("name", ["RandomNormal", "RandomUniform"])
def test_config_and_attributes_are_those_of_keras(name):
    ours, theirs = getattr(keras_initx, name)(seed=3), getattr(keras.initializers, name)(seed=3)
    assert ours.get_config() == theirs.get_config()
    assert {a: getattr(ours, a) for a in ours.get_config()} == {a: getattr(theirs, a) for a in ours.get_config()}


def test_a_truncated_normal_takes_the_arguments_of_keras():
    config = keras.initializers.TruncatedNormal(0.1, 0.2, 3).get_config()
    initializer = TruncatedNormal(0.1, 0.2, 3)
    assert initializer == TruncatedNormal.from_config(config)
    assert {name: getattr(initializer, name) for name in config} == config
