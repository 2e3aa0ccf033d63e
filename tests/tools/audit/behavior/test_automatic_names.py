"""Weights of layers with automatic names are compared with those at the same place, or left with a reason."""

import json

import keras
import numpy as np
import pytest

import keras_initx
from keras_initx import audit, contract

OTHER_NUMBER = "another number of layers has this automatic name in "

# The standard deviation of the kernel of each layer, in the order of calls.
STDS = (1.0, 2.0, 4.0)


def model(*made, stds=STDS):
    """Return a model of layers of equal shapes that are called in one order and made in another."""
    layers = {}
    for place in made:
        initializer = keras.initializers.RandomNormal(stddev=stds[place], seed=place)
        layers[place] = keras.layers.Dense(64, kernel_initializer=initializer)
    x = inputs = keras.Input((64,))
    for place in sorted(layers):
        x = layers[place](x)
    return keras.Model(inputs, x)


def test_a_contract_has_the_places(tmp_path):
    contract(model(1, 0)).save(tmp_path / "c.json")
    lines = json.loads((tmp_path / "c.json").read_text())["weights"]
    assert [(line["path"], line["place"]) for line in lines] == [
        ("dense_1/kernel", "dense 1 of 2 made 2/kernel"),
        ("dense_1/bias", "dense 1 of 2 made 2/bias"),
        ("dense/kernel", "dense 2 of 2 made 1/kernel"),
        ("dense/bias", "dense 2 of 2 made 1/bias"),
    ]


@pytest.mark.parametrize("form", ["model", "contract", "file"])
def test_the_same_model_made_in_another_order_is_alike(form, tmp_path):
    like = model(0, 1, 2)
    if form != "model":
        like = contract(like)
    if form == "file":
        like.save(tmp_path / "c.json")
        like = tmp_path / "c.json"
    report = audit(model(2, 0, 1), like=like)
    assert report.ok
    assert len(report.rows) == 6
    assert all(row.ratio == 1 for row in report.rows if row.path.endswith("kernel"))
    changed = audit(model(2, 0, 1, stds=(1.0, 2.0, 8.0)), like=like)
    assert [row.path for row in changed.problems] == ["dense/kernel"]  # the one that was made first


@pytest.mark.parametrize(("ours", "theirs"), [((0, 1, 2), (0, 1)), ((0, 1), (0, 1, 2))])
def test_with_a_layer_more_none_is_compared(ours, theirs):
    for like in (model(*theirs), contract(model(*theirs))):
        report = audit(model(*ours), like=like)
        assert not report.ok
        left = [row for row in report.rows if row.status == "not compared"]
        assert len(left) == 2 * len(ours)
        assert {row.detail for row in left} == {f"{OTHER_NUMBER}`like`"}
        assert all(row.ratio is None for row in left)
        assert {row.status for row in report.problems} == {"missing"}
        assert len(report.problems) == 2 * len(theirs)


def test_arrays_are_compared_with_a_contract_by_number_and_a_note_says_so():
    arrays = {weight.path: weight for weight in contract(model(0, 1)).rows}
    values = dict(zip(arrays, model(0, 1).get_weights(), strict=True))
    report = audit(values, like=contract(model(0, 1)))
    assert report.ok
    assert any("paired by number: `weights` has no order" in note for note in report.notes)
    fewer = {path: values[path] for path in ("dense/kernel", "dense/bias")}
    rows = audit(fewer, like=contract(model(0, 1))).rows
    assert {row.detail for row in rows if row.status == "not compared"} == {f"{OTHER_NUMBER}`like`"}


def test_a_reason_names_the_argument_that_is_compared_with_a_model():
    arrays = {f"{layer}/kernel": np.ones((64, 64)) for layer in ("dense", "dense_1", "dense_2")}
    rows = audit(model(0, 1), like=arrays).rows
    assert {row.detail for row in rows if row.status != "missing"} == {f"{OTHER_NUMBER}`like`"}
    saved = dict(zip(("dense/kernel", "dense/bias"), model(0).get_weights(), strict=True))
    report = audit(saved, like=model(0, 1))
    assert {row.detail for row in report.rows if row.status == "not compared"} == {f"{OTHER_NUMBER}`weights`"}


def test_a_plan_is_that_of_the_model_made_in_another_order():
    plan = keras_initx.initialize(model(0, 1), {"*kernel": "initx.he_normal"}, seed=1)
    other = model(1, 0)
    keras_initx.initialize(other, plan)
    report = audit(other, plan)
    assert report.ok
    assert all(row.is_unchanged for row in report.rows if row.path.endswith("kernel"))
    by_number = model(1, 0)
    keras_initx.initialize(by_number, {"*kernel": "initx.he_normal"}, seed=1)
    assert not audit(by_number, plan).ok


def test_a_plan_of_another_number_of_layers_is_refused():
    plan = keras_initx.initialize(model(0, 1), seed=1, dry_run=True)
    with pytest.raises(ValueError, match=rf"there is no 'dense/kernel' \({OTHER_NUMBER}the weights\)"):
        audit(model(0, 1, 2), plan)
