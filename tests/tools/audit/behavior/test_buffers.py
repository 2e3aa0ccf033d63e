"""The saved buffers of torch modules are audited like moving statistics of Keras."""

import keras
import numpy as np
import pytest

import keras_initx
from keras_initx.inspection._inventory import Inventory

layers = keras.layers


def network(mean=0.0, table=(1.0, 2.0), *, dtype="float32", affine=True):
    import torch

    torch.manual_seed(0)
    keras.utils.set_random_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3, affine=affine))
    module.register_buffer("table", torch.tensor(table).to(getattr(torch, dtype)))
    module.register_buffer("scratch", torch.full((2,), mean), persistent=False)
    module[1].running_mean.fill_(mean)
    module[1].num_batches_tracked.fill_(int(mean))
    return keras.Sequential(
        [keras.Input((4,)), layers.Dense(4, name="head"), layers.TorchModuleWrapper(module, name="net")]
    )


def problems(report):
    return [(row.path, row.status) for row in report.problems]


def list_arrays(model):
    """Return the arrays of a model by their paths, with the counter of batches as in a file."""
    inventory = Inventory(model)
    return {weight.path: weight.variable.value for weight in inventory.weights_and_buffers}


@pytest.mark.parametrize("affine", [True, False])
def test_another_model_has_another_mean(affine):
    report = keras_initx.audit(network(3.0, affine=affine), like=network(affine=affine))
    assert problems(report) == [("net/1.running_mean", "values")]
    assert keras_initx.audit(network(3.0, affine=affine), like=network(3.0, affine=affine)).ok


def test_a_contract_has_buffers_but_no_counters(tmp_path):
    contract = keras_initx.contract(network)
    paths = [row.path for row in contract.rows]
    assert paths[-3:] == ["net/table", "net/1.running_mean", "net/1.running_var"]
    contract.save(tmp_path / "contract.json")
    assert keras_initx.audit(network(), like=tmp_path / "contract.json").ok
    assert problems(keras_initx.audit(network(3.0), like=tmp_path / "contract.json")) == [
        ("net/1.running_mean", "values")
    ]


@pytest.mark.parametrize("is_model_first", [True, False])
def test_arrays_by_path_are_compared_with_a_model(is_model_first):
    def audit(mean):
        sides = [network(mean), list_arrays(network())]
        ours, theirs = sides if is_model_first else sides[::-1]
        return keras_initx.audit(ours, like=theirs)

    assert audit(0.0).ok
    assert problems(audit(3.0)) == [("net/1.running_mean", "values")]


@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16"])
def test_floats_of_each_size_are_compared(dtype):
    def audit(value):
        other = network(table=(2.0, 2.0), dtype=dtype)
        return keras_initx.audit(network(table=(value, value), dtype=dtype), like=other)

    assert problems(audit(3.0)) == [("net/table", "values")]
    assert audit(2.0).ok


@pytest.mark.filterwarnings("ignore:ComplexHalf support is experimental")
@pytest.mark.parametrize(
    "dtype", ["complex64", "complex32", "float8_e4m3fn", "float8_e5m2fnuz", "int64", "uint16", "bool"]
)
def test_bits_of_other_dtypes_are_compared(dtype):
    def audit(table):
        return keras_initx.audit(network(table=table, dtype=dtype), like=network(dtype=dtype))

    assert "net/table" in audit((1.0, 2.0)).unchanged
    other = audit((1.0, 0.0))
    assert "net/table" not in other.unchanged
    assert [row.detail for row in other.rows if row.path == "net/table"] == [f"{dtype}, of one draw"]


def test_statistics_start_as_torch_resets_them():
    assert keras_initx.audit(network()).ok
    report = keras_initx.audit(network(3.0))
    assert problems(report) == [("net/1.running_mean", "values")]
    assert report.problems[0].initializer == "Zeros()"
    reasons = {row.path: row.detail for row in report.not_compared}
    assert reasons["net/table"] == "a buffer of torch"


def test_statistics_that_a_rule_leaves_are_not_compared():
    report = keras_initx.audit(network(3.0), {"head/*": "zeros", "net/*": None})
    assert problems(report) == [("head/kernel", "values")]
    reasons = {row.path: row.detail for row in report.not_compared}
    assert reasons["net/1.running_mean"] == "a buffer of torch"


@pytest.mark.parametrize("is_saved", [True, False])
def test_a_plan_says_that_statistics_are_reset(is_saved, tmp_path):
    model = network(3.0)
    plan = keras_initx.initialize(model, seed=0)
    if is_saved:
        plan.save(tmp_path / "plan.json")
        plan = tmp_path / "plan.json"
    assert keras_initx.audit(model, plan).ok
    model.layers[1].module[1].running_var.fill_(2)
    assert problems(keras_initx.audit(model, plan)) == [("net/1.running_var", "values")]


def test_a_buffer_that_is_not_finite_is_named():
    model = network()
    model.layers[1].module[1].running_var[0] = np.nan
    assert problems(keras_initx.audit(model)) == [("net/1.running_var", "not finite")]
    model = network(table=(0.0, -np.inf))  # a mask
    assert keras_initx.audit(model).ok
