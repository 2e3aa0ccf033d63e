"""Settings of a layer and of its counterpart that differ are named, and a port with the same settings is silent."""

import keras
import numpy as np
import pytest
from keras import layers, ops
from modes import BACKEND
from setting_ports import (
    IMAGES,
    ODD_IMAGES,
    STEPS,
    WORDS,
    First,
    assert_named,
    assert_silent,
    attend,
    port,
    report_on,
    said,
)

import keras_initx
from keras_initx import compare_outputs, record_outputs

if BACKEND == "torch":
    import torch
    from torch import nn

pytestmark = pytest.mark.skipif(BACKEND != "torch", reason="modules of torch")


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
    images = np.random.default_rng(1).normal(size=(4, 4, 4, 4)).astype("float32")
    report = report_on(layers.BatchNormalization(**options), nn.BatchNorm2d(4), images)
    assert report.settings_not_compared == []
    assert not any("axis" in text for text in said(report))
    report = report_on(layers.BatchNormalization(axis=1, **options), nn.BatchNorm2d(4), images)
    assert "axis, counted as here: 1 here, 3 there" in said(report)


def test_a_setting_that_the_shapes_make_void_is_none():
    assert_silent(report_on(layers.MaxPooling2D(2, name="between"), nn.MaxPool2d(2, ceil_mode=True), IMAGES))


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
