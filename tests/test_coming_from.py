"""What `docs/coming_from.md` says of other libraries: the sizes that their initializers give, and ours."""

import math

import numpy as np
import pytest
from modes import BACKEND, to_numpy

import keras_initx as initx

UNTRUNCATED = {"distribution": "untruncated_normal", "seed": 0}

# 6e5 values: the standard deviation of a sample is within 0.5 % of that of the distribution, five of its deviations.
INPUTS, UNITS = 600, 1000
CLOSE = {"rel": 0.005}


def spread(initializer, shape=(INPUTS, UNITS)):
    values = to_numpy(initializer(shape))
    return values.std(), np.abs(values).max() / values.std()


def torch_spread(function, *arguments, **options):
    import torch

    torch.manual_seed(0)
    weight = torch.empty(UNITS, INPUTS)
    function(weight, *arguments, **options)
    return float(weight.std()), float(weight.abs().max() / weight.std())


def assert_same(there, here):
    """Compare the standard deviations, and roughly how far the tails go in units of it."""
    assert there[0] == pytest.approx(here[0], **CLOSE)
    assert there[1] == pytest.approx(here[1], rel=0.15)


@pytest.mark.skipif(BACKEND != "torch", reason="compares with torch")
@pytest.mark.parametrize(
    ("name", "arguments", "here"),
    [
        (
            "kaiming_normal_",
            {"mode": "fan_out", "nonlinearity": "relu"},
            initx.VarianceScaling(2.0, "fan_out", **UNTRUNCATED),
        ),
        ("kaiming_uniform_", {"nonlinearity": "relu"}, initx.HeUniform(seed=0)),
        ("kaiming_uniform_", {"a": math.sqrt(5)}, initx.VarianceScaling(1 / 3, distribution="uniform", seed=0)),
        ("xavier_normal_", {}, initx.VarianceScaling(1.0, "fan_avg", **UNTRUNCATED)),
        ("xavier_uniform_", {}, initx.GlorotUniform(seed=0)),
        ("xavier_uniform_", {"gain": 1.5}, initx.VarianceScaling(1.5**2, "fan_avg", "uniform", seed=0)),
        ("trunc_normal_", {"std": 0.02, "a": -0.04, "b": 0.04}, initx.TruncatedNormal(stddev=0.88 * 0.02, seed=0)),
        ("trunc_normal_", {"std": 0.02}, initx.RandomNormal(stddev=0.02, seed=0)),
        ("normal_", {"std": 0.3}, initx.RandomNormal(stddev=0.3, seed=0)),
    ],
)
def test_torch(name, arguments, here):
    import torch

    assert_same(torch_spread(getattr(torch.nn.init, name), **arguments), spread(here))


@pytest.mark.skipif(BACKEND != "torch", reason="compares with torch")
def test_torch_fixes_the_zeros_of_each_input():
    import torch

    weight = torch.empty(50, 40)
    torch.nn.init.sparse_(weight, 0.9, std=0.01)
    per_input = {"input_axes": [1], "output_axes": [0]}
    same = to_numpy(initx.Sparse(sparsity=0.9, stddev=0.01, **per_input)((40, 50)))
    assert set((weight.numpy() != 0).sum(axis=0)) == set((same != 0).sum(axis=1)) == {5}


@pytest.mark.every_backend
@pytest.mark.skipif(BACKEND != "jax", reason="compares with JAX")
@pytest.mark.parametrize(
    ("name", "arguments", "here"),
    [
        ("he_normal", (), initx.HeNormal(seed=0)),
        (
            "variance_scaling",
            (2.0, "fan_in", "normal"),
            initx.VarianceScaling(2.0, "fan_in", **UNTRUNCATED),
        ),
        ("truncated_normal", (0.02,), initx.TruncatedNormal(stddev=0.88 * 0.02, seed=0)),
    ],
)
def test_jax(name, arguments, here):
    import jax

    values = np.asarray(getattr(jax.nn.initializers, name)(*arguments)(jax.random.key(0), (INPUTS, UNITS)))
    assert_same((values.std(), np.abs(values).max() / values.std()), spread(here))


def test_a_truncated_normal_without_a_correction():
    # As early versions of TensorFlow had it: of the variance asked for, the square of 0.88 was left.
    assert spread(initx.VarianceScaling(0.774, seed=0))[0] == pytest.approx(0.8796 / INPUTS**0.5, **CLOSE)
