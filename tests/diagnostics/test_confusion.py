"""Of small networks of many kinds the healthy ones have no problems, and the broken ones those that were planted."""

import keras
import pytest
from confusion import BROKEN, HEALTHY

import keras_initx

# Keras itself warns of a softmax of one unit, and on TensorFlow of probabilities taken for logits.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*softmax over axis:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*from_logits=True.*:UserWarning"),
]

# Of several kinds of measurement: JAX would take minutes to compile all.
EVERYWHERE = {
    "kernels of zeros",
    "LSTM, forget bias -4",
    "one of three outputs, deviation 10",
    "U-Net",
    "softmax, taken for logits",
    "class numbers from 1",
    "float16, dense",
}


def marked(names):
    return [name if name in EVERYWHERE else pytest.param(name, marks=pytest.mark.once) for name in names]


def report_of(build):
    keras.utils.set_random_seed(0)
    model, x, y, loss = build()
    return keras_initx.diagnose(model, x, y, loss=loss)


@pytest.mark.parametrize("name", marked(HEALTHY))
def test_a_healthy_network_has_no_problem(name):
    # Zeros at the end of a branch or of the network, and what ReZero multiplies by zero.
    notes = {("all-zero weights", "note"), ("vanishing", "note")}
    assert {(verdict.problem, verdict.level) for verdict in report_of(HEALTHY[name]).verdicts} <= notes


@pytest.mark.parametrize("name", marked(BROKEN))
def test_a_broken_network_has_the_problem_that_was_planted(name):
    build, expected = BROKEN[name]
    assert [verdict.problem for verdict in report_of(build).problems] == expected
