"""A contract gives no more alarms than `alpha` says, and none that are there in each audit."""

import itertools

import numpy as np
import pytest
from modes import often
from right_draws import FAMILIES, alarms

import keras_initx
from keras_initx.tools.audit._audit import audit_at


@pytest.mark.parametrize("family", often(FAMILIES, ["another scale in each draw"]))
def test_no_contract_alarms_at_right_draws(family):
    # 36 audits: with an alpha of 1 %, more than 3 alarms have a chance of 1 in 2,000.
    found = alarms(family, draws=3, weights=14, contracts=12, pool=30)
    assert found.sum() <= 3
    assert found.max() <= 1


def test_a_value_that_is_as_near_to_an_end_as_those_of_a_contract_tell():
    """The end of a uniform distribution is known from 3,072 values to a thousandth of its width."""
    rng = np.random.default_rng(0)
    contract = keras_initx.contract(lambda: {"a": rng.uniform(-1, 1, (32, 32))})
    values = rng.uniform(-1, 1, (32, 32))
    for end, is_right in ((1.001, True), (1.02, False)):
        values[3, 5] = end
        assert keras_initx.audit({"a": values}, like=contract).ok == is_right


def test_a_contract_whose_own_ends_are_far_in_or_out():
    rng = np.random.default_rng(0)
    # So far in, both ends are in one contract of 3,000, and the upper end is in one of 30,000.
    for low, high in ((-0.992, 0.992), (-1, 0.98)):
        expected = rng.uniform(low, high, (32, 32))
        assert keras_initx.audit({"a": rng.uniform(-1, 1, (32, 32))}, like={"a": expected}).ok
    expected = rng.normal(0, 1, (32, 32))
    expected[3, 5] = 5
    assert keras_initx.audit({"a": rng.normal(0, 1, (32, 32))}, like={"a": expected}).ok


@pytest.mark.parametrize(("family", "scale"), [("normal", 2), ("uniform", 1.1)])
def test_a_gate_with_a_scale_of_its_own(family, scale):
    """All gates together are nearly of one family, but for their ends."""
    rng = np.random.default_rng(0)
    draws = [FAMILIES[family].draw(rng, (32, 128)) for _ in range(10)]
    for values in draws:
        values[:, 32:64] *= scale
    for found, expected in itertools.pairwise(draws):
        assert audit_at(1e-3, {"a": found}, like={"a": expected}).ok


def test_rows_with_equal_numbers_of_zeros_by_chance():
    rng = np.random.default_rng(0)
    expected, found = rng.normal(0, 1, (2, 2, 64))
    expected[:, :32] = 0
    found[0, :30] = 0
    found[1, :35] = 0
    assert keras_initx.audit({"a": found}, like={"a": expected}).ok


def test_draws_of_which_some_have_as_many_zeros_in_each_row_by_chance():
    """Each unit has one connection of two; what all draws have in common is found for each axis by itself."""
    rng = np.random.default_rng(0)

    def drawn(count):
        values = rng.normal(0, 1, (2, 64))
        values[0, :count] = values[1, count:] = 0
        return {"a": values}

    draws = iter([drawn(30), drawn(35), drawn(32), drawn(36)])
    expected, found = (keras_initx.contract(lambda: next(draws), draws=2) for _ in range(2))
    assert keras_initx.audit(found, like=expected).ok


def test_signs_that_are_equal_by_chance():
    one, other = np.float32([1, 1, -1, 1, -1, -1]), np.float32([-1, 1, 1, 1, -1, -1])
    equal, free = {"a": one, "b": one.copy()}, {"a": one, "b": other}
    assert keras_initx.audit(equal, like=free).ok
    assert keras_initx.audit(free, like=equal).ok


def test_values_that_are_the_lowest_by_chance():
    rng = np.random.default_rng(0)
    expected, found = (np.maximum(rng.permutation(64), 64 - count).astype("float32") for count in (9, 5))
    assert keras_initx.audit({"a": found / 7}, like={"a": expected / 7}).ok
