"""`initialize` resets the statistics of torch modules, and leaves their other buffers, with a note."""

import keras
import pytest

import keras_initx
from keras_initx.inspection._inventory import Inventory

layers = keras.layers
STATISTICS = "net/1.running_mean, net/1.running_var, net/1.num_batches_tracked"
RESET = f"Statistics of torch reset by reset_running_stats(): {STATISTICS}."
KEPT = "Buffers of torch that keep their values: net/table."


def trained():
    """Return a model around a module with statistics of data and a table, and the module."""
    import torch

    module = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3))
    module.register_buffer("table", torch.arange(4.0))
    module.register_buffer("scratch", torch.ones(2), persistent=False)
    model = keras.Sequential(
        [keras.Input((4,)), layers.Dense(4, name="head"), layers.TorchModuleWrapper(module, name="net")]
    )
    for buffer in module.buffers():
        buffer.fill_(5)
    return model, module


def read_buffers(module):
    return {name: buffer.tolist() for name, buffer in module.named_buffers()}


START = {
    "table": [5] * 4,
    "scratch": [5] * 2,
    "1.running_mean": [0] * 3,
    "1.running_var": [1] * 3,
    "1.num_batches_tracked": 0,
}


def test_statistics_are_reset_and_other_buffers_kept():
    model, module = trained()
    plan = keras_initx.initialize(model, seed=0)
    assert read_buffers(module) == START
    assert plan.notes == (RESET, KEPT)


def test_a_dry_run_says_what_would_be_reset():
    model, module = trained()
    before = read_buffers(module)
    plan = keras_initx.initialize(model, seed=0, dry_run=True)
    assert read_buffers(module) == before
    assert plan.notes == (RESET.replace("reset", "to be reset", 1), KEPT)


@pytest.mark.parametrize("rule", ["*", "net/*", "net/1.*"])
def test_a_rule_that_leaves_the_module_leaves_its_statistics(rule, tmp_path):
    model, module = trained()
    before = read_buffers(module)
    plan = keras_initx.initialize(model, {"head/*": "zeros", rule: None}, seed=0)
    assert read_buffers(module) == before
    assert plan.notes == (f"Buffers of torch that keep their values: net/table, {STATISTICS}.",)
    plan.save(tmp_path / "plan.json")
    keras_initx.initialize(model, tmp_path / "plan.json")
    assert read_buffers(module) == before


def test_a_saved_plan_resets_them_too(tmp_path):
    model, module = trained()
    keras_initx.initialize(model, {"net/1.weight": "ones"}, seed=0).save(tmp_path / "plan.json")
    for buffer in module.buffers():
        buffer.fill_(5)
    assert keras_initx.initialize(model, tmp_path / "plan.json").notes == (RESET, KEPT)
    assert read_buffers(module) == START


def test_after_an_error_they_are_as_before():
    model, module = trained()
    module[1].reset_running_stats = lambda: 1 / 0
    before = read_buffers(module)
    digest = keras_initx.weights_digest(model)
    with pytest.raises(ZeroDivisionError):
        keras_initx.initialize(model, seed=0)
    assert read_buffers(module) == before
    assert keras_initx.weights_digest(model) == digest


@pytest.mark.every_backend
def test_models_without_torch_modules_have_no_note():
    model = keras.Sequential([keras.Input((4,)), layers.BatchNormalization()])
    assert keras_initx.initialize(model, seed=0).notes == ()


# A value of each dtype that torch has, beside one that differs.
DTYPES = (
    *("float64", "float32", "float16", "bfloat16"),
    *("complex128", "complex64", "complex32"),
    *("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e8m0fnu"),
    *("int64", "int32", "int16", "int8", "uint64", "uint16", "uint8", "bool"),
)


def with_buffer(tensor, *, persistent=True):
    import torch

    module = torch.nn.Linear(4, 3)
    torch.nn.init.ones_(module.weight)
    torch.nn.init.ones_(module.bias)
    module.register_buffer("table", tensor, persistent=persistent)
    return keras.Sequential([keras.Input((4,)), layers.TorchModuleWrapper(module, name="net")])


@pytest.mark.filterwarnings("ignore:ComplexHalf support is experimental")
@pytest.mark.parametrize("dtype", DTYPES)
def test_buffers_of_each_dtype_are_in_the_digest(dtype):
    import torch

    def digest(values):
        tensor = torch.tensor(values).to(getattr(torch, dtype))
        return keras_initx.weights_digest(with_buffer(tensor))

    assert digest([1.0, 0, 1]) == digest([1.0, 0, 1])
    assert digest([1.0, 0, 1]) != digest([1.0, 1, 1])
    assert digest([1.0, 0, 1]) != keras_initx.weights_digest(with_buffer(torch.zeros(3, dtype=torch.uint32)))


def test_counters_and_sparse_buffers_are_in_the_digest_and_unsaved_ones_not():
    import torch

    def digest(tensor, **options):
        return keras_initx.weights_digest(with_buffer(tensor, **options))

    assert digest(torch.tensor(1)) != digest(torch.tensor(2))
    assert digest(torch.eye(2).to_sparse()) != digest(2 * torch.eye(2).to_sparse())
    assert digest(torch.ones(2), persistent=False) == digest(torch.zeros(2), persistent=False)


def test_a_buffer_without_values_is_named():
    import torch

    model = with_buffer(torch.zeros(2))
    model.layers[0].module.table = torch.zeros(2, device="meta")
    with pytest.raises(ValueError, match="whose 'net/table' is on the meta device"):
        keras_initx.weights_digest(model)


def test_the_digest_of_a_model_is_that_of_its_arrays():
    model, module = trained()
    arrays = {weight.path: weight.variable.value for weight in Inventory(model).weights}
    arrays |= {f"net/{name}": buffer for name, buffer in module.state_dict().items() if name in START}
    assert keras_initx.weights_digest(model) == keras_initx.weights_digest(arrays)
