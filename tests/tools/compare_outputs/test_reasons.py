"""A reason is what differs, and no guess."""

import keras
import numpy as np
import pytest
from keras import layers, ops
from modes import BACKEND

from keras_initx import compare_outputs, record_outputs
from keras_initx.tools.compare_outputs._reasons import compare_masks

DRAWS = np.random.default_rng(0)

if BACKEND == "torch":
    import torch
    from torch import nn


def images(size):
    return DRAWS.normal(size=(2, size, size, 3)).astype("float32")


def of_convolution(kind, other, size):
    """Return the settings in which two convolutions differ, of which the second is one of torch."""
    x = images(size)
    model = keras.Sequential([keras.Input(x.shape[1:]), kind])
    module = nn.Sequential()
    module.add_module(kind.name, other)
    report = compare_outputs(model, x, record_outputs(module, np.moveaxis(x, -1, 1)))
    return [setting for row in report.rows for setting in row.settings]


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "pads", "expected"),
    [
        (32, 4, 2, 1, []),
        (32, 3, 2, 1, ["padding: 0 before and 1 after here, 1 before and 1 after there"]),
        (33, 3, 2, 1, []),
        (32, 3, 1, 1, []),
        (32, 3, 1, "same", []),
        (32, 7, 2, 3, ["padding: 2 before and 3 after here, 3 before and 3 after there"]),
    ],
)
def test_padding_is_computed(size, kernel, stride, pads, expected):
    kind = layers.Conv2D(4, kernel, strides=stride, padding="same", name="c")
    assert of_convolution(kind, nn.Conv2d(3, 4, kernel, stride=stride, padding=pads), size) == expected


def test_what_a_layer_before_has_padded_counts():
    x = images(16)
    layer = layers.Conv2D(4, 3, strides=2, name="c")
    model = keras.Sequential([keras.Input(x.shape[1:]), layers.ZeroPadding2D(1), layer])
    module = nn.Sequential()
    module.add_module("c", nn.Conv2d(3, 4, 3, stride=2, padding=1))
    report = compare_outputs(model, x, record_outputs(module, np.moveaxis(x, -1, 1)))
    assert report.first.path == "c"
    assert not report.first.settings


def test_arguments_of_another_framework_are_no_reason():
    ids = DRAWS.integers(0, 20, (4, 6))
    module = nn.Sequential()
    module.add_module("tokens", nn.Embedding(20, 8))
    model = keras.Sequential([keras.Input((6,), dtype="int32"), layers.Embedding(20, 8, name="tokens")])
    model.set_weights([module.tokens.weight.detach().numpy()])
    outputs = record_outputs(module, torch.as_tensor((ids + 1) % 20))
    report = compare_outputs(model, ids, outputs)
    assert report.first.path == "tokens"
    assert [reason.split(" by ")[0] for reason in report.reasons] == ["the inputs of the models differ"]


@pytest.mark.parametrize("is_masked", [True, False])
def test_a_mask_is_a_reason_only_if_it_masks_something(is_masked):
    def network(has_mask):
        keras.utils.set_random_seed(0)
        x, mask = keras.Input((6, 8), name="x"), keras.Input((6,), dtype="bool", name="mask")
        attention = layers.MultiHeadAttention(2, 4, name="attention")
        given = {"attention_mask": mask[:, None]} if has_mask else {}
        # Older versions of Keras refuse an input that nothing uses.
        return keras.Model([x, mask], [attention(x, x, **given), layers.Flatten(name="flat")(mask)], name="net")

    mask = np.ones((3, 6), bool)
    mask[:, 4:] = not is_masked
    x = [DRAWS.normal(size=(3, 6, 8)), mask]
    calls = []
    for has_mask in (True, False):
        outputs = record_outputs(network(has_mask), x)
        calls += [call for call in outputs.calls if call.key.name == "attention"]
    expected = ["`attention_mask` is passed here, and not there"] if is_masked else []
    assert compare_masks(*calls, is_same_framework=True) == expected


@pytest.mark.skipif(BACKEND != "torch", reason="modules of torch")
@pytest.mark.parametrize("has_mask", [True, False])
def test_a_mask_may_have_another_name_here(has_mask):
    class Masked(layers.Layer):
        def call(self, x, valid=None):
            return 2 * x if valid is None else x * ops.cast(valid, "float32")[..., None]

    class Module(nn.Module):
        def forward(self, x, attention_mask):
            return x * attention_mask[..., None]

    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.part = Module()

        def forward(self, x):
            return self.part(x, attention_mask=(x[..., 0] > 0).float())

    inputs = keras.Input((6, 8))
    valid = {"valid": inputs[..., 0] > 0} if has_mask else {}
    model = keras.Model(inputs, Masked(name="part")(inputs, **valid))
    x = DRAWS.normal(size=(3, 6, 8)).astype("float32")
    report = compare_outputs(model, x, record_outputs(Outer(), torch.as_tensor(x)))
    assert report.ok == has_mask
    assert report.reasons == ([] if has_mask else ["`attention_mask` is passed there, and not here"])


def test_what_keras_gives_each_model_is_no_setting():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(2, name="d")], name="net")
    other = keras.models.clone_model(model)
    other.set_weights(model.get_weights())
    other.compile("sgd", "mse", steps_per_execution=2)
    x = DRAWS.normal(size=(5, 4))
    assert not any(row.settings for row in compare_outputs(model, x, other).rows)


@pytest.mark.skipif(BACKEND != "torch", reason="modules of torch")
@pytest.mark.parametrize("reset_after", [True, False])
def test_a_gru_of_torch_resets_after_the_product(reset_after):
    module = nn.Sequential()
    module.add_module("gru", nn.GRU(5, 6, bias=False, batch_first=True))
    gru = layers.GRU(6, reset_after=reset_after, use_bias=False, return_sequences=True, name="gru")
    model = keras.Sequential([keras.Input((6, 5)), gru])
    weights = dict(module.gru.named_parameters())
    gates = np.r_[6:12, 0:6, 12:18]  # torch has the reset gate first
    model.set_weights([weights[f"weight_{part}_l0"].detach().numpy().T[:, gates] for part in ("ih", "hh")])
    x = DRAWS.normal(size=(4, 6, 5)).astype("float32")
    report = compare_outputs(model, x, record_outputs(module, torch.as_tensor(x)))
    assert report.ok == reset_after
    assert report["gru"].settings == (() if reset_after else ("reset_after: False here, True there",))
    assert ("reset_after: False here, True there" in report.reasons) != reset_after


def by_tanh(x):
    return keras.ops.gelu(x, approximate=True)


@pytest.mark.skipif(BACKEND != "torch", reason="modules of torch")
@pytest.mark.parametrize("activation", ["gelu", by_tanh], ids=["exact", "by tanh"])
@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu_is_known_by_what_it_computes(activation, approximate):
    module = nn.Sequential()
    module.add_module("fc", nn.Linear(8, 8))
    module.add_module("act", nn.GELU(approximate))
    x = (2 * DRAWS.normal(size=(16, 8))).astype("float32")
    fused = keras.Sequential([keras.Input((8,)), layers.Dense(8, activation, name="fc")])
    parts = [layers.Dense(8, name="fc"), layers.Activation(activation, name="act")]
    split = keras.Sequential([keras.Input((8,)), *parts])
    names = ["exact" if activation == "gelu" else "by tanh", "exact" if approximate == "none" else "by tanh"]
    for model in (fused, split):
        model.set_weights([module.fc.weight.detach().numpy().T, module.fc.bias.detach().numpy()])
        report = compare_outputs(model, x, record_outputs(module, torch.as_tensor(x)))
        is_same = names[0] == names[1]
        assert report.ok == is_same
        assert (f"GELU: {names[0]} here, {names[1]} there" in report.reasons) != is_same


def test_gelu_in_two_models_of_keras():
    models = []
    for activation in ("gelu", by_tanh):
        models.append(keras.Sequential([keras.Input((8,)), layers.Dense(8, activation, name="fc")]))
    models[1].set_weights(models[0].get_weights())
    x = (2 * DRAWS.normal(size=(16, 8))).astype("float32")
    assert "GELU: exact here, by tanh there" in compare_outputs(models[0], x, models[1]).reasons
    # Of a few numbers near 0 nobody can tell.
    assert compare_outputs(models[0], x * 1e-3, models[1]).reasons == []
