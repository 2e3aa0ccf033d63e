"""Settings that differ between a model and a module are named, and a port with the same settings is silent."""

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

pytestmark = pytest.mark.skipif(BACKEND != "torch", reason="modules of torch")
DRAWS = np.random.default_rng(0)
IMAGES = DRAWS.normal(size=(4, 8, 8, 4)).astype("float32")
ODD_IMAGES = DRAWS.normal(size=(4, 9, 9, 4)).astype("float32")
STEPS = DRAWS.normal(size=(4, 6, 8)).astype("float32")
WORDS = DRAWS.integers(1, 20, (4, 6))


class Function(nn.Module if BACKEND == "torch" else object):
    """Calls a function of torch in its code."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x, training=self.training)


class First(nn.Module if BACKEND == "torch" else object):
    """Returns the outputs of a recurrent module, or of attention of its input to itself, without states."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x, x, x)[0] if isinstance(self.inner, nn.MultiheadAttention) else self.inner(x)[0]


def attend(**options):
    """Return attention of a tensor to itself."""
    layer = layers.MultiHeadAttention(2, 4, name="between", **options)
    return lambda x: layer(x, x)


def make_dense(name, units, is_image):
    if is_image:
        return layers.Conv2D(units, 1, name=name)
    return layers.Dense(units, name=name)


def make_linear(inputs, units, is_image):
    return nn.Conv2d(inputs, units, 1) if is_image else nn.Linear(inputs, units)


def port(here, there, x, *, has_fixed_sizes=True, is_loaded=True):
    """Return a model with layers between two dense layers, a module, and the names of both.

    Args:
        here: The layer, or a list of layers. One with the name `between` is named as the module.
        there: The module.
        x: The inputs.
        has_fixed_sizes: Whether the model gets inputs of one size.
        is_loaded: Whether the model gets the weights of the module.
    """
    is_image, has_words = x.ndim == 4, x.dtype.kind == "i"
    width = x.shape[-1]
    shape = x.shape[1:] if has_fixed_sizes else (*[None] * (x.ndim - 2), width)
    value = inputs = keras.Input(shape, dtype="int32" if has_words else "float32")
    module = nn.Sequential()
    if not has_words:
        value = make_dense("first", width, is_image)(value)
        module.add_module("first", make_linear(width, width, is_image))
    for layer in here if isinstance(here, list) else [here]:
        value = layer(value)
    module.add_module("between", there)
    head = make_dense("head", 3, is_image)
    model = keras.Model(inputs, head(value), name="net")
    module.add_module("head", make_linear(value.shape[-1], 3, is_image))
    paths = [layer.name for layer in model.layers]
    names = {name: name for name in ("first", "between", "head") if name in paths}
    if isinstance(there, First) and "between" in names:
        names["between"] = "between.inner"
    if is_loaded:
        of_weights = {name: value for name, value in names.items() if model.get_layer(name).weights}
        keras_initx.load_pretrained(model, module.eval().state_dict(), of_weights, layout="torch")
    return model, module, names


def report_on(here, there, x, **options):
    """Return the report on a port, see `port`."""
    model, module, names = port(here, there, x, **options)
    inputs = torch.as_tensor(np.moveaxis(x, -1, 1) if x.ndim == 4 else x)
    return compare_outputs(model, x, record_outputs(module, inputs), names=names)


def said(report):
    """Return the settings that a report names, and the reasons of the first difference."""
    return [*(difference.text for difference in report.settings), *report.reasons]


def assert_named(report, text, scope):
    assert any(line.startswith(text) for line in said(report)), f"{said(report)}\n{report}"
    scopes = {difference.scope for difference in report.settings if difference.text.startswith(text)}
    assert scopes <= {scope}
    if scope == "any":
        assert not report.ok
    elif scope in ("training", "every batch"):
        assert report.ok, str(report)
    assert text.split(":")[0] in " ".join(str(report).split())


def assert_silent(report):
    assert report.ok, str(report)
    assert said(report) == []
    assert report.settings_not_compared == []


def bilinear():
    return layers.UpSampling2D(2, interpolation="bilinear", name="between")


def recurrent(kind, **options):
    return lambda: kind(8, return_sequences=True, name="between", **options)


# What stands in the model, what in the module, and there in a right port; the inputs; what the report says.
PAIRED = {
    "rate": (
        lambda: layers.Dropout(0.5, name="between"),
        lambda: nn.Dropout(0.1),
        lambda: nn.Dropout(0.5),
        STEPS,
        ("rate: 0.5 here, 0.1 there", "training"),
    ),
    "whole channels": (
        lambda: layers.Dropout(0.2, name="between"),
        lambda: nn.Dropout2d(0.2),
        lambda: nn.Dropout(0.2),
        IMAGES,
        ("Dropout here, Dropout2d there: single values here, whole channels there", "training"),
    ),
    "noise_shape": (
        lambda: layers.Dropout(0.2, noise_shape=(None, 1, 1, 4), name="between"),
        lambda: nn.Dropout(0.2),
        lambda: nn.Dropout2d(0.2),
        IMAGES,
        ("noise_shape: whole channels here, single values there", "training"),
    ),
    "slope": (
        lambda: layers.LeakyReLU(0.3, name="between"),
        lambda: nn.LeakyReLU(0.01),
        lambda: nn.LeakyReLU(0.3),
        STEPS,
        ("negative_slope: 0.3 here, 0.01 there", "any"),
    ),
    "limit of a ReLU": (
        lambda: layers.ReLU(name="between"),
        lambda: nn.ReLU6(),
        lambda: nn.ReLU(),
        STEPS,
        ("max_value: None here, 6 there", "any"),
    ),
    "limit of a Hardtanh": (
        lambda: layers.ReLU(7, name="between"),
        lambda: nn.Hardtanh(0, 6),
        lambda: nn.Hardtanh(0, 7),
        STEPS,
        ("max_value: 7 here, 6 there", "any"),
    ),
    "alpha": (
        lambda: layers.ELU(0.5, name="between"),
        lambda: nn.ELU(),
        lambda: nn.ELU(0.5),
        STEPS,
        ("alpha: 0.5 here, 1.0 there", "any"),
    ),
    "axis of a softmax": (
        lambda: layers.Softmax(name="between"),
        lambda: nn.Softmax(2),
        lambda: nn.Softmax(1),
        IMAGES,
        ("axis, counted as here: 3 here, 1 there", "any"),
    ),
    "ceil_mode": (
        lambda: layers.MaxPooling2D(2, name="between"),
        lambda: nn.MaxPool2d(2, ceil_mode=True),
        lambda: nn.MaxPool2d(2),
        IMAGES,
        ("ceil_mode: False here, True there, for inputs of 9 x 9: 4 x 4 windows here, 5 x 5 there", "any"),
    ),
    "padding with a stride": (
        lambda: layers.Conv2D(4, 3, 2, padding="same", name="between"),
        lambda: nn.Conv2d(4, 4, 3, 2, padding=1),
        lambda: nn.Conv2d(4, 4, 3, 2, padding=1),
        ODD_IMAGES,
        ("padding: 0 before and 1 after here, 1 before and 1 after there, for inputs of 10 x 10", "any"),
    ),
    "count of padding": (
        lambda: layers.AveragePooling2D(3, 1, padding="same", name="between"),
        lambda: nn.AvgPool2d(3, 1, 1),
        lambda: nn.AvgPool2d(3, 1, 1, count_include_pad=False),
        IMAGES,
        ("count of padding: Keras leaves padded values out of an average", "any"),
    ),
    "padding_mode": (
        lambda: layers.Conv2D(4, 3, padding="same", name="between"),
        lambda: nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"),
        lambda: nn.Conv2d(4, 4, 3, padding=1),
        IMAGES,
        ("padding_mode: zeros here, reflect there", "any"),
    ),
    "ends of a transposed convolution": (
        lambda: layers.Conv2DTranspose(4, 3, 2, padding="same", name="between"),
        lambda: nn.ConvTranspose2d(4, 4, 3, 2, padding=1, output_padding=1),
        None,
        IMAGES,
        ("padding: 0 cut before and 1 after here, 1 cut before and 0 after there", "any"),
    ),
    "even transposed convolution": (
        lambda: layers.Conv2DTranspose(4, 4, 2, padding="same", name="between"),
        None,
        lambda: nn.ConvTranspose2d(4, 4, 4, 2, padding=1),
        IMAGES,
        None,
    ),
    "groups": (
        lambda: layers.GroupNormalization(2, epsilon=1e-5, name="between"),
        lambda: nn.GroupNorm(4, 4),
        lambda: nn.GroupNorm(2, 4),
        IMAGES,
        ("groups: 2 here, 4 there", "any"),
    ),
    "a group for each channel": (
        lambda: layers.GroupNormalization(-1, epsilon=1e-5, scale=False, center=False, name="between"),
        lambda: nn.InstanceNorm2d(4, track_running_stats=True),
        lambda: nn.InstanceNorm2d(4),
        IMAGES,
        ("moving_statistics: False here, True there", "any"),
    ),
    "momentum": (
        lambda: layers.BatchNormalization(epsilon=1e-5, momentum=0.1, name="between"),
        lambda: nn.BatchNorm2d(4),
        lambda: nn.BatchNorm2d(4, momentum=0.9),
        IMAGES,
        ("momentum: 0.1 here, 0.9 there", "training"),
    ),
    "epsilon": (
        lambda: layers.LayerNormalization(epsilon=1e-5, name="between"),
        lambda: nn.LayerNorm(8, eps=1.01e-5),
        lambda: nn.LayerNorm(8),
        STEPS,
        ("epsilon: 1e-05 here, 1.01e-05 there", "every batch"),
    ),
    "constraint": (
        lambda: layers.Conv2D(4, 1, kernel_constraint=keras.constraints.MaxNorm(50.0), name="between"),
        lambda: nn.Conv2d(4, 4, 1),
        None,
        IMAGES,
        ("kernel_constraint: MaxNorm(max_value=50.0, axis=0) here, None there", "training"),
    ),
    "frozen": (
        lambda: layers.Dense(8, name="between"),
        lambda: nn.Linear(8, 8).requires_grad_(False),
        lambda: nn.Linear(8, 8),
        STEPS,
        ("weights: trained here, frozen there", "training"),
    ),
    "padding_idx": (
        lambda: layers.Embedding(20, 8, name="between"),
        lambda: nn.Embedding(20, 8, padding_idx=0),
        lambda: nn.Embedding(20, 8),
        WORDS,
        ("padding_idx=0 there: torch never trains this row, Keras does", "one framework"),
    ),
    "max_norm": (
        lambda: layers.Embedding(20, 8, name="between"),
        lambda: nn.Embedding(20, 8, max_norm=100.0),
        lambda: nn.Embedding(20, 8),
        WORDS,
        ("max_norm: None here, 100.0 there", "training"),
    ),
    "dropout of attention": (
        lambda: attend(dropout=0.5),
        lambda: First(nn.MultiheadAttention(8, 2, dropout=0.1, batch_first=True)),
        lambda: First(nn.MultiheadAttention(8, 2, dropout=0.5, batch_first=True)),
        STEPS,
        ("dropout: 0.5 here, 0.1 there", "training"),
    ),
    "heads": (
        attend,
        lambda: First(nn.MultiheadAttention(8, 4, batch_first=True)),
        lambda: First(nn.MultiheadAttention(8, 2, batch_first=True)),
        STEPS,
        ("num_heads: 2 here, 4 there", "any"),
    ),
    "dropout of a recurrent layer": (
        recurrent(layers.LSTM, recurrent_dropout=0.3),
        lambda: First(nn.LSTM(8, 8, batch_first=True)),
        None,
        STEPS,
        ("recurrent_dropout: 0.3 here, 0 there", "training"),
    ),
    "activation of a simple RNN": (
        recurrent(layers.SimpleRNN),
        lambda: First(nn.RNN(8, 8, nonlinearity="relu", batch_first=True)),
        lambda: First(nn.RNN(8, 8, batch_first=True)),
        STEPS,
        ("activation: tanh here, relu there", "any"),
    ),
    "activation of inner cells": (
        lambda: layers.Bidirectional(
            layers.GRU(4, return_sequences=True, recurrent_activation="hard_sigmoid"), name="between"
        ),
        lambda: First(nn.GRU(8, 4, batch_first=True, bidirectional=True)),
        None,
        STEPS,
        ("recurrent_activation: hard_sigmoid here, sigmoid there", "any"),
    ),
    "reset_after of inner cells": (
        lambda: layers.Bidirectional(
            layers.GRU(4, return_sequences=True, reset_after=False, use_bias=False), name="between"
        ),
        lambda: First(nn.GRU(8, 4, bias=False, batch_first=True, bidirectional=True)),
        None,
        STEPS,
        ("reset_after: False here, True there", "any"),
    ),
    "both directions": (
        lambda: layers.Bidirectional(layers.GRU(4, return_sequences=True), name="between"),
        None,
        lambda: First(nn.GRU(8, 4, batch_first=True, bidirectional=True)),
        STEPS,
        None,
    ),
    "cells in an RNN": (
        lambda: layers.RNN(layers.LSTMCell(8, dropout=0.2), return_sequences=True, name="between"),
        lambda: First(nn.LSTM(8, 8, batch_first=True)),
        None,
        STEPS,
        ("dropout: 0.2 here, 0 there", "training"),
    ),
    "align_corners": (
        bilinear,
        lambda: nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
        lambda: nn.Upsample(scale_factor=2, mode="bilinear"),
        IMAGES,
        ("align_corners: False here, True there", "any"),
    ),
    "interpolation": (
        lambda: layers.UpSampling2D(2, name="between"),
        lambda: nn.Upsample(scale_factor=2, mode="bilinear"),
        lambda: nn.Upsample(scale_factor=2),
        IMAGES,
        ("interpolation: nearest here, bilinear there", "any"),
    ),
}
# Sizes are open where the setting changes another size alone.
OPEN = ("ceil_mode", "padding with a stride")


@pytest.mark.parametrize("name", [name for name, row in PAIRED.items() if row[1]])
def test_a_setting_of_counterparts_is_named(name):
    here, there, _, x, expected = PAIRED[name]
    # A GRU without `reset_after` has no weights for those of torch.
    options = {"has_fixed_sizes": name not in OPEN, "is_loaded": not name.startswith("reset_after")}
    report = report_on(here(), there(), x, **options)
    assert_named(report, *expected)
    assert "between" in str(report)


@pytest.mark.parametrize("name", [name for name, row in PAIRED.items() if row[2]])
def test_counterparts_with_the_same_settings_are_silent(name):
    here, _, there, x, _ = PAIRED[name]
    # Sizes that cannot differ make a setting void.
    assert_silent(report_on(here(), there(), x))


def concatenate_directions(*, places):
    layer = layers.Bidirectional(layers.GRU(4, return_sequences=True), merge_mode=None, name="between")
    return lambda x: ops.concatenate([layer(x)[place] for place in places], axis=-1)


def test_directions_that_a_port_merges_itself_are_no_difference():
    both = First(nn.GRU(8, 4, batch_first=True, bidirectional=True))
    assert_silent(report_on(concatenate_directions(places=(0, 1)), both, STEPS))
    report = report_on(concatenate_directions(places=(1, 0)), both, STEPS)
    assert report.first.name == "head"
    assert said(report) == []


def test_axes_are_compared_if_the_inputs_show_their_order():
    options = {"epsilon": 1e-5, "name": "between"}
    report = report_on(layers.BatchNormalization(**options), nn.BatchNorm2d(4), IMAGES, is_loaded=False)
    assert not any("axis" in text for text in said(report))
    assert report.settings_not_compared == ["axis, because the inputs are not known to be equal (between)"]
    # As wide as high as it has channels, so that a wrong axis fits.
    images = DRAWS.normal(size=(4, 4, 4, 4)).astype("float32")
    report = report_on(layers.BatchNormalization(**options), nn.BatchNorm2d(4), images)
    assert report.settings_not_compared == []
    assert not any("axis" in text for text in said(report))
    report = report_on(layers.BatchNormalization(axis=1, **options), nn.BatchNorm2d(4), images)
    assert "axis, counted as here: 1 here, 3 there" in said(report)


def test_a_setting_that_the_shapes_make_void_is_none():
    assert_silent(report_on(layers.MaxPooling2D(2, name="between"), nn.MaxPool2d(2, ceil_mode=True), IMAGES))


# The same without a name for the layer, so that it has no counterpart.
BETWEEN = {
    "rate": (
        lambda: layers.Dropout(0.5),
        lambda: nn.Dropout(0.1),
        lambda: nn.Dropout(0.5),
        STEPS,
        "rate: 0.5 here, 0.1 there",
    ),
    "rate of a function": (
        lambda: layers.Dropout(0.5),
        lambda: Function(lambda x, training: nn.functional.dropout(x, 0.1, training)),
        lambda: Function(lambda x, training: nn.functional.dropout(x, p=0.5, training=training)),
        STEPS,
        "rate: 0.5 here, 0.1 there",
    ),
    "only here": (
        lambda: layers.Dropout(0.5),
        nn.Identity,
        lambda: nn.Sequential(nn.Identity(), nn.Dropout(0.5)),
        STEPS,
        "only here: Dropout of 0.5",
    ),
    "noise": (
        lambda: layers.GaussianNoise(0.5),
        nn.Identity,
        None,
        STEPS,
        "only here: GaussianNoise of 0.5",
    ),
    "only there": (
        lambda: layers.Identity(),
        lambda: nn.Dropout(0.1),
        lambda: nn.Dropout(0.0),
        STEPS,
        "only there: Dropout of 0.1",
    ),
    "off": (
        lambda: layers.Dropout(0.0),
        lambda: nn.Dropout(0.1),
        nn.Identity,
        STEPS,
        "rate: 0 here, 0.1 there",
    ),
    "dropout between recurrent layers": (
        lambda: [layers.LSTM(8, return_sequences=True), layers.Dropout(0.5), layers.LSTM(8, return_sequences=True)],
        lambda: First(nn.LSTM(8, 8, 2, dropout=0.1, batch_first=True)),
        None,
        STEPS,
        "dropout: 0.5 here, 0.1 there",
    ),
    "slope": (
        lambda: layers.LeakyReLU(0.3),
        lambda: nn.LeakyReLU(0.01),
        lambda: nn.LeakyReLU(0.3),
        STEPS,
        "negative_slope: 0.3 here, 0.01 there",
    ),
    "slope in a function here": (
        lambda: lambda x: ops.leaky_relu(x, 0.2),
        lambda: nn.LeakyReLU(0.01),
        lambda: nn.LeakyReLU(0.2),
        STEPS,
        "negative_slope: 0.2 here, 0.01 there",
    ),
    "slope in a function there": (
        lambda: layers.LeakyReLU(0.3),
        lambda: Function(lambda x, training: nn.functional.leaky_relu(x)),
        lambda: Function(lambda x, training: nn.functional.leaky_relu(x, 0.3)),
        STEPS,
        "negative_slope: 0.3 here, 0.01 there",
    ),
    "groups of a norm": (
        lambda: layers.GroupNormalization(2, epsilon=1e-5, center=False, scale=False),
        lambda: nn.GroupNorm(4, 4, affine=False),
        lambda: nn.GroupNorm(2, 4, affine=False),
        IMAGES,
        "groups: 2 here, 4 there",
    ),
    "a window more": (
        lambda: layers.MaxPooling2D(2, 2, padding="same"),
        lambda: nn.MaxPool2d(2, 2),
        lambda: nn.MaxPool2d(2, 2, ceil_mode=True),
        ODD_IMAGES,
        "padding: 0 before and 1 after here, 0 before and 0 after there: 5 x 5 windows here, 4 x 4 there",
    ),
    "another class": (
        lambda: layers.MaxPooling2D(2),
        lambda: nn.AvgPool2d(2),
        lambda: nn.MaxPool2d(2),
        IMAGES,
        "MaxPooling2D here, AvgPool2d there",
    ),
}


@pytest.mark.parametrize("name", BETWEEN)
def test_settings_between_counterparts_are_named(name):
    here, there, _, x, text = BETWEEN[name]
    report = report_on(here(), there(), x)
    assert any(line.startswith(text) for line in said(report)), f"{said(report)}\n{report}"
    assert text in " ".join(str(report).split())


@pytest.mark.parametrize("name", [name for name, row in BETWEEN.items() if row[2]])
def test_the_same_settings_between_counterparts_are_silent(name):
    here, _, there, x, _ = BETWEEN[name]
    assert_silent(report_on(here(), there(), x))


def test_other_numbers_of_dropouts_differ_in_training():
    several = nn.Sequential(nn.Dropout(0.1), nn.Dropout(0.1))
    here = [layers.Dropout(0.1, name=f"drop{place}") for place in range(3)]
    report = report_on(here, several, STEPS)
    (difference,) = report.settings
    assert f"{difference}" == "3 Dropout of 0.1 here, 2 Dropout of 0.1 there (drop0 and between.0)"
    assert difference.scope == "training"
    assert_silent(report_on(here[:2], several, STEPS))
    # What is off does not count.
    assert_silent(report_on([*here[:2], layers.Dropout(0.0)], several, STEPS))
    # Another order of the same is no difference.
    here = [layers.Dropout(rate) for rate in (0.1, 0.2, 0.3)]
    assert_silent(report_on(here, nn.Sequential(*map(nn.Dropout, (0.3, 0.2, 0.1))), STEPS))


def test_other_numbers_of_a_kind_are_not_compared():
    several = nn.Sequential(nn.LeakyReLU(0.1), nn.LeakyReLU(0.2))
    here = [layers.LeakyReLU(slope) for slope in (0.1, 0.2, 0.3)]
    report = report_on(here, several, STEPS)
    assert report.settings_not_compared == ["3 LeakyReLU here, 2 LeakyReLU there (before head)"]
    text = "Settings not compared: 3 LeakyReLU here, 2 LeakyReLU there (before head)."
    assert text in " ".join(str(report).split())


def test_the_dropout_that_has_another_rate_is_named():
    several = nn.Sequential(nn.Dropout(0.3), nn.Dropout(0.3))
    report = report_on([layers.Dropout(rate, name=f"of_{rate}") for rate in (0.5, 0.3)], several, STEPS)
    assert [f"{difference}" for difference in report.settings] == ["rate: 0.5 here, 0.3 there (of_0.5 and between.0)"]
    # In another order, the equal rates are pairs.
    several = nn.Sequential(nn.Dropout(0.1), nn.Dropout(0.2), nn.Dropout(0.3))
    report = report_on([layers.Dropout(rate, name=f"of_{rate}") for rate in (0.2, 0.1, 0.4)], several, STEPS)
    assert [f"{difference}" for difference in report.settings] == ["rate: 0.4 here, 0.3 there (of_0.4 and between.2)"]


class OwnNorm(nn.Module if BACKEND == "torch" else object):
    """A module of a class in no row, with a setting."""

    def __init__(self):
        super().__init__()
        self.epsilon = 1e-5

    def forward(self, x):
        return x


def test_a_class_in_no_row_is_listed_once():
    report = report_on(layers.Identity(), nn.Sequential(OwnNorm(), OwnNorm()), STEPS)
    assert report.ok
    assert report.settings_not_compared == ["settings that are not known: OwnNorm"]
    assert " ".join(str(report).split()).count("OwnNorm") == 1


def test_gelu_in_the_code_of_both_sides_is_known_by_its_values():
    class Block(layers.Layer):
        def __init__(self, *, is_approximate, **options):
            super().__init__(**options)
            self.is_approximate = is_approximate
            self.fc1, self.fc2 = layers.Dense(8, name="fc1"), layers.Dense(8, name="fc2")

        def build(self, shape):
            self.fc1.build(shape)
            self.fc2.build(shape)

        def call(self, x):
            return self.fc2(ops.gelu(self.fc1(x), approximate=self.is_approximate))

    class TorchBlock(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc1, self.fc2 = nn.Linear(8, 8), nn.Linear(8, 8)

        def forward(self, x):
            return self.fc2(nn.functional.gelu(self.fc1(x)))

    report = report_on(Block(is_approximate=True, name="between"), TorchBlock(), 4 * STEPS)
    assert report.first.path == "between/fc2"
    assert report.reasons == ["GELU: by tanh here, exact there"]
    assert report_on(Block(is_approximate=False, name="between"), TorchBlock(), 4 * STEPS).ok


def test_a_function_in_the_code_of_both_sides_is_known_by_its_values():
    there = Function(lambda x, training: torch.tanh(x))
    report = report_on(lambda x: ops.relu(x), there, STEPS)
    assert report.first.path == "head"
    assert report.reasons == ["activation: relu here, tanh there"]
    # Another computation is no function of the list.
    assert report_on(lambda x: 2 * ops.tanh(x), there, STEPS).reasons == []
    assert_silent(report_on(lambda x: ops.tanh(x), there, STEPS))


def test_a_mask_is_the_reason_where_a_layer_looks_at_it():
    class WordTagger(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.lstm = nn.Embedding(20, 8), nn.LSTM(8, 8, 2, batch_first=True)
            self.head = nn.Linear(8, 3)

        def forward(self, words):
            return self.head(self.lstm(self.table(words))[0])

    module = WordTagger()
    padded = WORDS * (np.arange(6) < 4)

    def report_on_masked(x, *, is_masked):
        table = layers.Embedding(20, 8, mask_zero=is_masked, name="table")
        lstms = [layers.LSTM(8, return_sequences=True, name=f"lstm_{place}") for place in range(2)]
        parts = [table, *lstms, layers.Dense(3, name="head")]
        model = keras.Sequential([keras.Input((6,), dtype="int32"), *parts])
        names = {"lstm_*": "lstm", "*": "{0}"}
        keras_initx.load_pretrained(model, module.state_dict(), names, layout="torch")
        return compare_outputs(model, x, record_outputs(module, torch.as_tensor(x)), names=names)

    reason = "mask_zero=True here: Keras masks 0 in later layers and in the loss, torch does not (table)"
    report = report_on_masked(padded, is_masked=True)
    assert report.first.path == "head"
    assert report.reasons == [reason]
    assert " ".join(str(report).split()).count("mask_zero=True here") == 1
    assert report_on_masked(WORDS, is_masked=True).reasons == []
    assert_silent(report_on_masked(padded, is_masked=False))


def test_settings_of_a_file_are_those_of_the_module(tmp_path):
    model, module, names = port(layers.Dropout(0.5), nn.Dropout(0.1), STEPS)
    recorded = record_outputs(module, torch.as_tensor(STEPS))
    recorded.save(tmp_path / "outputs.npz")
    expected = compare_outputs(model, STEPS, recorded, names=names)
    report = compare_outputs(model, STEPS, tmp_path / "outputs.npz", names=names)
    assert report.settings == expected.settings
    assert [difference.text for difference in report.settings] == ["rate: 0.5 here, 0.1 there"]


@pytest.mark.parametrize(
    ("here", "there", "text", "scope"),
    [
        (lambda: layers.Dropout(0.5, name="part"), lambda: layers.Dropout(0.1, name="part"), "rate: 0.5", "training"),
        (lambda: layers.ReLU(7, name="part"), lambda: layers.ReLU(6, name="part"), "max_value: 7", "any"),
        (lambda: layers.Rescaling(2.0, name="part"), lambda: layers.Rescaling(1.0, name="part"), "scale: 2.0", "any"),
        (
            lambda: layers.RandomFlip(name="part"),
            lambda: layers.RandomFlip("vertical", name="part"),
            "mode:",
            "training",
        ),
    ],
    ids=["rate", "limit", "rescaling", "augmentation"],
)
def test_two_models_of_keras_are_compared_by_their_configs(here, there, text, scope):
    models = [keras.Sequential([keras.Input((8, 8, 4)), make(), layers.Flatten()]) for make in (here, there)]
    report = compare_outputs(models[0], IMAGES, models[1])
    (difference,) = report.settings
    assert difference.text.startswith(text)
    assert difference.scope == scope
    assert_silent(compare_outputs(models[0], IMAGES, keras.models.clone_model(models[0])))


def test_settings_of_training_count_if_the_first_step_was_compared():
    model, module, names = port(
        layers.Dense(8, kernel_constraint=keras.constraints.MaxNorm(50.0), name="between"), nn.Linear(8, 8), STEPS
    )
    model.compile("sgd", "mse")
    inputs = {"model": STEPS, "module": torch.as_tensor(STEPS)}
    report = keras_initx.port_report(model, module, inputs, names=names)
    setting = "kernel_constraint: MaxNorm(max_value=50.0, axis=0) here, None there (between)"
    assert report.ok
    assert report.summary == f"The port is equal: weights, outputs; in training these differ: {setting}."
    y = np.zeros((4, 6, 3), "float32")
    report = keras_initx.port_report(model, module, inputs, y, names=names, loss=nn.MSELoss())
    assert not report.ok
    assert report.summary == f"The port differs: in later steps, {setting}."


def test_a_setting_that_changes_other_outputs_makes_a_port_differ():
    model, module, names = port(layers.ReLU(name="between"), nn.ReLU6(), STEPS)
    report = keras_initx.port_report(model, module, {"model": STEPS, "module": torch.as_tensor(STEPS)}, names=names)
    assert report.outputs.first is None
    assert not report.ok
    assert report["outputs"].status == "differs"
    assert report.summary == "The port differs: max_value: None here, 6 there (between)."


def test_what_one_framework_has_is_told_once_and_is_no_difference():
    model, module, names = port(layers.Embedding(20, 8, name="between"), nn.Embedding(20, 8, padding_idx=0), WORDS)
    report = keras_initx.port_report(model, module, WORDS, names=names)
    assert report.ok
    assert report.summary == "The port is equal: weights, outputs."
    assert str(report).count("padding_idx=0 there: torch never trains this row") == 1


def tagger(*, is_masked):
    """Return a tagger with a mask of its embedding or without, and its module."""
    module = nn.Sequential()
    module.add_module("table", nn.Embedding(20, 8))
    module.add_module("head", nn.Linear(8, 3))
    parts = [layers.Embedding(20, 8, mask_zero=is_masked, name="table"), layers.Dense(3, name="head")]
    model = keras.Sequential([keras.Input((6,), dtype="int32"), *parts])
    keras_initx.load_pretrained(model, module.state_dict(), layout="torch")
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model, module


def cross_entropy(outputs, y):
    return nn.functional.cross_entropy(outputs.flatten(0, 1), y.flatten())


PADDED = WORDS * (np.arange(6) < 4)
LABELS = DRAWS.integers(0, 3, (4, 6))


def test_a_mask_in_the_loss_is_a_reason_of_another_loss():
    model, module = tagger(is_masked=True)
    report = keras_initx.port_report(model, module, PADDED, LABELS, loss=cross_entropy)
    assert "losses of Keras leave out 8 of 24 positions, losses of torch count them" in report.summary
    model, module = tagger(is_masked=False)
    assert keras_initx.port_report(model, module, PADDED, LABELS, loss=cross_entropy).ok
