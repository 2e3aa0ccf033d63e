"""What `docs/coming_from.md` says of other libraries: the sizes that their initializers give, and ours."""

import math
import pathlib
import re

import keras
import numpy as np
import pytest
from modes import BACKEND, to_numpy

import keras_initx as initx
from keras_initx._initializer_names import find_class_name, similar_class_names

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
            {"nonlinearity": "relu"},
            initx.VarianceScaling(2.0, **UNTRUNCATED),
        ),
        (
            "kaiming_normal_",
            {"mode": "fan_out", "nonlinearity": "relu"},
            initx.VarianceScaling(2.0, "fan_out", **UNTRUNCATED),
        ),
        ("kaiming_uniform_", {"nonlinearity": "relu"}, initx.HeUniform(seed=0)),
        ("kaiming_uniform_", {"a": math.sqrt(5)}, initx.VarianceScaling(1 / 3, distribution="uniform", seed=0)),
        ("xavier_normal_", {}, initx.VarianceScaling(1.0, "fan_avg", **UNTRUNCATED)),
        ("xavier_uniform_", {}, initx.GlorotUniform(seed=0)),
        ("xavier_normal_", {"gain": 1.5}, initx.VarianceScaling(1.5**2, "fan_avg", **UNTRUNCATED)),
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


@pytest.mark.skipif(BACKEND != "torch", reason="compares with torch")
def test_a_linear_layer_of_torch():
    import torch

    torch.manual_seed(0)
    layer = torch.nn.Linear(INPUTS, UNITS)
    assert float(layer.weight.detach().std()) == pytest.approx(spread(initx.VarianceScaling(1 / 3, seed=0))[0], **CLOSE)
    assert float(layer.bias.detach().abs().max()) <= INPUTS**-0.5


@pytest.mark.skipif(BACKEND != "torch", reason="compares with torch")
def test_dirac_of_torch():
    import torch

    weight = torch.nn.init.dirac_(torch.empty(6, 3, 3, 3), groups=2)
    assert np.array_equal(weight.permute(2, 3, 1, 0), to_numpy(initx.Dirac(groups=2)((3, 3, 3, 6))))


@pytest.mark.skipif(BACKEND != "torch", reason="compares with torch")
def test_an_lstm_of_torch():
    import torch

    torch.manual_seed(0)
    largest = [float(weight.detach().abs().max()) for weight in torch.nn.LSTM(50, 64).parameters()]
    assert largest == pytest.approx([64**-0.5] * 4, rel=0.05)


@pytest.mark.skipif(BACKEND != "torch", reason="compares with torch")
def test_the_default_bounds_of_a_uniform_distribution():
    import torch

    torch.manual_seed(0)
    there, here = torch.nn.init.uniform_(torch.empty(1000)), to_numpy(initx.RandomUniform(seed=0)((1000,)))
    assert [float(there.min()), float(there.max())] == pytest.approx([0, 1], abs=0.01)
    assert [here.min(), here.max()] == pytest.approx([-0.05, 0.05], abs=0.001)


@pytest.mark.release_backends
@pytest.mark.skipif(BACKEND != "jax", reason="compares with JAX")
@pytest.mark.parametrize(
    ("name", "arguments", "here"),
    [
        ("he_normal", (), initx.HeNormal(seed=0)),
        ("glorot_uniform", (), initx.GlorotUniform(seed=0)),
        (
            "variance_scaling",
            (2.0, "fan_in", "normal"),
            initx.VarianceScaling(2.0, "fan_in", **UNTRUNCATED),
        ),
        ("truncated_normal", (0.02,), initx.TruncatedNormal(stddev=0.88 * 0.02, seed=0)),
        ("normal", (0.02,), initx.RandomNormal(stddev=0.02, seed=0)),
        ("uniform", (0.1,), initx.RandomUniform(0, 0.1, seed=0)),
    ],
)
def test_jax(name, arguments, here):
    import jax

    values = np.asarray(getattr(jax.nn.initializers, name)(*arguments)(jax.random.key(0), (INPUTS, UNITS)))
    assert_same((values.std(), np.abs(values).max() / values.std()), spread(here))


@pytest.mark.parametrize(
    ("factor", "here"),
    [
        (0.01, initx.SmallNormal(seed=0)),
        (1 / np.sqrt(INPUTS), initx.FanInNormal(seed=0)),
        (np.sqrt(2.0 / INPUTS), initx.VarianceScaling(2.0, **UNTRUNCATED)),
    ],
)
def test_numpy(factor, here):
    values = factor * np.random.default_rng(0).normal(size=(INPUTS, UNITS))
    assert_same((values.std(), np.abs(values).max() / values.std()), spread(here))


def test_keras_truncated_normal_is_smaller():
    assert spread(keras.initializers.TruncatedNormal(stddev=0.02, seed=0))[0] == pytest.approx(0.0176, **CLOSE)
    assert spread(initx.TruncatedNormal(stddev=0.02, seed=0))[0] == pytest.approx(0.02, **CLOSE)


def test_a_truncated_normal_without_a_correction():
    # As early versions of TensorFlow had it: of the variance asked for, the square of 0.88 was left.
    assert spread(initx.VarianceScaling(0.774, seed=0))[0] == pytest.approx(0.8796 / INPUTS**0.5, **CLOSE)


@pytest.mark.every_backend
@pytest.mark.skipif(BACKEND != "tensorflow", reason="needs TensorFlow")
@pytest.mark.parametrize(
    ("there", "here"),
    [
        (
            lambda tf: tf.variance_scaling_initializer(2.0, "fan_in", "normal", seed=1),
            initx.VarianceScaling(2.0, seed=0),
        ),
        (lambda tf: tf.truncated_normal_initializer(stddev=0.1, seed=1), initx.TruncatedNormal(stddev=0.088, seed=0)),
        (
            lambda tf: tf.uniform_unit_scaling_initializer(2.0, seed=1),
            initx.VarianceScaling(4.0, distribution="uniform", seed=0),
        ),
    ],
    ids=["variance", "truncated", "uniform"],
)
def test_tensorflow_1(there, here):
    import tensorflow as tf

    values = there(tf.compat.v1)((INPUTS, UNITS)).numpy()
    assert_same((values.std(), np.abs(values).max() / values.std()), spread(here))


def test_bounds_in_bfloat16():
    def largest(initializer):
        values = keras.ops.cast(initializer((1000, 1000), "bfloat16"), "float32")
        return np.abs(to_numpy(values)).max()

    assert largest(keras.initializers.RandomUniform(seed=0)) > 0.05
    assert largest(initx.RandomUniform(seed=0)) <= 0.05


def test_orthogonal_in_16_bits():
    with pytest.raises(Exception, match=r"(?i)qr|bfloat16"):
        keras.initializers.Orthogonal(seed=0)((4, 4), "bfloat16")
    assert keras.backend.standardize_dtype(initx.Orthogonal(seed=0)((4, 4), "bfloat16").dtype) == "bfloat16"


def two_layers(initializer):
    kernels = {"kernel_initializer": initializer}
    return keras.Sequential([keras.Input((8,)), keras.layers.Dense(8, **kernels), keras.layers.Dense(8, **kernels)])


@pytest.mark.parametrize(
    "initializer",
    [keras.initializers.HeNormal(), initx.HeNormal(), initx.HeNormal(seed=3)],
    ids=["Keras", "one object", "seed"],
)
def test_the_same_weights_twice_are_found_by_diagnose(initializer):
    report = initx.diagnose(two_layers(initializer), np.ones((4, 8), "float32"))
    assert "twin tensors" in {verdict.problem for verdict in report.verdicts}


def test_numbers_of_connections():
    shares = [np.mean(to_numpy(initx.Sparse(sparsity=sparsity)((100, 50))) != 0) for sparsity in (0.1, 0.9)]
    assert shares == pytest.approx([0.9, 0.1])
    assert {*(to_numpy(initx.Sparse(15, stddev=1.0)((100, 50))) != 0).sum(axis=0)} == {15}


def names_of_the_page():
    """Return the functions and classes in the first columns of the tables that draw a weight."""
    page = (pathlib.Path(__file__).parents[2] / "docs" / "coming_from.md").read_text(encoding="utf-8")
    names = set()
    for line in page.splitlines():
        there, here, *_ = [*line.strip("|").split("|"), "", ""]
        draws = re.search(r"`(VarianceScaling|He|Glorot|Random|Truncated|Orthogonal|Sparse|Dirac)", here)
        if line.startswith("|") and draws:
            names.update(re.findall(r"`([A-Za-z_]+)(?=[…(])", there))
    return names


def test_the_command_line_knows_each_initializer_of_the_page():
    found = names_of_the_page()
    assert {"kaiming_normal_", "xavier_", "trunc_normal_tf_", "variance_scaling_initializer"} <= found
    for name in found:
        assert similar_class_names(name.rstrip("_")), name


@pytest.mark.parametrize(
    ("name", "classes"),
    [
        ("kaiming", ["HeNormal", "HeUniform"]),
        ("Xavier", ["GlorotNormal", "GlorotUniform"]),
        ("he", ["HeNormal", "HeUniform"]),
    ],
)
def test_a_name_without_a_distribution_means_both(name, classes):
    assert similar_class_names(name) == classes
    with pytest.raises(ValueError, match=f"no initializer is named '{name}'; did you mean {' or '.join(classes)}"):
        find_class_name(name)
