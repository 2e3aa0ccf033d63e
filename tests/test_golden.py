"""One seed gives the same weights on every backend, eager and compiled, in every release."""

import golden
import numpy as np
import pytest
from cases import CASES, FIRST_CASES, RARE_CASES
from modes import BACKEND, MODES, by_numpy, run

from keras_initx import Sparse

ROWS = tuple(golden.rows(CASES))
RARE_ROWS = tuple(golden.rows(RARE_CASES))
GOLDEN = golden.load()
# Arguments that arrange what is drawn in the same way without them.
ARRANGING = {"blocks", "groups", "initializer", "input_axes", "output_axes", "sparsity"}
# What a compiler could change of the rare ones: zeros with a sign, bounds, and of sparse matrices equal keys.
RARE_COMPILED = [row for row in RARE_ROWS if row[0].cls is not Sparse or row[0].kwargs["seed"] == 670972]
# The first of each class, and one of each other case. Operations of torch take little time, and show all.
COMPILED = [
    *(
        next(golden.rows([case]))
        for case in CASES
        if case in FIRST_CASES.values() or (not ARRANGING & {*case.kwargs} and case.cls is not Sparse)
    ),
    *(row for row in RARE_COMPILED if row[2] == "float32" or row[0].cls is not Sparse),
]
if BACKEND == "torch":
    COMPILED = [row for row in ROWS + RARE_ROWS if row in COMPILED or row[0].cls is Sparse]

pytestmark = pytest.mark.usefixtures("optimized")


def each_of(rows, in_full=()):
    """Return a mark for a test of `rows`, and of those that run with `--full` only."""
    params = [pytest.param(*row, id=golden.label(*row)) for row in rows]
    params += [pytest.param(*row, id=golden.label(*row), marks=pytest.mark.full) for row in in_full]
    return pytest.mark.parametrize(("case", "shape", "dtype"), params)


def assert_golden(case, shape, dtype, mode="eager"):
    expected = GOLDEN[golden.label(case, shape, dtype)]
    values = run(mode, lambda: case.make()(shape, dtype))
    if case.exact:
        assert golden.record(case, values) == expected
    else:
        np.testing.assert_allclose(golden.sample(values), expected, atol=1e-5)


@each_of(ROWS + RARE_ROWS)
def test_values_are_the_golden_ones(case, shape, dtype):
    assert_golden(case, shape, dtype)


@each_of(ROWS + RARE_ROWS)
def test_values_are_the_golden_ones_without_the_kernel(case, shape, dtype):
    with by_numpy():
        assert_golden(case, shape, dtype)


@pytest.mark.parametrize("mode", [*(pytest.param(mode, marks=pytest.mark.full) for mode in MODES[1:-1]), *MODES[-1:]])
@each_of(COMPILED, in_full=[row for row in ROWS + RARE_ROWS if row not in COMPILED])
def test_values_are_the_golden_ones_in_a_program(case, shape, dtype, mode):
    assert_golden(case, shape, dtype, mode)


def test_no_golden_value_is_left_over():
    assert set(GOLDEN) == {golden.label(*row) for row in ROWS + RARE_ROWS}
