"""Settings that differ between counterparts, in layers that have none, are named; the same settings are silent."""

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
    Function,
    assert_silent,
    report_on,
    said,
)

import keras_initx
from keras_initx import compare_outputs, record_outputs

if BACKEND == "torch":
    import torch
    from torch import nn

pytestmark = pytest.mark.skipif(BACKEND != "torch", reason="modules of torch")

# What stands in the model, what in the module, and there in a right port; the inputs; what the report says. Without a
# name, the layer has no counterpart.
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
LABELS = np.random.default_rng(1).integers(0, 3, (4, 6))


def test_a_mask_in_the_loss_is_a_reason_of_another_loss():
    model, module = tagger(is_masked=True)
    report = keras_initx.port_report(model, module, PADDED, LABELS, loss=cross_entropy)
    assert "losses of Keras leave out 8 of 24 positions, losses of torch count them" in report.summary
    model, module = tagger(is_masked=False)
    assert keras_initx.port_report(model, module, PADDED, LABELS, loss=cross_entropy).ok
