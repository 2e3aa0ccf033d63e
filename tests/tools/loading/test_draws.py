"""The last write of a weight counts: what is loaded and then drawn again in the block is not loaded."""

import keras
import numpy as np
import pytest
from stacks import built

import keras_initx
from keras_initx.backends._current import backend

layers = keras.layers
ALL = ["hidden/kernel", "hidden/bias", "head/kernel", "head/bias"]
X = np.random.default_rng(0).normal(size=(32, 4)).astype("float32")


def network(dtype="float32"):
    return built((4,), layers.Dense(6, "relu", name="hidden", dtype=dtype), layers.Dense(3, name="head", dtype=dtype))


def load(model):
    # The biases of the head are zeros as after a draw.
    for weight in model.weights:
        weight.assign(np.full(weight.shape, 0.0 if weight.shape == (3,) else 0.5))


def draw(model):
    for layer in model.layers:
        layer.kernel.assign(layer.kernel_initializer(layer.kernel.shape, layer.kernel.dtype))
        layer.bias.assign(layer.bias_initializer(layer.bias.shape, layer.bias.dtype))


def scale(model):
    for weight in model.weights:
        weight.assign(weight * 0.5)


def initialize(model):
    keras_initx.initialize(model, seed=1)


def initialize_head(model):
    keras_initx.initialize(model, {"head/kernel": "he_normal", "*": None}, seed=1)


def scale_by_data(model):
    keras_initx.lsuv(model, X, seed=1)


def load_by_rules(model):
    np.save("ones.npy", np.ones((4, 6), "float32"))
    keras_initx.initialize(model, {"hidden/kernel": keras_initx.Pretrained("ones.npy"), "*": None})


# What a block does, and what has no loaded values at its end.
ACTIONS = {
    "load, draw": ([load, draw], ALL),
    "load, initialize": ([load, initialize], ALL),
    "draw, load, draw": ([draw, load, draw], ALL),
    "load, draw, draw": ([load, draw, initialize], ALL),
    "load, draw the head": ([load, initialize_head], ["head/kernel"]),
    "load, scale by data": ([load, scale_by_data], ["hidden/kernel", "head/kernel"]),
    "draw, load": ([draw, load], []),
    "load, load": ([load, load], []),
    "load, draw, load": ([load, draw, load], []),
    "load, scale": ([load, scale], []),
    "load, load by rules": ([load, load_by_rules], []),
}


@pytest.mark.every_backend
@pytest.mark.parametrize("is_given", [True, False], ids=["given", "made"])
@pytest.mark.parametrize("name", ACTIONS)
def test_a_weight_that_is_drawn_after_loading_is_not_loaded(name, is_given, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    actions, missed = ACTIONS[name]
    model = network() if is_given else None
    with keras_initx.loading(model, seed=0) as loaded:
        model = model if is_given else network()
        for action in actions:
            action(model)
        values = [backend.host_view(weight.value).copy() for weight in model.weights]
    assert loaded.missed == missed
    assert {row.status for row in loaded.problems} == {"overwritten"} & {row.status for row in loaded.rows}
    assert (loaded.ok, loaded.not_known) == (not missed, [])
    for weight, value in zip(model.weights, values, strict=True):
        np.testing.assert_array_equal(backend.host_view(weight.value), value)


@pytest.mark.every_backend
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_draws_are_seen_in_16_bits(dtype):
    model = network(dtype)
    with keras_initx.loading(model) as loaded:
        load(model)
        draw(model)
    assert loaded.missed == ALL


def test_the_result_says_what_drew_a_weight():
    model = network()
    with keras_initx.loading(model) as loaded:
        load(model)
        draw(model)
    assert str(loaded) == (
        "weight          shape  status\n"
        "------------------------------------------------------------------------\n"
        "hidden/kernel  (4, 6)  overwritten: drawn by GlorotUniform after loading\n"
        "hidden/bias      (6,)  overwritten: drawn by Zeros after loading\n"
        "head/kernel    (6, 3)  overwritten: drawn by GlorotUniform after loading\n"
        "head/bias        (3,)  overwritten: drawn by Zeros after loading\n\n"
        "4 of 4 weights were drawn after loading."
    )


def test_a_draw_and_a_missed_weight_are_counted_apart():
    model = network()
    with keras_initx.loading(model, seed=0) as loaded:
        model.layers[0].set_weights([np.ones((4, 6)), np.ones(6)])
        model.layers[0].bias.assign(keras.initializers.Ones()((6,)))
    assert loaded.missed == ["hidden/bias", "head/kernel", "head/bias"]
    assert loaded.summary == ("2 of 4 weights were never written: redrawn, seed 0; 1 was drawn after loading.")


def test_what_the_block_draws_first_counts_as_written():
    model = network()
    with keras_initx.loading(model) as loaded:
        draw(model)
        draw(model)
    assert loaded.ok


def test_a_block_within_another_watches_too():
    model = network()
    with keras_initx.loading(model) as outer:
        load(model)
        with keras_initx.loading(model) as inner:
            load(model)
            draw(model)
    assert inner.missed == outer.missed == ALL


def test_initializers_are_as_before_after_the_block():
    calls = [vars(cls).get("__call__") for cls in (keras.initializers.Zeros, keras_initx.HeNormal)]
    assign = keras.Variable.assign
    with keras_initx.loading(network()):
        assert vars(keras.initializers.Zeros)["__call__"] is not calls[0]
    assert [vars(cls).get("__call__") for cls in (keras.initializers.Zeros, keras_initx.HeNormal)] == calls
    assert keras.Variable.assign is assign


def torch_network():
    from torch import nn

    module = nn.Sequential()
    module.table = nn.Embedding(6, 4, padding_idx=2)
    module.norm = nn.BatchNorm1d(5)
    module.head = nn.Linear(4, 4)
    wrapper = layers.TorchModuleWrapper(module, name="net")
    model = keras.Sequential([keras.Input((5,), dtype="int64"), wrapper])
    return model, module


def init_table(module):
    # As in many `_init_weights`: the row for padding is zero.
    module.table.weight.data.normal_(0, 0.02)
    module.table.weight.data[module.table.padding_idx].zero_()


TORCH_DRAWS = {
    "xavier_uniform_": (lambda nn, module: nn.init.xavier_uniform_(module.head.weight), ["head.weight"]),
    "kaiming_normal_": (lambda nn, module: nn.init.kaiming_normal_(module.head.weight), ["head.weight"]),
    "trunc_normal_": (lambda nn, module: nn.init.trunc_normal_(module.head.weight), ["head.weight"]),
    "orthogonal_": (lambda nn, module: nn.init.orthogonal_(module.head.weight), ["head.weight"]),
    "zeros_": (lambda nn, module: nn.init.zeros_(module.head.bias), ["head.bias"]),
    "data": (lambda nn, module: module.head.bias.data.uniform_(-1, 1), ["head.bias"]),
    "reset": (lambda nn, module: module.head.reset_parameters(), ["head.weight", "head.bias"]),
    "padding": (lambda nn, module: init_table(module), ["table.weight"]),
    "statistics": (
        lambda nn, module: module.norm.reset_running_stats(),
        ["norm.running_mean", "norm.running_var"],
    ),
    "one row": (lambda nn, module: module.table.weight.data[2].zero_(), []),
    "scaled": (lambda nn, module: module.head.weight.data.mul_(0.5), []),
    "another tensor": (lambda nn, module: nn.init.normal_(module.head.weight.detach().clone()), []),
}


@pytest.mark.parametrize("name", TORCH_DRAWS)
def test_what_torch_draws_in_place_after_loading_is_seen(name):
    from torch import nn

    act, missed = TORCH_DRAWS[name]
    model, module = torch_network()
    state = {key: value + 1 for key, value in module.state_dict().items()}
    with keras_initx.loading(model) as loaded:
        module.load_state_dict(state)
        act(nn, module)
    assert loaded.missed == [f"net/{path}" for path in missed]
    with keras_initx.loading(model) as loaded:
        module.load_state_dict(state)
        act(nn, module)
        module.load_state_dict(state)
    assert loaded.ok


def test_values_that_are_loaded_where_nobody_sees_it_are_no_draw():
    model, module = torch_network()
    state = {key: value + 1 for key, value in module.state_dict().items()}
    with keras_initx.loading(model) as loaded:
        module.load_state_dict(state)
        module.head.reset_parameters()
        module.head.weight.detach().numpy()[:] = 2
        module.head.bias.data[:] = module.head.bias.new_ones(4)
    assert loaded.ok


@pytest.mark.parametrize("by", ["torch", "keras"])
def test_a_module_in_two_wrappers_is_drawn_in_both(by):
    from torch import nn

    module = nn.Linear(4, 4)
    model = keras.Sequential([layers.TorchModuleWrapper(module, name=name) for name in "ab"])
    model(keras.ops.ones((2, 4)))
    kernel = model.layers[0].weights[0]
    with keras_initx.loading(model) as loaded:
        module.load_state_dict(nn.Linear(4, 4).state_dict())
        if by == "torch":
            nn.init.xavier_uniform_(module.weight)
        else:
            kernel.assign(keras.initializers.HeNormal()((4, 4)))
    assert loaded.missed == ["a/weight", "b/weight"]
