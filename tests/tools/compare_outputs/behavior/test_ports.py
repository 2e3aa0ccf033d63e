"""What ports from torch get wrong is found where it is, and right ports are silent."""

import keras
import numpy as np
import pytest
from keras import layers, ops
from modes import BACKEND
from planted import Rotary

from keras_initx import compare_outputs, load_pretrained, record_outputs

if BACKEND == "torch":
    import torch
    from torch import nn

DRAWS = np.random.default_rng(0)
TOKENS = DRAWS.normal(size=(3, 10, 32)).astype("float32")
IMAGES = DRAWS.normal(size=(3, 15, 15, 6)).astype("float32")
WORDS = DRAWS.integers(1, 20, (4, 7))


def drawn(module):
    """Give a module weights and statistics of which none is 0 or 1, and return it."""
    torch.manual_seed(0)
    for name, weight in [*module.named_parameters(), *module.named_buffers()]:
        if "running_var" in name:
            nn.init.uniform_(weight, 0.5, 2)
        elif weight.dim() > 1:
            nn.init.normal_(weight, 0, weight[0].numel() ** -0.5)
        elif weight.dim():
            nn.init.normal_(weight, 0, 0.3)
    return module.eval()


def chain(**parts):
    """Return a sequential module and a sequential model, each pair of whose parts has one name."""
    module = nn.Sequential()
    for name, (other, _) in parts.items():
        if other is not None:
            module.add_module(name, other)
    return module, [layer for _, layer in parts.values() if layer is not None]


def ported(parts, x):
    """Return the report on a port of a chain, with the weights of the module."""
    module, own = chain(**parts)
    drawn(module)
    dtype = "int32" if x.dtype.kind == "i" else None
    model = keras.Sequential([keras.Input(x.shape[1:], dtype=dtype), *own], name="net")
    load_pretrained(model, module.state_dict(), layout="torch")
    return compare_outputs(model, x, record_outputs(module, np.moveaxis(x, -1, 1) if x.ndim == 4 else x))


class Attention(nn.Module if BACKEND == "torch" else object):
    """Attention by hand, whose mask, scale and order of heads may be other ones."""

    def __init__(self, sees=0, scale=8**-0.5, has_heads_last=False):
        super().__init__()
        self.sees, self.scale, self.has_heads_last = sees, scale, has_heads_last
        for name in ("query", "key", "value", "output"):
            self.add_module(name, nn.Linear(32, 32))

    def heads(self, x):
        if self.has_heads_last:
            return x.view(*x.shape[:2], -1, 4).permute(0, 3, 1, 2)
        return x.view(*x.shape[:2], 4, -1).transpose(1, 2)

    def forward(self, x):
        query, key, value = (self.heads(part(x)) for part in (self.query, self.key, self.value))
        scores = query @ key.transpose(-1, -2) * self.scale
        mask = torch.ones(x.shape[1], x.shape[1]).tril(self.sees).bool()
        scores = scores.masked_fill(~mask, -1e9).softmax(-1)
        return self.output((scores @ value).transpose(1, 2).reshape(x.shape))


def attention():
    inputs = keras.Input(TOKENS.shape[1:])
    split = layers.Reshape((10, 4, 8), name="split")
    parts = [split(layers.Dense(32, name=name)(inputs)) for name in ("query", "key", "value")]
    outputs = ops.reshape(ops.dot_product_attention(*parts, is_causal=True), (-1, 10, 32))
    return keras.Model(inputs, layers.Dense(32, name="output")(outputs), name="net")


@pytest.mark.parametrize("fault", [{"sees": 1}, {"scale": 1.0}, {"has_heads_last": True}, {}], ids=str)
def test_what_is_wrong_between_layers_is_between_them(fault):
    module = drawn(Attention(**fault))
    model = attention()
    load_pretrained(model, module.state_dict(), layout="torch")
    report = compare_outputs(model, TOKENS, record_outputs(module, TOKENS))
    assert report.ok == (not fault)
    if fault:
        assert report.first.path == "output"
        assert sorted(report.between.after) == ["key", "query", "value"]
        assert any("attention" in name for name in report.between.here)


class Rotated(nn.Module if BACKEND == "torch" else object):
    """Rotates pairs of features, neighbors or those of both halves."""

    def __init__(self, are_neighbors):
        super().__init__()
        self.are_neighbors = are_neighbors

    def forward(self, x):
        angles = torch.arange(x.shape[1])[:, None] * 10000.0 ** (-torch.arange(16) / 16)
        cosine, sine = angles.cos(), angles.sin()
        first, second = (x[..., ::2], x[..., 1::2]) if self.are_neighbors else x.chunk(2, -1)
        pair = (first * cosine - second * sine, first * sine + second * cosine)
        return torch.stack(pair, -1).flatten(-2) if self.are_neighbors else torch.cat(pair, -1)


class Normalized(nn.Module if BACKEND == "torch" else object):
    """Layer normalization by hand, with its epsilon outside of the root."""

    def __init__(self, epsilon):
        super().__init__()
        self.epsilon = epsilon
        self.weight, self.bias = nn.Parameter(torch.ones(32)), nn.Parameter(torch.zeros(32))

    def forward(self, x):
        deviation = x.std(-1, keepdim=True, unbiased=False)
        return (x - x.mean(-1, keepdim=True)) / (deviation + self.epsilon) * self.weight + self.bias


class LastOfGRU(nn.Module if BACKEND == "torch" else object):
    def __init__(self):
        super().__init__()
        self.gru, self.head = nn.GRU(32, 16, batch_first=True), nn.Linear(16, 3)

    def forward(self, x):
        return self.head(self.gru(x)[0])


def convolution(channels=6):
    return nn.Conv2d(channels, 8, 3, padding=1), layers.Conv2D(8, 3, padding="same", name="conv")


def dense(name, width, units, activation=None):
    return nn.Linear(width, units), layers.Dense(units, activation, name=name)


# What stands in both, the batch, and where it differs: a layer, or nowhere.
PORTS = {
    "corners aligned": (
        lambda: {
            "conv": convolution(),
            "up": (nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True), bilinear()),
        },
        IMAGES,
        "up",
    ),
    "corners": (
        lambda: {"conv": convolution(), "up": (nn.Upsample(scale_factor=2, mode="bilinear"), bilinear())},
        IMAGES,
        None,
    ),
    "the padding counted": (
        lambda: {"conv": convolution(), "pool": (nn.AvgPool2d(3, 1, 1), average())},
        IMAGES,
        "pool",
    ),
    "the padding not counted": (
        lambda: {"conv": convolution(), "pool": (nn.AvgPool2d(3, 1, 1, count_include_pad=False), average())},
        IMAGES,
        None,
    ),
    "a reflected padding": (
        lambda: {"conv": (nn.Conv2d(6, 8, 3, padding=1, padding_mode="reflect"), convolution()[1])},
        IMAGES,
        "conv",
    ),
    "an output padding": (
        lambda: {
            "up": (
                nn.ConvTranspose2d(6, 4, 3, stride=2, padding=1, output_padding=1),
                layers.Conv2DTranspose(4, 3, strides=2, padding="same", name="up"),
            )
        },
        IMAGES,
        "up",
    ),
    "an epsilon outside of the root": (
        lambda: {
            "first": dense("first", 32, 32),
            "norm": (Normalized(1e-4), layers.LayerNormalization(epsilon=1e-4, name="norm")),
        },
        TOKENS,
        "norm",
    ),
    "pairs of neighbors": (
        lambda: {"query": dense("query", 32, 32), "rotary": (Rotated(True), Rotary(name="rotary"))},
        TOKENS,
        "rotary",
    ),
    "pairs of halves": (
        lambda: {"query": dense("query", 32, 32), "rotary": (Rotated(False), Rotary(name="rotary"))},
        TOKENS,
        None,
    ),
    "a softmax over time": (
        lambda: {"query": dense("query", 32, 10), "softmax": (nn.Softmax(1), layers.Softmax(name="softmax"))},
        TOKENS,
        "softmax",
    ),
    "a GELU": (
        lambda: {"up": dense("up", 32, 64, "gelu"), "act": (nn.GELU(), None), "down": dense("down", 64, 8)},
        TOKENS,
        None,
    ),
    "words": (
        lambda: {"tokens": (nn.Embedding(20, 8), layers.Embedding(20, 8, name="tokens")), "head": dense("head", 8, 3)},
        WORDS,
        None,
    ),
}


def bilinear():
    return layers.UpSampling2D(2, interpolation="bilinear", name="up")


def average():
    return layers.AveragePooling2D(3, strides=1, padding="same", name="pool")


@pytest.mark.parametrize("name", PORTS)
def test_a_port_is_right_or_its_fault_is_in_its_layer(name):
    if name == "an output padding" and keras.__version__.startswith("3.10."):
        pytest.skip("on torch Keras 3.10 pads a transposed convolution as torch does, with a warning")
    parts, x, place = PORTS[name]
    report = ported(parts(), x)
    assert report.ok == (place is None)
    assert place is None or report.first.path == place


def test_an_activation_that_is_a_module_there_is_named():
    parts = {"up": dense("up", 32, 64, "gelu"), "act": (nn.GELU("tanh"), None), "down": dense("down", 64, 8)}
    report = ported(parts, TOKENS)
    assert report.first.path == "down"
    assert report.between == (("up",), (), ("act",))
    assert report.reasons == ["the activation of up, gelu: before it, up is equal", "GELU: exact here, by tanh there"]


def test_a_pooling_of_another_shape_is_a_suspect():
    class Mean(nn.Module):
        def forward(self, x):
            return x.mean((2, 3))

    parts = {
        "conv": convolution(),
        "pool": (nn.MaxPool2d(2, ceil_mode=True), layers.MaxPooling2D(2, name="pool")),
        "mean": (Mean(), layers.GlobalAveragePooling2D(name="mean")),
    }
    report = ported(parts, IMAGES)
    assert report.first.path == "mean"
    assert report.between == (("conv",), ("pool",), ("pool",))
    assert report["pool"].detail == "other shape: (3, 7, 7, 8) here, (3, 8, 8, 8) there"


@pytest.mark.parametrize("is_turned", [True, False])
def test_gates_in_the_order_of_torch_are_found(is_turned):
    module = drawn(LastOfGRU())
    parts = [layers.GRU(16, return_sequences=True, name="gru"), layers.Dense(3, name="head")]
    model = keras.Sequential([keras.Input((10, 32)), *parts], name="net")
    load_pretrained(model, module.state_dict(), layout="torch")
    if not is_turned:
        weights = [getattr(module.gru, f"{name}_l0").detach().numpy() for name in ("weight_ih", "weight_hh")]
        biases = np.stack([module.gru.bias_ih_l0.detach().numpy(), module.gru.bias_hh_l0.detach().numpy()])
        parts[0].set_weights([*(weight.T for weight in weights), biases])
    report = compare_outputs(model, TOKENS, record_outputs(module, TOKENS))
    assert report.ok == is_turned
    assert is_turned or report.first.path == "gru"


@pytest.mark.parametrize("is_right", [True, False])
def test_settings_of_training_are_those_of_the_other_convention(is_right):
    momentum, rate = (0.9, 0.1) if is_right else (0.1, 0.2)
    norm = layers.BatchNormalization(momentum=momentum, epsilon=1e-5, name="norm")
    parts = {
        "conv": convolution(),
        "norm": (nn.BatchNorm2d(8, momentum=0.1), norm),
        "drop": (nn.Dropout(0.1), layers.Dropout(rate, name="drop")),
    }
    report = ported(parts, IMAGES)
    assert report.ok
    settings = [setting for row in report.rows for setting in row.settings]
    wrong = ["momentum: 0.1 here, 0.9 there", "rate: 0.2 here, 0.1 there"]
    assert settings == ([] if is_right else wrong)
