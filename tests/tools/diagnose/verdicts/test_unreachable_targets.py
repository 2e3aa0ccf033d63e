"""Targets that outputs cannot reach are named, also where limits are found by trial."""

import keras
import numpy as np
import pytest
from last_layers import Probabilities, X, network, problems, verdicts

import keras_initx


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_limits_in_own_code_are_found_by_trial(dtype):
    def limited(activation, least):
        model = Probabilities(activation)
        model.out.dtype_policy = keras.DTypePolicy(dtype)
        targets = np.linspace(least, 3, 4 * len(X), dtype="float32").reshape(-1, 4)
        return verdicts(model, targets, "mse")

    (found,) = limited(lambda x: 2 * keras.ops.tanh(x), -3)
    assert "the outputs of out lie between -2 and 2" in found.evidence
    (found,) = limited(lambda x: keras.ops.relu(x) + 1, -3)
    assert "never below 1" in found.evidence
    assert limited(keras.ops.square, 0) == []
    assert limited(lambda x: x + 1, -3) == []


def test_limits_are_not_tried_where_the_batch_cannot_be_cut():
    model = Probabilities(lambda x: keras.ops.tanh(keras.ops.reshape(x, (128, 4))))
    x = np.concatenate([X, X, X])[:128]
    assert keras_initx.diagnose(model, x, np.ones((128, 4), "float32"), loss="mse").ok


def test_targets_of_noise_may_leave_the_range_a_little():
    y = 1 / (1 + np.exp(-X))
    y[:2] += 1
    assert problems(network(8, "sigmoid"), y, "mse") == []
