"""Calls of layers with automatic names are compared with those at the same place, or left with a reason."""

import keras
import numpy as np
import pytest

from keras_initx import compare_outputs, record_outputs

OTHER_NUMBER = "another number of layers has this automatic name in `like`"
X = np.random.default_rng(0).normal(size=(4, 6)).astype("float32")


def model(*made, operations=False):
    """Return a model of layers of equal shapes that are called in one order and made in another."""
    layers = {}
    for place in made:
        initializer = keras.initializers.RandomNormal(seed=place)
        layers[place] = keras.layers.Dense(6, "tanh", kernel_initializer=initializer)
    x = inputs = keras.Input((6,))
    for place in sorted(layers):
        x = layers[place](x)
        if operations:
            x = keras.ops.sin(x)
    return keras.Model(inputs, x)


@pytest.mark.parametrize("saved", [False, True])
@pytest.mark.parametrize("operations", [False, True])
def test_the_same_model_made_in_another_order_has_equal_outputs(saved, operations, tmp_path):
    like = model(0, 1, 2, operations=operations)
    if saved:
        record_outputs(like, X).save(tmp_path / "outputs.npz")
        like = tmp_path / "outputs.npz"
    report = compare_outputs(model(2, 0, 1, operations=operations), X, like)
    assert report.ok
    pairs = {row.path: row.like for row in report.rows}
    assert pairs["dense_1"] == "dense"
    assert pairs["dense_2"] == "dense_1"
    assert pairs["dense"] == "dense_2"
    inner = [row for row in report.rows if not row.is_model and row.path != "input_layer"]
    assert {row.status for row in inner} == {"equal"}


@pytest.mark.parametrize(("ours", "theirs"), [((0, 1, 2), (0, 1)), ((0, 1), (0, 1, 2))])
def test_with_a_layer_more_none_is_compared(ours, theirs):
    report = compare_outputs(model(*ours), X, model(*theirs))
    dense = [row for row in report.rows if row.path.startswith("dense")]
    assert [row.status for row in dense] == ["not compared"] * len(ours)
    assert {row.detail for row in dense} == {OTHER_NUMBER}


def test_operations_are_left_with_an_operation_more():
    x = inputs = keras.Input((6,))
    one = keras.Model(inputs, keras.ops.sin(x))
    two = keras.Model(inputs, keras.ops.sin(keras.ops.sin(x)))
    report = compare_outputs(one, X, two)
    (row,) = [row for row in report.rows if row.path == "sin"]
    assert (row.status, row.detail) == ("not compared", OTHER_NUMBER)
