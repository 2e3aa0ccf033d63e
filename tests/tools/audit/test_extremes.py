"""Single slices of a weight, by those that are farthest from the whole."""

import numpy as np
import pytest
from audited import audit, off
from modes import to_numpy

import keras_initx
from keras_initx.tools.audit._extremes import measure_ends
from keras_initx.tools.audit._profile import make_reading


def test_the_slices_that_are_farthest_off_are_known():
    values = np.arange(1, 25, dtype="float32").reshape(2, 3, 4)
    values[:, 1] *= 2
    by_axis = {ends.axis: ends for ends in measure_ends(make_reading(values, "float32"))}
    assert by_axis[1].means == (8.5, 25, 0, 1)
    assert by_axis[1].stds[2:] == (0, 1)
    assert (by_axis[1].size, by_axis[1].number) == (8, 3)


NORMAL = keras_initx.RandomNormal(stddev=0.02)


def drawn(shape, dtype="float32", initializer=NORMAL):
    return to_numpy(initializer.clone()(shape, dtype)).astype("float32")


def with_one_value(values, where, value):
    values[where] = value
    return values


@pytest.mark.parametrize(
    ("where", "value", "verdict"),
    [(np.s_[:, 5], 0.02, "parts"), (np.s_[:, 7], 0, "zeros"), (np.s_[3], 0, "zeros"), (np.s_[3], -0.01, "parts")],
)
def test_a_unit_or_an_input_of_one_value_is_found_by_rules_and_by_contracts(where, value, verdict):
    arrays = {"a": with_one_value(drawn((256, 256)), where, value)}
    assert off(audit(arrays, {"a": NORMAL})) == {"a": verdict}
    assert off(keras_initx.audit(arrays, like=lambda: {"a": drawn((256, 256))})) == {"a": verdict}


@pytest.mark.parametrize("dtype", [pytest.param("float32", marks=pytest.mark.rare), "bfloat16"])
@pytest.mark.parametrize(
    ("initializer", "shape"),
    [
        (NORMAL, (4, 5000)),
        (NORMAL, (3, 3, 3, 32)),
        (keras_initx.Sparse(3), (64, 64)),
        (keras_initx.Sparse(1), (4, 400)),
        (keras_initx.TimeStepBias(floor=0.05), (16, 64)),  # most values are the lowest
        (keras_initx.DeltaOrthogonal(), (3, 3, 16, 64)),
        (keras_initx.ICNR(NORMAL, 2), (3, 3, 8, 64)),
        (keras_initx.Concatenated(["zeros", NORMAL], sizes=[1, 63], axis=0), (64, 64)),  # a row of padding
        (keras_initx.Concatenated([NORMAL, "ones"], axis=1), (64, 32, 2)),
    ],
)
def test_what_a_law_has_is_no_fault(initializer, shape, dtype):
    for _ in range(5):
        values = initializer.clone()(shape, dtype)
        assert audit({"a": values}, {"a": initializer}, alpha=1e-4).ok


def test_a_row_of_one_value_that_a_contract_has_is_no_fault():
    rng = np.random.default_rng(0)

    def table(row):
        return {"a": with_one_value(rng.normal(0, 1, (500, 64)), row, 1)}

    contract = keras_initx.contract(lambda: table(3))
    assert keras_initx.audit(table(3), like=contract).ok
    assert keras_initx.audit(table(4), like=table(3)).ok
