"""The first layer that differs is named, and clean pairs are silent."""

import keras
import numpy as np
import pytest
from planted import X, drawn, gelu_by_tanh, network, with_values_of

from keras_initx.outputs import compare_outputs, record_outputs


@pytest.fixture(scope="module")
def source():
    return drawn(network())


@pytest.fixture(scope="module")
def recorded(source):
    return record_outputs(source, X)


def swap_heads(model):
    kernel = model.get_layer("attention").query_dense.kernel
    kernel.assign(keras.ops.flip(kernel, 1))


def swap_kernels(model):
    up, down = model.get_layer("up").kernel, model.get_layer("down").kernel
    values = np.array(keras.ops.convert_to_numpy(up))
    up.assign(down)
    down.assign(values)


def forget_variance(model):
    model.get_layer("batch_norm").moving_variance.assign(np.ones(16))


PLANTED = {
    "an epsilon": ({"epsilon": 1e-5}, None, "norm", "epsilon: 1e-05 here, 1e-06 there"),
    "a GELU by tanh": ({"activation": gelu_by_tanh}, None, "up", "before its activation it is equal"),
    "padding with strides": ({"is_padded": True}, None, "stem", "padding: valid here, same there"),
    "a mask": (
        {"is_causal": False},
        None,
        "attention/attention_output",
        "attention: use_causal_mask: False here, True there",
    ),
    "the order of heads": ({}, swap_heads, "attention/query", None),
    "the base of a rotary embedding": ({"base": 500000.0}, None, "rotary", "base: 500000.0 here, 10000.0 there"),
    "the offset of a norm": ({"offset": 1.0}, None, "rms_norm", "offset: 1.0 here, 0.0 there"),
    "a bias that is missing": ({"use_bias": False}, None, "up", "use_bias: False here, True there"),
    "kernels that are exchanged": ({}, swap_kernels, "up", None),
    "a moving variance that was not loaded": ({}, forget_variance, "batch_norm", None),
    "a dropout that is on": ({"is_noisy": True}, None, "drop/dropout", None),
    "an activation": ({"last": "sigmoid"}, None, "logits", "activation: sigmoid here, tanh there"),
}


@pytest.mark.parametrize(("changes", "change", "path", "reason"), PLANTED.values(), ids=PLANTED)
def test_a_difference_is_found_in_its_layer(source, recorded, changes, change, path, reason):
    model = with_values_of(network(**changes), source)
    if change is not None:
        change(model)
    report = compare_outputs(model, X, recorded)
    assert not report.ok
    assert report.first.path == path
    assert report.first is report.problems[0]
    if reason is not None:
        assert reason in report.reasons
