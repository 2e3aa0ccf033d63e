"""What differs between the draws of a contract."""

import itertools

import numpy as np
import pytest
from audited import off
from few_values import count_told

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
        assert {row.path: row.detail for row in report.not_compared} == {"a": "another scale or mean in each draw"}
    # What does not depend on it is compared.
    arrays = build()
    arrays["a"][:, 5] = arrays["a"][:, 6]
    assert off(keras_initx.audit(arrays, like=contract)) == {"a": "equal slices"}
    report = keras_initx.audit({**build(), "a": np.zeros((64, 64))}, like=contract)
    assert off(report) == {"a": "constant"}


def test_of_few_values_it_is_not_known_whether_each_draw_has_another_scale():
    """Scales of 16 normal values may differ by a half from draw to draw, and so may those that are drawn."""
    scales = itertools.cycle((1, 1.2, 1.6))

    def build():
        return {"a": next(scales) * RNG.permutation(np.linspace(-1, 1, 16))}

    contract = keras_initx.contract(build)
    assert contract.rows[0].profile.varies is None
    (row,) = keras_initx.audit(build(), like=contract).not_compared
    assert row.detail == "too few values to know whether each draw has another scale"


def test_a_value_that_is_zero_in_all_draws_may_be_so_by_chance():
    def build(count):
        values = RNG.normal(0, 1, (8, 8))
        values.flat[:count] = 0
        return {"a": values}

    for count, is_right in ((1, True), (20, False)):
        contract = keras_initx.contract(lambda: build(count))  # noqa: B023
        assert keras_initx.audit(build(0), like=contract).ok == is_right


@pytest.mark.parametrize("law", ["uniform", "normal"])
def test_contracts_of_64_values_compare_the_scale(law):
    varies, not_known, blamed, twice, ten_times, blamed_anew = count_told(law, 64, contracts=30, seed=1)
    assert (varies, not_known) == (0, 0)
    assert (twice, ten_times) == (30, 30)
    # With an alpha of 1 %, more than two of 30 have a chance of 1 in 250.
    assert max(blamed, blamed_anew) <= 2
