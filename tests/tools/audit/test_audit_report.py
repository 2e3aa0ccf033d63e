"""What a report says of an audit."""

import keras
import numpy as np
import pytest
from audited import audit
from keras import layers

import keras_initx


def test_what_cannot_be_compared_is_listed_with_the_reason():
    class Own(keras.initializers.Initializer):
        def __call__(self, shape, dtype=None):
            return keras.ops.ones(shape, dtype)

    model = keras.Sequential(
        [
            keras.Input((8,)),
            layers.Dense(8, kernel_initializer=Own(), name="own"),
            layers.Dense(8, name="int8"),
        ]
    )
    model.layers[1].quantize("int8")
    report = keras_initx.audit(model)
    assert report.ok
    reasons = {row.path: row.detail for row in report.not_compared}
    assert set(reasons.values()) == {"quantized"}
    assert str(report).splitlines()[-1] == "2 of 5 weights are as their layers say, 3 not compared."


def test_a_report_without_a_fault_is_one_sentence():
    report = audit({"a": np.zeros(8)}, {"a": "zeros"})
    assert str(report) == "1 of 1 weights are as the rules say."
    assert report._repr_html_() == "<p>1 of 1 weights are as the rules say.</p>"


@pytest.mark.parametrize(
    ("rules", "source"), [(None, "as their layers say"), ({"*kernel": "glorot_uniform"}, "as the rules say")]
)
def test_the_plot_says_what_weights_are_compared_with(rules, source):
    model = keras.Sequential([keras.Input((20,)), keras.layers.Dense(20), keras.layers.Dense(5)])
    figure = keras_initx.audit(model, rules).plot()
    assert figure.get_suptitle().endswith(source)
    low, high = figure.axes[0].get_ylim()
    assert low < 0.5 < 2 < high < 3


def test_a_report_in_which_most_weights_are_odd_asks_for_the_rules():
    model = keras.Sequential([keras.Input((8,)), *(keras.layers.Dense(8, use_bias=False) for _ in range(3))])
    keras_initx.initialize(model, {"*": keras_initx.RandomNormal(stddev=1.0)}, seed=0)
    assert "Pass these too: audit(model, rules)." in str(keras_initx.audit(model))
    assert "Pass these" not in str(keras_initx.audit(model, {"*": "ones"}))
    assert "Pass these" not in str(keras_initx.audit(keras.models.clone_model(model)))
