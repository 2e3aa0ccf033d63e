"""Of each weight a report has the worst that is said of it."""

import numpy as np
from audited import off_with_causes, today
from modes import to_numpy

import keras_initx
from keras_initx.tools.audit._property_test import Outcome


def test_weights_that_are_new_missing_or_reshaped(yesterday):
    verdicts = off_with_causes(keras_initx.audit(today(1, depth=4), like=yesterday))
    assert verdicts == {"hidden_3/kernel": ("new", ""), "hidden_3/bias": ("new", "")}
    verdicts = off_with_causes(keras_initx.audit(today(1, depth=2), like=yesterday))
    assert verdicts == {"hidden_2/kernel": ("missing", ""), "hidden_2/bias": ("missing", "")}
    arrays = {"hidden_0/kernel": np.ones((64, 32), "float32")}
    report = keras_initx.audit(arrays, like=yesterday)
    assert report.problems[0].detail == "the shape is (64, 32), expected (64, 64)"


def test_parts_of_a_weight(yesterday):
    model = today(1)
    kernel = to_numpy(model.layers[0].kernel).copy()
    kernel[:, :16] *= 1.5
    kernel *= to_numpy(model.layers[0].kernel).std() / kernel.std()  # the scale of the whole is kept
    model.layers[0].kernel.assign(kernel)
    assert off_with_causes(keras_initx.audit(model, like=yesterday)).keys() == {"hidden_0/kernel"}
    assert keras_initx.audit(model, like=yesterday).problems[0].status == "parts"


def test_lost_precision_and_values_that_are_not_finite(yesterday):
    model = today(1)
    kernel = to_numpy(model.layers[0].kernel)
    model.layers[0].kernel.assign((kernel.view("uint32") & 0xFFFF0000).view("float32"))
    kernel = to_numpy(model.layers[1].kernel).copy()
    kernel[0, 0] = np.nan
    model.layers[1].kernel.assign(kernel)
    assert off_with_causes(keras_initx.audit(model, like=yesterday)) == {
        "hidden_0/kernel": ("precision", ""),
        "hidden_1/kernel": ("not finite", ""),
    }


def test_another_dtype_is_reported(yesterday):
    report = keras_initx.audit(today(1, dtype="bfloat16"), like=yesterday)
    assert {row.status for row in report.problems} == {"dtype"}


def test_of_what_is_said_of_a_weight_the_order_of_verdicts_counts_and_then_the_probability():
    likely, unlikely = Outcome("scale", "", 1e-3, 1.0), Outcome("scale", "", 1e-9, 1.0)
    other = Outcome("zeros", "", 1e-2, 1.0)
    assert sorted([likely, unlikely, other], key=lambda outcome: outcome.rank) == [other, unlikely, likely]
