"""A softmax of one unit is named."""

import pytest
from last_layers import X, network

import keras_initx

# Keras itself warns of a softmax of one unit, and on TensorFlow of probabilities taken for logits.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*softmax over axis:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*from_logits=True.*:UserWarning"),
]


def test_a_softmax_of_one_unit_needs_no_targets():
    report = keras_initx.diagnose(network(1, "softmax"), X)
    assert [verdict.problem for verdict in report.verdicts] == ["single class"]
