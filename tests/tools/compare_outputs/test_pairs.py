"""Which calls and which outputs are compared: with equal inputs, and with the least difference."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_initx import compare_outputs, record_outputs

X = np.random.default_rng(0).normal(size=(5, 6)).astype("float32")
Y = np.random.default_rng(1).normal(size=(5, 6)).astype("float32")


class Siamese(keras.Model):
    """Calls one layer with two inputs, the first or the second of them first."""

    def __init__(self, is_turned):
        super().__init__(name="net")
        self.is_turned = is_turned
        self.shared = layers.Dense(4, name="shared")

    def call(self, inputs):
        first, second = inputs
        if self.is_turned:
            second = self.shared(second)
            return self.shared(first) - second
        return self.shared(first) - self.shared(second)


def siamese(is_turned):
    keras.utils.set_random_seed(0)
    model = Siamese(is_turned)
    model([X, Y])
    return model


@pytest.mark.every_backend
def test_calls_with_equal_inputs_are_compared():
    report = compare_outputs(siamese(False), [X, Y], siamese(True))
    assert report.ok
    assert [(row.name, row.like) for row in report.rows] == [
        ("shared", "shared, call 2"),
        ("shared, call 2", "shared"),
        ("net", "net"),
    ]
    other = siamese(True)
    other.shared.bias.assign(np.ones(4))
    assert compare_outputs(siamese(False), [X, Y], other).first.path == "shared"


def heads(names, changes=()):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6,))
    made = [layers.Dense(3, name=name)(inputs) for name in ("cls", "box")]
    model = keras.Model(inputs, dict(zip(names, made, strict=True)) if names else made[::-1], name="net")
    for name in changes:
        model.get_layer(name).bias.assign(np.ones(3))
    return model


def test_outputs_of_other_names_are_compared_by_the_least_difference():
    report = compare_outputs(heads(["scores", "boxes"]), X, heads(["cls", "box"]))
    assert report.ok
    assert sorted(report.rows[-1].detail.split(", ")) == ["boxes with box", "scores with cls"]
    assert f"net was compared by {report.rows[-1].detail}." in " ".join(str(report).split())
    report = compare_outputs(heads(["scores", "boxes"]), X, heads(None))
    assert report.ok
    report = compare_outputs(heads(["cls", "box"]), X, heads(["box", "cls"]))
    assert report.first.path == "net"  # whose names are the same


def test_an_output_without_a_partner_is_named():
    keras.utils.set_random_seed(0)
    whole = heads(["cls", "box"])
    part = keras.Model(whole.inputs, {"scores": whole.get_layer("cls").output}, name="net")
    report = compare_outputs(part, X, whole)
    assert report.ok
    assert report.rows[-1].detail == "only there: box"
    report = compare_outputs(whole, X, record_outputs(part, X))
    assert not report.ok
    assert "box: no output there, (5, 3) here" in report.rows[-1].detail


def test_int32_and_int64_are_compared():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((3,), dtype="int32"), layers.Embedding(9, 4, name="tokens")], name="net")
    ids = np.random.default_rng(0).integers(0, 9, (5, 3))
    report = compare_outputs(model, ids, model)
    assert report.rows[0].inputs == 0
    other = (ids + 1) % 9
    assert compare_outputs(model, ids, record_outputs(model, other)).rows[0].inputs_differ
