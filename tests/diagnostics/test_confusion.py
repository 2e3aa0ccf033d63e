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
    "softmax, taken for logits",
    "class numbers from 1",
}
# Larger than others of their kind.
LARGE = {
    "16 residual blocks that end in zeros",
    "16 residual blocks that end in small weights",
    "60 zeros behind 3 words, a mask",
    "encoder and decoder",
    "transformer, 12 blocks",
    "decoder, queries and keys times 6",
    "vision transformer",
}


def marked(names, in_full):
    """Return the names, those for a full run and those for one backend with their marks."""
    params = []
    for name in names:
        marks = [pytest.mark.full] * (name in in_full) + [pytest.mark.once] * (name not in EVERYWHERE)
        params.append(pytest.param(name, marks=marks))
    return params


def repeated(networks):
    """Return the names of the networks whose problems another before them has."""
    seen, names = [], set()
    for name, (_, problems) in networks.items():
        if problems in seen and name not in EVERYWHERE:
            names.add(name)
        seen.append(problems)
    return names


def report_of(build):
    keras.utils.set_random_seed(0)
    model, x, y, loss = build()
    return keras_initx.diagnose(model, x, y, loss=loss)


@pytest.mark.parametrize("name", marked(HEALTHY, LARGE))
def test_a_healthy_network_has_no_problem(name):
    # Zeros at the end of a branch or of the network, and what ReZero multiplies by zero.
    notes = {("all-zero weights", "note"), ("vanishing", "note")}
    assert {(verdict.problem, verdict.level) for verdict in report_of(HEALTHY[name]).verdicts} <= notes


@pytest.mark.parametrize("name", marked(BROKEN, LARGE | repeated(BROKEN)))
def test_a_broken_network_has_the_problem_that_was_planted(name):
    build, expected = BROKEN[name]
    assert [verdict.problem for verdict in report_of(build).problems] == expected
