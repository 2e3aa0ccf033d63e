"""What differs between the draws of a contract."""

import itertools

import numpy as np
import pytest
from audited import off

import keras_initx

RNG = np.random.default_rng(0)
DRAWS = {
    "scale": lambda shape: RNG.normal(0, np.exp(RNG.normal()), shape),
    "mean": lambda shape: RNG.normal(RNG.normal(), 1, shape),
}


@pytest.mark.parametrize("what", DRAWS)
def test_what_is_another_in_each_draw_is_not_compared(what, tmp_path):
    def build():
        return {"a": DRAWS[what]((64, 64)), "b": RNG.normal(0, 1, (64, 64)), "c": RNG.normal(0, 1, (64, 64))}

    contract = keras_initx.contract(build)
    contract.save(tmp_path / "a.json")
    for like in (contract, tmp_path / "a.json"):
        report = keras_initx.audit(build(), like=like)
        assert report.ok, report.problems
        assert {row.path: row.reason for row in report.not_compared} == {"a": f"another {what} in each draw"}
    # What does not depend on it is compared.
    arrays = build()
    arrays["a"][:, 5] = arrays["a"][:, 6]
    assert off(keras_initx.audit(arrays, like=contract)) == {"a": "equal slices"}
    report = keras_initx.audit({**build(), "a": np.zeros((64, 64))}, like=contract)
    assert off(report) == {"a": "constant"}


def test_where_most_weights_vary_all_may():
    """Of few values, draws with scales of their own are alike now and then."""
    scales = itertools.cycle((1, 2, 4))

    def build():
        scale = next(scales)
        arrays = {str(number): RNG.normal(0, scale, (32, 32)) for number in range(3)}
        return {**arrays, "few": RNG.normal(0, 1, 64)}

    contract = keras_initx.contract(build)
    assert {weight.path: weight.profile.varies for weight in contract.rows}["few"] == ("scale",)


def test_values_of_a_draw_that_depend_on_each_other_have_another_scale_in_each():
    """The product of two vectors has one scale for each row and each column."""

    def build():
        return {"a": RNG.normal(0, 1, (32, 1)) * RNG.normal(0, 1, 32), "b": RNG.normal(0, 1, (32, 32))}

    contract = keras_initx.contract(build)
    assert all(keras_initx.audit(build(), like=contract).ok for _ in range(10))


def test_a_value_that_is_zero_in_all_draws_may_be_so_by_chance():
    def build(count):
        values = RNG.normal(0, 1, (8, 8))
        values.flat[:count] = 0
        return {"a": values}

    for count, is_right in ((1, True), (20, False)):
        contract = keras_initx.contract(lambda: build(count))  # noqa: B023
        assert keras_initx.audit(build(0), like=contract).ok == is_right
