"""Of small networks of many kinds the healthy ones have no problems, and the broken ones those that were planted."""

import keras
import pytest
from confusion import BROKEN, HEALTHY

import keras_initx

# Some of each kind of measurement: JAX would take minutes to compile all.
EVERYWHERE = {
    *("kernels of zeros", "LSTM, forget bias -4", "logits, deviation 4", "one of three outputs, deviation 10"),
    *("regression, targets of 1000", "grouped queries, times 6", "layer normalization before each ReLU, 60 layers"),
    *("ReLU, He", "two classes, logits", "three outputs", "U-Net", "LSTM", "trained, dense"),
    *("float16, dense", "bfloat16, GRU"),
}


def marked(names):
    return [name if name in EVERYWHERE else pytest.param(name, marks=pytest.mark.once) for name in names]


def problems(build):
    """Return the problems that are errors or warnings."""
    keras.utils.set_random_seed(0)
    model, x, y, loss = build()
    return [verdict.problem for verdict in keras_initx.diagnose(model, x, y, loss=loss).problems]


@pytest.mark.parametrize("name", marked(HEALTHY))
def test_a_healthy_network_has_no_problem(name):
    assert problems(HEALTHY[name]) == []


@pytest.mark.parametrize("name", marked(BROKEN))
def test_a_broken_network_has_the_problem_that_was_planted(name):
    build, expected = BROKEN[name]
    assert problems(build) == expected
