"""Calls are compared with those of the layers that `names` gives, or of the same names."""

import keras
import numpy as np
import pytest
from keras import layers

from keras_initx import compare_outputs, record_outputs

X = np.random.default_rng(0).normal(size=(4, 6)).astype("float32")


def network(prefix, separator="_"):
    keras.utils.set_random_seed(0)
    names = [f"{prefix}{separator}{number}" for number in range(3)]
    return keras.Sequential([keras.Input((6,)), *(layers.Dense(6, "tanh", name=name) for name in names)], name=prefix)


def compared(names):
    report = compare_outputs(network("a"), X, network("b"), names=names)
    return {row.path: row.like for row in report.rows if row.status == "equal"}


def test_a_pattern_leads_to_a_name():
    assert compared({"a_*": "b_{0}"}) == {"a_0": "b_0", "a_1": "b_1", "a_2": "b_2", "a": "b"}
    assert compared({"a_0": None, "a_*": "b_{0}"}) == {"a_1": "b_1", "a_2": "b_2", "a": "b"}


def test_without_names_the_same_paths_are_compared_and_the_models():
    assert compared(None) == {"a": "b"}


def test_a_pattern_covers_what_is_inside_a_layer():
    outer = keras.Sequential([keras.Input((6,)), network("a")], name="outer")
    other = keras.Sequential([keras.Input((6,)), network("a")], name="outer")
    other.set_weights(outer.get_weights())
    outputs = record_outputs(other, X)
    report = compare_outputs(outer, X, outputs, names={"a": "a"})
    assert [row.status for row in report.rows] == ["equal"] * 5


def test_dots_are_slashes():
    array = keras.ops.convert_to_numpy(network("a").layers[0](X))
    outer = keras.Sequential([keras.Input((6,)), network("a")], name="outer")
    report = compare_outputs(outer, X, {"a.a_0": array})
    assert [row.path for row in report.rows if row.status == "equal"] == ["a/a_0"]


class Scaled(layers.Layer):
    def call(self, x, factor):
        return factor * x


def test_of_several_calls_with_equal_inputs_that_of_the_same_number_is_compared():
    def called_twice(shift):
        scaled, inputs = Scaled(name="scaled"), keras.Input((6,))
        return keras.Model(inputs, scaled(inputs + shift, factor=1.0) + scaled(inputs, factor=2.0), name="net")

    report = compare_outputs(called_twice(1.0), X, called_twice(0.0))
    assert [row.status for row in report.rows if row.path == "scaled"] == ["differs", "equal"]


@pytest.mark.parametrize(
    ("names", "error", "message"),
    [
        (["a_0"], TypeError, "`names` must be a dict from patterns to names"),
        ({"a_0": 1}, TypeError, "Received: 1 for 'a_0'"),
        (
            {"c_*": "b_{0}"},
            ValueError,
            "Each of `names` must match a layer, or a weight. Received: 'c_*'",
        ),
        ({"a_*": "c_{0}"}, ValueError, "`names` must lead to names that were recorded. Received: 'a_*' leads to 'c_0'"),
        ({"a_*": "b_{1}"}, ValueError, "with `{0}` for the text that the first `*` of the pattern matches"),
    ],
)
def test_bad_names_are_refused(names, error, message):
    with pytest.raises(error) as raised:
        compared(names)
    assert message in str(raised.value)
