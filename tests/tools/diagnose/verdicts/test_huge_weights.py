"""Values that no initializer and no training gives are named, and large ones that have a reason are not."""

import keras
import numpy as np
import pytest
from diagnosed.networks import dense
from keras import layers, ops
from keras.initializers import Constant

import keras_initx

GARBAGE = np.array([3e33, 4e-41, 7e28, 0], "float32")
X = np.random.default_rng(0).normal(size=(64, 8)).astype("float32")


class Experts(layers.Layer):
    """Choose two of four experts, with a bias that is not trained and does not count in the sum."""

    def __init__(self, bias):
        super().__init__(name="experts")
        self.initial = bias

    def build(self, shape):
        self.router = self.add_weight((shape[-1], 4), name="router")
        self.bias = self.add_weight((4,), Constant(self.initial), trainable=False, name="expert_bias")
        self.experts = self.add_weight((4, shape[-1], 8), keras.initializers.VarianceScaling(), name="experts")

    def call(self, x):
        scores = ops.sigmoid(x @ self.router)
        chosen = ops.top_k(scores + self.bias, 2)[1]
        shares = scores * ops.sum(ops.one_hot(chosen, 4), -2)
        return ops.sum(shares[..., None] * ops.einsum("bi,eio->beo", x, self.experts), 1)


class Table(layers.Layer):
    """Add the mean of a table that is not trained."""

    def __init__(self, values, **options):
        super().__init__(name="table")
        self.values, self.options = np.asarray(values), options

    def build(self, shape):
        options = {"trainable": False, "dtype": str(self.values.dtype), **self.options}
        self.table = self.add_weight(self.values.shape, Constant(self.values), name="values", **options)

    def call(self, x):
        return x + ops.cast(ops.tanh(ops.mean(ops.cast(self.table, "float32"))), x.dtype)


def verdicts_of(*stack, x=X):
    model = keras.Sequential([keras.Input(x.shape[1:]), *stack, layers.Dense(1, name="end")])
    return keras_initx.diagnose(model, x, X[:, :1], loss="mse").verdicts


@pytest.mark.every_backend
def test_the_weight_with_garbage_is_named_with_its_largest_value():
    (verdict,) = verdicts_of(layers.Dense(8, "relu"), Experts(GARBAGE))
    assert (verdict.problem, verdict.level, verdict.layers) == ("huge weights", "error", ("experts",))
    assert verdict.evidence.startswith("the largest value of experts/expert_bias is 3e+33, but the median")
    assert verdict.remedy.text.startswith("give experts/expert_bias other values")
    assert verdict.remedy.weights == {}


@pytest.mark.parametrize("bias", [np.zeros(4), [0.1, -0.1, 0.05, 0], np.full(4, -4.6)], ids=str)
def test_small_biases_are_fine(bias):
    assert verdicts_of(layers.Dense(8, "relu"), Experts(np.array(bias, "float32"))) == []


def with_column(network, value):
    """Return a network with the same value in one column of its first kernel."""
    kernel = network[0].layers[0].kernel
    values = np.array(ops.convert_to_numpy(kernel))
    values[:, 5] = value
    kernel.assign(values)
    return network


@pytest.mark.parametrize("value", [3e38, -3e33])
@pytest.mark.parametrize("trainable", [True, False])
def test_a_kernel_is_named_before_what_it_causes(value, trainable):
    model, x, y, loss = with_column(dense(depth=1), np.linspace(0.5, 1, 32) * value)
    model.layers[0].trainable = trainable
    (verdict,) = keras_initx.diagnose(model, x, y, loss=loss).verdicts
    assert verdict.problem == "huge weights"
    assert f"the largest value of dense/kernel is {value:.3g}" in verdict.evidence


def test_several_weights_are_named_in_one_verdict():
    model, x, y, loss = with_column(dense(depth=1), 1e20)
    model.layers[1].bias.assign(np.where(np.arange(10) == 3, 1e12, 0))
    (verdict,) = keras_initx.diagnose(model, x, y, loss=loss).verdicts
    assert (verdict.problem, len(verdict.layers)) == ("huge weights", 2)
    assert "also dense_1/bias" in verdict.evidence


HALF = np.triu(np.ones((4, 4)), 1)
MEANT = {
    "mask of -1e9": (HALF * -1e9).astype("float32"),
    "mask of -1e30": (HALF * -1e30).astype("float32"),
    "mask of the least float": np.where(HALF > 0, np.finfo("float32").min, 0).astype("float32"),
    "seeds": np.array([2**32 - 1, 0, 7, 1], "uint32"),
    "integers": np.array([2**62, 0, 1, 2], "int64"),
    "rotary frequencies": (1e-6 ** np.linspace(0, 1, 16)).astype("float32"),
    "rotary angles": np.cos(np.outer(np.arange(64), 1e-4 ** np.linspace(0, 1, 8))).astype("float32"),
    "all the same": np.full(4, 1e30, "float32"),
}


@pytest.mark.parametrize("name", MEANT)
def test_tables_that_are_meant_are_fine(name):
    assert "huge weights" not in [one.problem for one in verdicts_of(layers.Dense(8), Table(MEANT[name]))]


def test_a_mask_with_infinities_and_a_large_number_is_fine():
    mask = np.where(HALF > 0, -np.inf, 0).astype("float32")
    mask[0, 3] = -1e30
    assert "huge weights" not in [one.problem for one in verdicts_of(layers.Dense(8), Table(mask))]


@pytest.mark.every_backend
def test_statistics_of_data_are_fine():
    x = X * np.array([1e9, *7 * [1]], "float32")
    normalization = layers.Normalization(name="norm")
    normalization.adapt(x)
    assert ops.max(normalization.variance) > 1e17
    assert verdicts_of(normalization, layers.Dense(8, "relu"), x=x) == []


def test_moving_statistics_are_fine():
    normalization = layers.BatchNormalization(name="norm")
    normalization.build((None, 8))
    normalization.moving_variance.assign([1e18, *7 * [1]])
    assert verdicts_of(normalization, layers.Dense(8, "relu")) == []


def test_what_the_data_explain_is_fine_and_what_they_do_not_is_named():
    squares = np.array([1e18, 1, 1, 1], "float32")
    x = X * np.array([1e9, *7 * [1]], "float32")
    scale = layers.Rescaling(np.array([1e-9, *7 * [1]], "float32"))
    assert "huge weights" not in [one.problem for one in verdicts_of(scale, Table(squares), layers.Dense(8), x=x)]
    assert [one.problem for one in verdicts_of(Table(squares), layers.Dense(8))] == ["huge weights"]


def test_buffers_of_torch_are_judged_and_their_statistics_are_not():
    import torch

    module = torch.nn.Sequential(torch.nn.BatchNorm1d(8))
    module[0].running_var[2] = 1e18
    wrapper = layers.TorchModuleWrapper(module, name="wrapper")
    assert verdicts_of(wrapper, layers.Dense(8, "relu")) == []
    module.register_buffer("table", torch.tensor(GARBAGE))
    (verdict,) = verdicts_of(wrapper, layers.Dense(8, "relu"))
    assert (verdict.problem, verdict.layers) == ("huge weights", ("wrapper",))
    assert "the largest value of wrapper/table is 3e+33" in verdict.evidence
