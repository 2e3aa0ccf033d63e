"""A factor on one weight is found in its layer, however small it is, and models that compute the same are equal."""

import os
import pathlib

import pytest
from clean import CLEAN, drawn
from modes import BACKEND, often, to_numpy

from keras_initx import compare_outputs, record_outputs

SIZES = (1e-2, 1e-3, 1e-4, 1e-5)
FAULTS = [
    ("cnn", "conv_1/kernel"),
    ("cnn", "norm_2/gamma"),
    ("cnn", "head/kernel"),
    ("transformer", "tokens/embeddings"),
    ("transformer", "attention_0/query/kernel"),
    ("transformer", "up_1/kernel"),
    ("transformer", "norm/gamma"),
    ("rms_transformer", "norm_0_1/scale"),
    ("rms_transformer", "attention_1/value/kernel"),
    ("lstm", "first/backward_both_ways/lstm_cell/kernel"),
    ("lstm", "second/lstm_cell/recurrent_kernel"),
    ("lstm", "head/bias"),
]


def exchanged(name):
    """Return the paths of the outputs of a model that sessions of all backends have recorded."""
    if "KERAS_INITX_EXCHANGE" not in os.environ:
        return []
    folder = pathlib.Path(os.environ["KERAS_INITX_EXCHANGE"])
    folder.mkdir(parents=True, exist_ok=True)
    model, x = drawn(name)
    record_outputs(model, x).save(folder / f"clean_{name}_by_{BACKEND}.npz")
    return sorted(folder.glob(f"clean_{name}_by_*.npz"))


OFTEN = ["cnn", "transformer", "lstm", "without_weights", "siamese"]


@pytest.mark.parametrize("name", often(CLEAN, OFTEN, every_backend=["cnn"]))
def test_a_clean_pair_is_equal(name):
    model, x = drawn(name)
    assert compare_outputs(model, x, record_outputs(model, x)).ok
    for path in exchanged(name):
        report = compare_outputs(model, x, path)
        assert report.ok, f"{path.name}: {report}"


@pytest.mark.parametrize("fault", often(FAULTS, FAULTS[:8:4], every_backend=FAULTS[:1]), ids=" ".join)
def test_a_factor_is_found_in_its_layer(fault):
    name, path = fault
    model, x = drawn(name)
    recorded = [record_outputs(model, x), *exchanged(name)]
    weight = {weight.path.partition("net/")[2] or weight.path: weight for weight in model.weights}[path]
    values = to_numpy(weight.value).copy()
    for size in SIZES:
        weight.assign(values * (1 + size))
        for like in recorded:
            report = compare_outputs(model, x, like)
            assert not report.ok
            assert path.startswith(f"{report.first.path}/"), f"{size}: {report}"


def test_an_epsilon_below_the_tolerance_is_a_setting():
    model, x = drawn("rms_transformer")
    other, _ = drawn("rms_transformer")
    for layer in other.layers:
        if layer.name.startswith("norm_0"):
            layer.epsilon *= 1.01
    report = compare_outputs(model, x, other)
    assert report.ok
    text = " ".join(str(report).split())
    assert "Equal for this batch, but configured differently: epsilon: " in text
    assert "there (norm_0_1, norm_0_2)." in text
