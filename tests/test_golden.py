"""One seed gives the same weights on every backend, eager and compiled, in every release."""

import golden
import numpy as np
import pytest
from cases import CASES
from modes import MODES, run

ROWS = tuple(golden.rows(CASES))
GOLDEN = golden.load()


@pytest.mark.product
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("case", "shape", "dtype"), ROWS, ids=[golden.label(*row) for row in ROWS])
def test_values_are_the_golden_ones(case, shape, dtype, mode):
    expected = GOLDEN[golden.label(case, shape, dtype)]
    values = run(mode, lambda: case.make()(shape, dtype))
    if case.exact:
        assert golden.record(case, values) == expected
    else:
        np.testing.assert_allclose(golden.sample(values), expected, atol=1e-5)


def test_no_golden_value_is_left_over():
    assert set(GOLDEN) == {golden.label(*row) for row in ROWS}
