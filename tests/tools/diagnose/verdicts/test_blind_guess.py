"""A loss that is no better than a guess by the shares of the labels is a note, with both numbers."""

import re

import keras
import numpy as np
import pytest
from keras import layers

import keras_initx
from keras_initx.scaling import RateFactors

GENERATOR = np.random.default_rng(1)
X = GENERATOR.normal(size=(64, 8)).astype("float32")
LABELS = (1.3 * X[:, 0]).round().astype("int64") % 5
ENTROPY = -sum(share * np.log(share) for share in np.bincount(LABELS) / 64)


def normalized_network(rate):
    """Return a network that a large rate throws to a guess in its first steps."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8,))
    flow = layers.Dense(16)(inputs)
    for _ in range(4):
        branch = layers.Dense(16)(layers.Dense(32, "gelu")(flow))
        flow = layers.LayerNormalization()(flow + branch)
    model = keras.Model(inputs, layers.Dense(5, "softmax", name="classes")(flow))
    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy")
    return model


def notes(report):
    return [verdict for verdict in report.verdicts if verdict.problem == "blind guess"]


@pytest.mark.rare
def test_a_rate_that_throws_a_network_to_a_guess_is_a_note_with_a_rate_that_learns():
    report = keras_initx.diagnose(normalized_network(0.3), X, LABELS, steps=50)
    (note,) = notes(report)
    assert report.ok
    guess = f"a guess by the shares of the labels would cost {ENTROPY:.3g}"
    (loss,) = re.match(rf"the loss is (.*) after 50 steps of Adam at 0\.3; {guess}\. ", note.evidence).groups()
    assert float(loss) == pytest.approx(min(report.losses[25:]), rel=5e-3)
    (rate,) = re.findall(r"keras.optimizers.Adam\((.*)\) with its other arguments", str(note.remedy))
    assert "warmup_steps" in str(note.remedy)
    slower = keras_initx.diagnose(normalized_network(float(rate)), X, LABELS, steps=50)
    assert not notes(slower)
    assert slower.losses[-1] < 0.9 * ENTROPY


@pytest.mark.rare
def test_fewer_steps_say_nothing():
    assert not notes(keras_initx.diagnose(normalized_network(0.3), X, LABELS, steps=49))


@pytest.mark.rare
def test_labels_that_do_not_belong_to_their_inputs_are_named_where_no_rate_is_better():
    x, labels = GENERATOR.normal(size=(512, 2)), GENERATOR.integers(0, 3, 512)
    model = keras.Sequential([keras.Input((2,)), layers.Dense(3, "softmax")])
    model.compile(keras.optimizers.Adam(0.1), "sparse_categorical_crossentropy")
    (note,) = notes(keras_initx.diagnose(model, x, labels, steps=50))
    assert "rates of 0.01, 0.001, 0.0001, 1, 10 are no better" in str(note.remedy)
    assert "check that each label belongs to its input" in str(note.remedy)


@pytest.mark.parametrize(
    "optimizer",
    [
        pytest.param(keras.optimizers.SGD(0.0), marks=pytest.mark.rare),
        keras.optimizers.SGD(0.1, gradient_accumulation_steps=80),
    ],
    ids=["a rate of 0", "steps without an update"],
)
def test_another_reason_is_found_alone(optimizer):
    model = normalized_network(0.1)
    model.compile(optimizer, "sparse_categorical_crossentropy")
    report = keras_initx.diagnose(model, X, LABELS, steps=50)
    assert not notes(report)
    assert report.verdicts[-1].problem == "diverging steps"


@pytest.mark.rare
def test_a_penalty_hides_what_the_loss_is():
    model = normalized_network(0.3)
    model.layers[1].kernel_regularizer = model.layers[1].kernel.regularizer = keras.regularizers.L2(1.0)
    assert not notes(keras_initx.diagnose(model, X, LABELS, steps=50))


@pytest.mark.rare
def test_a_monitor_says_it_after_the_first_epoch():
    monitor = keras_initx.SignalMonitor(X, LABELS, every=30)
    model = normalized_network(0.3)
    model.fit(X, LABELS, batch_size=1, epochs=2, verbose=0, callbacks=[monitor])  # 64 steps in each epoch
    found = {step: len(notes(report)) for step, report in monitor.history.items()}
    assert found == {0: 0, 30: 0, 60: 0, 90: 1, 120: 1}
    (note,) = notes(monitor.history[90])
    assert re.fullmatch(
        rf"classes has a loss of .*; a guess by the shares of the labels would cost {ENTROPY:.3g}\. .*", note.evidence
    )


@pytest.mark.rare
def test_a_monitor_is_silent_where_a_network_learns():
    model = keras.Sequential([keras.Input((8,)), layers.Dense(5, "softmax")])
    model.compile(keras.optimizers.Adam(0.03), "sparse_categorical_crossentropy")
    monitor = keras_initx.SignalMonitor(X, LABELS, every=64)
    model.fit(X, LABELS, batch_size=1, epochs=4, verbose=0, callbacks=[monitor])
    assert model.evaluate(X, LABELS, verbose=0) < 0.8 * ENTROPY
    assert {step: len(notes(report)) for step, report in monitor.history.items() if step > 64} == {
        128: 0,
        192: 0,
        256: 0,
    }


@pytest.mark.rare
def test_where_no_other_rate_was_tried_none_is_named():
    model = normalized_network(0.3)
    model.compile(RateFactors(keras.optimizers.Adam(0.3), {"*beta": 0.9}), "sparse_categorical_crossentropy")
    (note,) = notes(keras_initx.diagnose(model, X, LABELS, steps=50))
    assert str(note.remedy).startswith("use another rate, or a schedule with `warmup_steps`")


@pytest.mark.rare
def test_an_output_of_a_model_inside_is_compared_with_a_guess_too():
    classes = layers.Dense(5, "softmax", kernel_initializer="zeros", name="classes")
    head = keras.Sequential([keras.Input((8,)), classes], name="head")
    model = keras.Sequential([keras.Input((8,)), head])
    model.compile(keras.optimizers.SGD(1e-6), "sparse_categorical_crossentropy")
    monitor = keras_initx.SignalMonitor(X, LABELS, every=128)
    model.fit(X, LABELS, batch_size=1, epochs=2, verbose=0, callbacks=[monitor])
    (note,) = notes(monitor.history[128])
    assert note.layers == ("head/classes",)
