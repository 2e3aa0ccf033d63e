"""Labels that are rarely 1 get a note with the bias of their frequency, which is silent once that is there."""

import keras
import numpy as np
import pytest
from diagnosed.networks import BINARY, LOGITS, in_precision
from keras import layers, ops

import keras_initx

RNG = np.random.default_rng(0)
X = RNG.normal(size=(256, 16)).astype("float32")
RARE = (np.arange(256)[:, None] % 128 == 0).astype("float32")
SMALL = keras_initx.RandomNormal(stddev=0.01, seed=0)


def network(*last):
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((16,)), layers.Dense(32, "relu", kernel_initializer="he_normal"), *last])


def ended(units=1, activation=None, **options):
    """Return a network with this last layer."""
    options.setdefault("kernel_initializer", SMALL)
    return network(layers.Dense(units, activation, name="out", **options))


def note_on(model, y, loss=LOGITS, x=X):
    """Return the only verdict, a note, or `None` without any."""
    report = keras_initx.diagnose(model, x[: len(y)], y, loss=loss)
    assert report.ok
    assert len(report.verdicts) < 2
    return report.verdicts[0] if report.verdicts else None


@pytest.mark.release_backends
def test_a_note_has_the_bias_and_is_silent_once_it_is_there():
    model = ended(activation="sigmoid")
    report = keras_initx.diagnose(model, X, RARE, loss=BINARY)
    (note,) = report.verdicts
    assert (note.problem, note.level, note.layers) == ("rare labels", "note", ("out",))
    assert note.evidence.startswith("0.78% of the labels of out are 1. Its loss starts at 0.6")
    assert note.remedy.text.startswith("set bias_initializer=keras_initx.PriorBias(0.0078) in out")
    plan = keras_initx.initialize(model, report, seed=0)
    assert [row.path for row in plan.rows if row.initializer] == ["out/bias"]
    assert note_on(model, RARE, BINARY) is None


def test_a_problem_is_cured_before_a_note():
    model = network(layers.Dense(32, "relu", kernel_initializer="zeros"), layers.Dense(1, name="out"))
    plan = keras_initx.initialize(model, keras_initx.diagnose(model, X, RARE, loss=LOGITS), seed=0)
    assert "out/bias" not in [row.path for row in plan.rows if row.initializer]
    assert any(note.startswith("For the next diagnosis, if it finds 'rare labels'") for note in plan.notes)


@pytest.mark.parametrize("y", [RARE[:, 0], RARE.astype("int32"), RARE[:, 0].astype(bool)], ids=["flat", "int", "bool"])
def test_labels_may_have_any_form(y):
    assert "PriorBias(0.0078)" in note_on(ended(), y).remedy.text


def test_labels_that_are_rarely_0_count_too():
    assert "PriorBias(0.9922)" in note_on(ended(), 1 - RARE).remedy.text


def test_several_labels_of_one_frequency_share_a_number():
    y = np.zeros((256, 64), "float32")
    y[np.arange(256), np.arange(256) % 64] = 1
    assert "PriorBias(0.016)" in note_on(ended(64), y).remedy.text
    bias = keras_initx.PriorBias(1 / 64)
    assert note_on(ended(64, bias_initializer=bias), y) is None


@pytest.mark.parametrize("share", [0.15, 0.5])
def test_labels_that_are_not_rare_get_no_note(share):
    y = (np.arange(256)[:, None] < share * 256).astype("float32")
    assert note_on(ended(), y) is None


def test_of_few_examples_a_frequency_is_not_known():
    assert note_on(ended(), RARE[:16]) is None
    assert note_on(ended(), RARE[:64]).evidence.startswith("1.56% of the labels of out are 1")
    assert note_on(ended(), RARE[1:100]) is None  # none at all


@pytest.mark.parametrize("loss", ["mse", "squared_hinge", "binary_focal_crossentropy"])
def test_other_losses_get_no_note(loss):
    assert note_on(ended(activation="sigmoid"), RARE, loss) is None


def test_a_loss_of_ones_own_counts_if_it_is_a_crossentropy():
    def own(y, logits):
        return ops.mean(ops.softplus(logits) - ops.cast(y, logits.dtype) * logits, axis=-1)

    def weighted(y, logits):
        return ops.mean(90 * y * ops.softplus(-logits) + (1 - y) * ops.softplus(logits), axis=-1)

    assert note_on(ended(), RARE, own).remedy.text.startswith(
        "set bias_initializer=keras_initx.PriorBias(0.0078) in out"
    )
    assert note_on(ended(), RARE, weighted) is None


def test_probabilities_for_labels_are_no_rare_labels():
    assert note_on(ended(), np.where(RARE == 1, 0.9, 0.0).astype("float32")) is None


def test_smoothed_labels_have_a_smoothed_frequency():
    loss = keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=0.1)
    assert "PriorBias(0.057)" in note_on(ended(), RARE, loss).remedy.text


def test_an_activation_and_a_shape_may_follow_the_bias():
    model = network(layers.Dense(1, name="out"), layers.Activation("sigmoid"))
    assert list(note_on(model, RARE, BINARY).remedy.rules) == ["out/bias"]
    model = network(layers.Dense(4, name="out"), layers.Reshape((2, 2)))
    y = np.zeros((256, 2, 2), "float32")
    y[::100] = 1
    assert list(note_on(model, y).remedy.rules) == ["out/bias"]


def test_without_a_bias_that_is_known_the_remedy_is_a_text():
    note = note_on(ended(use_bias=False), RARE)
    assert (note.remedy.rules, note.remedy.text[:34]) == ({}, "set use_bias=True and bias_initial")
    model = network(layers.Dense(1), layers.Lambda(ops.sigmoid, name="last"))
    note = note_on(model, RARE, BINARY)
    assert note.remedy.rules == {}
    assert note.remedy.text.startswith("use a bias of keras_initx.PriorBias(0.0078) before the sigmoid of ")


def test_a_bias_that_is_frozen_gets_no_note():
    model = ended()
    model.get_layer("out").trainable = False
    assert note_on(model, RARE) is None


def test_each_output_has_its_own_labels():
    inputs = keras.Input((16,))
    outputs = {name: layers.Dense(1, name=name)(inputs) for name in ("one", "other")}
    y = {"one": RARE, "other": (X[:, :1] > 0).astype("float32")}
    report = keras_initx.diagnose(keras.Model(inputs, outputs), X, y, loss={"one": LOGITS, "other": LOGITS})
    assert [(verdict.problem, verdict.layers) for verdict in report.verdicts] == [("rare labels", ("one",))]


@pytest.mark.parametrize("policy", ["float16", "bfloat16"])
def test_a_model_in_16_bits_is_silent_with_the_bias(policy):
    model = in_precision(policy, lambda: ended(activation="sigmoid", kernel_initializer="glorot_uniform"))
    report = keras_initx.diagnose(model, X, RARE, loss=BINARY)
    assert [verdict.problem for verdict in report.verdicts] == ["rare labels"]
    keras_initx.initialize(model, report, seed=0)
    assert note_on(model, RARE, BINARY) is None


def test_what_a_mask_leaves_out_does_not_count():
    inputs = keras.Input((8,), dtype="int32")
    hidden = layers.Embedding(20, 8, mask_zero=True)(inputs)
    model = keras.Model(inputs, layers.Dense(1, name="out")(hidden))
    words = RNG.integers(1, 20, (64, 8))
    words[:, 4:] = 0
    y = np.ones((64, 8, 1), "float32")
    y[:, :4] = 0
    y[0, 0] = y[9, 2] = 1
    assert "PriorBias(0.0078)" in note_on(model, y, x=words).remedy.text
