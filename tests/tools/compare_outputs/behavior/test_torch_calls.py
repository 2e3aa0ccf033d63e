"""Modules of torch are recorded by hooks, and models of Keras are compared with them."""

import keras
import numpy as np
import pytest
from keras import layers, ops
from modes import BACKEND

import keras_initx
from keras_initx import compare_outputs, record_outputs

if BACKEND == "torch":
    import torch
    from torch import nn

    class Block(nn.Module):
        """A block of a ResNet."""

        def __init__(self, channels):
            super().__init__()
            self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
            self.bn1 = nn.BatchNorm2d(channels)
            self.relu = nn.ReLU(inplace=True)
            self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
            self.bn2 = nn.BatchNorm2d(channels)

        def forward(self, x):
            y = self.relu(self.bn1(self.conv1(x)))
            return self.relu(self.bn2(self.conv2(y)) + x)

    class ResNet(nn.Module):
        """Images have channels first, and are flattened so."""

        def __init__(self):
            super().__init__()
            self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
            self.pool = nn.MaxPool2d(2)
            self.blocks = nn.ModuleList([Block(8)])
            self.flat = nn.Flatten()
            self.fc1 = nn.Linear(8 * 4 * 4, 16)
            self.act = nn.GELU()
            self.fc2 = nn.Linear(16, 5)

        def forward(self, x):
            x = self.pool(self.stem(x))
            for block in self.blocks:
                x = block(x)
            return self.fc2(self.act(self.fc1(self.flat(x))))


DRAWS = np.random.default_rng(0)
IMAGES = DRAWS.normal(size=(4, 16, 16, 3)).astype("float32")
WEIGHTS = {"stem": "stem", "block_*_conv_*": "blocks.{0}.conv{1}", "block_*_norm_*": "blocks.{0}.bn{1}", "fc*": "fc{0}"}
NAMES = {**WEIGHTS, "pool": "pool", "block_*_relu_2": "blocks.{0}", "flatten": "flat"}


def drawn(module):
    torch.manual_seed(0)
    for name, value in module.state_dict().items():
        if value.is_floating_point():
            value.normal_(0, 0.3)
            if name.endswith("running_var"):
                value.abs_().add_(1)
    return module


def resnet(*, epsilon=1e-5, padding="valid", activation="gelu", order=None):
    """Return what `ResNet` computes, with faults."""
    x = inputs = keras.Input((16, 16, 3))
    if padding == "valid":
        x = layers.ZeroPadding2D(1, name="padding")(x)
    x = layers.Conv2D(8, 3, strides=2, padding=padding, name="stem")(x)
    shortcut = layers.MaxPooling2D(2, name="pool")(x)
    x = layers.Conv2D(8, 3, padding="same", use_bias=False, name="block_0_conv_1")(shortcut)
    x = layers.BatchNormalization(epsilon=epsilon, name="block_0_norm_1")(x)
    x = layers.ReLU(name="block_0_relu_1")(x)
    x = layers.Conv2D(8, 3, padding="same", use_bias=False, name="block_0_conv_2")(x)
    x = layers.BatchNormalization(epsilon=epsilon, name="block_0_norm_2")(x)
    x = layers.ReLU(name="block_0_relu_2")(x + shortcut)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(16, activation, name="fc1")(x)
    return keras.Model(inputs, layers.Dense(5, name="fc2")(x), name="net")


def loaded(model, module):
    keras_initx.load_pretrained(model, module.state_dict(), WEIGHTS, layout="torch")
    return model


@pytest.fixture(scope="module")
def module():
    return drawn(ResNet())


@pytest.fixture(scope="module")
def recorded(module):
    return record_outputs(module, np.moveaxis(IMAGES, -1, 1))


def test_a_network_is_compared_with_its_axes_moved(module, recorded):
    report = compare_outputs(loaded(resnet(), module), IMAGES, recorded, names=NAMES)
    assert report.ok
    how = {row.path: row.detail for row in report.rows if row.status == "equal"}
    assert how == {
        **dict.fromkeys(["stem", "pool", "block_0_conv_1", "block_0_norm_1"], "axes moved: channels first"),
        **dict.fromkeys(["block_0_conv_2", "block_0_norm_2", "block_0_relu_2"], "axes moved: channels first"),
        "flatten": "axes moved: channels first before it is flattened",
        "fc1": "before its activation",
        "fc2": "",
        "net": "",
    }
    assert report.unmatched == ["blocks.0.relu", "blocks.0.relu, call 2", "act"]


FAULTS = {
    "another epsilon": ({"epsilon": 1e-3}, "block_0_norm_1", (), (), "epsilon: 0.001 here, 1e-05 there"),
    "padding with strides": (
        {"padding": "same"},
        "stem",
        (),
        (),
        "padding: 0 before and 1 after here, 1 before and 1 after there",
    ),
    "an activation": (
        {"activation": "relu"},
        "fc2",
        (),
        ("act",),
        "the activation of fc1, relu: before it, fc1 is equal",
    ),
}


@pytest.mark.parametrize(("changes", "path", "here", "there", "reason"), FAULTS.values(), ids=FAULTS)
def test_a_difference_is_found(module, recorded, changes, path, here, there, reason):
    report = compare_outputs(loaded(resnet(**changes), module), IMAGES, recorded, names=NAMES)
    assert report.first.path == path
    assert report.between[1:] == (here, there)
    assert reason in report.reasons


def test_rows_in_the_order_of_torch_are_seen(module, recorded):
    model = loaded(resnet(), module)
    kernel = model.get_layer("fc1").kernel
    kernel.assign(module.fc1.weight.detach().numpy().T)
    report = compare_outputs(model, IMAGES, recorded, names=NAMES)
    assert report.first.path == "fc1"
    assert not report.first.inputs_differ
    assert report.between == (("flatten",), (), ())
    assert report.reasons[0].startswith(
        "the order of its inputs, which are the same with channels first before it is flattened there. Remedy: move"
    )


def test_a_module_is_afterward_as_it_was(module):
    module.train()
    module.fc1.eval()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    outputs = record_outputs(module, np.moveaxis(IMAGES, -1, 1))
    assert [part.training for part in module.modules()] == [part is not module.fc1 for part in module.modules()]
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())
    assert len(outputs.rows) == 14


def test_outputs_are_kept_as_they_are_before_they_are_changed_in_place():
    module = nn.Sequential(nn.Linear(4, 4), nn.ReLU(inplace=True))
    rows = record_outputs(drawn(module), np.ones((2, 4), "float32"))
    first, second, _ = rows.calls
    assert first.outputs[""].own_values.min() < 0
    assert second.outputs[""].own_values.min() == 0
    assert second.inputs["input"] is first.outputs[""]


def encoder():
    """Return an encoder of Keras as one of torch is made by default."""
    tokens, padding = keras.Input((6, 8)), keras.Input((6,), dtype="bool")
    x = tokens
    for number in range(2):
        attention = layers.MultiHeadAttention(2, 4, name=f"attention_{number}")
        y = attention(x, x, attention_mask=padding[:, None])
        x = layers.LayerNormalization(epsilon=1e-5, name=f"norm_{number}_1")(x + y)
        y = layers.Dense(16, "relu", name=f"linear_{number}_1")(x)
        y = layers.Dense(8, name=f"linear_{number}_2")(y)
        x = layers.LayerNormalization(epsilon=1e-5, name=f"norm_{number}_2")(x + y)
    return keras.Model([tokens, padding], x)


@pytest.mark.rare
def test_an_encoder_leaves_its_fused_path_and_is_compared():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    module = drawn(nn.TransformerEncoder(layer, 2)).eval()
    model = encoder()
    names = {
        "attention_*": "layers.{0}.self_attn",
        "norm_*_*": "layers.{0}.norm{1}",
        "linear_*_*": "layers.{0}.linear{1}",
    }
    keras_initx.load_pretrained(model, module.state_dict(), names, layout="torch")
    tokens = DRAWS.normal(size=(3, 6, 8)).astype("float32")
    is_word = np.arange(6) < np.array([[6], [4], [2]])
    recorded = record_outputs(module, {"src": tokens, "src_key_padding_mask": ~is_word})
    report = compare_outputs(model, [tokens, is_word], recorded, names=names)
    assert report.ok
    assert [row.status for row in report.rows if row.path in ("attention_1", "norm_1_2")] == ["equal", "equal"]
    unmasked = record_outputs(module, {"src": tokens})
    report = compare_outputs(model, [tokens, is_word], unmasked, names=names)
    assert report.first.path == "attention_0"
    assert "`attention_mask` is passed here, and not there" in report.reasons


def test_time_may_be_before_the_batch():
    module = drawn(nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16), 2, enable_nested_tensor=False)).eval()
    model = encoder()
    names = {
        "attention_*": "layers.{0}.self_attn",
        "norm_*_*": "layers.{0}.norm{1}",
        "linear_*_*": "layers.{0}.linear{1}",
    }
    keras_initx.load_pretrained(model, module.state_dict(), names, layout="torch")
    tokens = DRAWS.normal(size=(3, 6, 8)).astype("float32")
    recorded = record_outputs(module, np.swapaxes(tokens, 0, 1))
    report = compare_outputs(model, [tokens, np.ones((3, 6), bool)], recorded, names=names)
    assert report.ok
    assert report.rows[-1].detail == "axes moved: time before the batch"


def test_a_module_in_16_bits_is_compared_with_one_of_keras():
    module = drawn(nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2))).to(torch.bfloat16)
    model = keras.Sequential([layers.Dense(8), layers.Dense(2)])
    model.build((None, 4))
    for layer in model.layers:
        layer.dtype_policy = keras.dtype_policies.DTypePolicy("mixed_bfloat16")
    names = {"dense": "0", "dense_1": "1"}
    keras_initx.load_pretrained(model, module.state_dict(), names, layout="torch")
    x = DRAWS.normal(size=(5, 4)).astype("float32")
    outputs = record_outputs(module, torch.as_tensor(x).to(torch.bfloat16))
    report = compare_outputs(model, x, outputs, names=names)
    assert report.ok
    assert "in bfloat16. Remedy: compare in float32 to see smaller differences" in report.summary
    assert ops.is_tensor(model(x))


def test_layers_that_a_module_computes_together_are_not_compared_with_it():
    class Stack(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = nn.GRU(3, 4, 2, batch_first=True)

        def forward(self, x):
            return self.rnn(x)[0]

    torch.manual_seed(0)
    module = Stack()
    stack = [layers.GRU(4, return_sequences=True, name=name) for name in ("first", "second")]
    model = keras.Sequential([keras.Input((5, 3)), *stack])
    names = {"first": "rnn", "second": "rnn"}
    keras_initx.load_pretrained(model, module.state_dict(), names, layout="torch")
    x = np.random.default_rng(0).normal(size=(2, 5, 3)).astype("float32")
    report = compare_outputs(model, x, record_outputs(module, x), names=names)
    assert report.ok, str(report)
    assert report["first"].detail == "rnn there computes it together with second"
    model.get_layer("first").cell.bias.assign(np.ones((2, 12)))
    assert not compare_outputs(model, x, record_outputs(module, x), names=names).ok


def channels_first(x):
    return np.moveaxis(x, -1, 1).copy()


# A module that is itself the layer, and the layer with its inputs.
ALONE = {
    "linear": (lambda: nn.Linear(3, 4), lambda: layers.Dense(4, name="layer"), (3,), np.copy),
    "conv": (lambda: nn.Conv2d(3, 4, 3), lambda: layers.Conv2D(4, 3, name="layer"), (6, 6, 3), channels_first),
    "lstm": (
        lambda: nn.LSTM(3, 4, batch_first=True),
        lambda: layers.LSTM(4, return_sequences=True, name="layer"),
        (5, 3),
        np.copy,
    ),
}


@pytest.mark.parametrize("name", ALONE)
def test_the_empty_name_is_the_module_itself(name, tmp_path):
    make_module, make_layer, shape, move = ALONE[name]
    torch.manual_seed(0)
    module = make_module()
    model = keras.Sequential([keras.Input(shape), make_layer()])
    names = {"layer": ""}
    assert keras_initx.load_pretrained(model, module.state_dict(), names, layout="torch").ok
    saved = keras_initx.save_pretrained(
        model, tmp_path / "saved.safetensors", names, layout="torch", like=module.state_dict()
    )
    assert saved.ok
    x = np.random.default_rng(0).normal(size=(2, *shape)).astype("float32")
    inputs = {"model": x, "module": move(x)}
    report = keras_initx.port_report(model, module, inputs, names=names)
    assert report.ok, str(report)
    assert report.outputs["layer"].status == "equal"
    weight = model.get_layer("layer").weights[0]
    weight.assign(2 * weight.value)
    report = keras_initx.port_report(model, module, inputs, names=names)
    assert report["weights"].status == "differs"
    assert report.outputs.first.path == "layer"


def test_the_empty_name_begins_the_names_of_what_is_recorded_inside():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 4))
    body = keras.Sequential([keras.Input((3,)), layers.Dense(4, name="0")], name="body")
    model = keras.Sequential([keras.Input((3,)), body, layers.Dense(4, name="head")])
    names = {"body": "", "head": "1"}
    keras_initx.load_pretrained(model, module.state_dict(), names, layout="torch")
    x = np.random.default_rng(0).normal(size=(2, 3)).astype("float32")
    # The module has more layers than the body, so they are not compared with each other.
    report = compare_outputs(model, x, record_outputs(module, x), names=names)
    assert report.ok, str(report)
    assert report["body"].status == "not compared"
    assert report["body/0"].status == "equal"
