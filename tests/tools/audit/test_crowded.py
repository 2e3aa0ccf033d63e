"""Slices in which one value is there more often than by chance are found, unless they are meant."""

import numpy as np
import pytest
from audited import audit
from modes import to_numpy

import keras_initx
from keras_initx.tools.audit._extremes import find_crowded
from keras_initx.tools.audit._profile import make_reading

NORMAL = keras_initx.RandomNormal(stddev=0.02)


def drawn(shape, dtype="float32", initializer=NORMAL):
    return to_numpy(initializer.clone()(shape, dtype)).astype("float32")


def changed(values, where, value):
    values = values.copy()
    values[where] = value
    return values


@pytest.mark.every_backend
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize(
    ("where", "value", "expected"),
    [
        (np.s_[:, 5], 0.02, ("constant", "1 of 256 slices along axis 1: all of [5] are 0.02")),
        (np.s_[:, 7], 0, ("zeros", "1 of 256 slices along axis 1: all of [7] are 0")),
        (np.s_[3], 0, ("zeros", "1 of 256 slices along axis 0: all of [3] are 0")),
        (np.s_[:64, 5], 0.02, ("copies", "1 of 256 slices along axis 1: 64 of [5] are 0.02")),
    ],
)
def test_a_slice_of_one_value(dtype, where, value, expected):
    values = changed(drawn((256, 256), dtype), where, value)
    verdict, evidence = find_crowded(make_reading(values, dtype))
    # In 16 bits 0.02 is another number, and there are zeros of other units by rounding.
    assert (verdict, evidence.replace("0.01999", "0.02").split(" are ")[0].replace("64 of 256 of", "64 of")) == (
        expected[0],
        expected[1].split(" are ")[0],
    )


def test_units_of_heads_are_named_by_both_axes():
    values = changed(drawn((64, 4, 16)), np.s_[:, 2, 5], 0.02)
    assert find_crowded(make_reading(values, "float32")) == (
        "constant",
        "1 of 64 slices along axes 1 to 2: all of [2, 5] are 0.02",
    )


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


def test_a_row_that_a_contract_has_is_none_and_must_be_there():
    rng = np.random.default_rng(0)

    def table(row):
        values = rng.normal(0, 1, (500, 64))
        if row is not None:
            values[row] = 1
        return {"a": values}

    contract = keras_initx.contract(lambda: table(3))
    assert keras_initx.audit(table(3), like=contract).ok
    problems = {row: keras_initx.audit(table(row), like=contract).problems for row in (4, None)}
    assert {row: (found.verdict, found.evidence) for row, (found,) in problems.items()} == {
        4: ("constant", "1 of 500 slices along axis 0: all of [4] are 1"),
        None: ("constant", "no longer 1 of 500 slices along axis 0: all of [3] are 1"),
    }
    # Of one draw it is not known whether it is the same row each time.
    assert keras_initx.audit(table(4), like=table(3)).ok
