"""One seed gives the same weights on every backend, eager and compiled, in every release."""

import golden
import numpy as np
import pytest
from cases import CASES, DISTINCT_CASES, FIRST_CASES, RARE_CASES, for_each
from modes import BACKEND, MODES, by_numpy, often, run

from keras_initx import Sparse

GOLDEN = golden.load()
FIRSTS = [*FIRST_CASES.values()]
# The others differ on the host only.
EAGER = CASES + RARE_CASES if BACKEND == "torch" else FIRSTS
# What a compiler could change of the rare ones: zeros with a sign, bounds, and of sparse matrices equal keys.
RARE_COMPILED = [case for case in RARE_CASES if case.cls is not Sparse or case.kwargs["seed"] == 670972]
# Operations of torch take little time.
COMPILED = CASES + RARE_CASES if BACKEND == "torch" else FIRSTS + RARE_COMPILED

pytestmark = pytest.mark.usefixtures("optimized")


def assert_golden(case, shape, dtype, mode="eager"):
    label = golden.label(case, shape, dtype)
    expected = GOLDEN[label]
    values = run(mode, lambda: case.make()(shape, dtype))
    if case.exact:
        assert golden.record(case, values) == expected, label
    else:
        np.testing.assert_allclose(golden.sample(values), expected, atol=1e-5, err_msg=label)


@pytest.mark.every_backend
@for_each(EAGER)
def test_values_are_the_golden_ones(case):
    for row in golden.rows([case]):
        assert_golden(*row)


@for_each(CASES + RARE_CASES)
def test_values_are_the_golden_ones_without_the_kernel(case):
    with by_numpy():
        for row in golden.rows([case]):
            assert_golden(*row)


# A class compiles what its base does.
DISTINCT = [case.cls for case in DISTINCT_CASES]


@pytest.mark.every_backend
@pytest.mark.parametrize("cls", often(FIRST_CASES, DISTINCT), ids=lambda cls: cls.__name__)
def test_values_are_the_golden_ones_in_a_program(cls):
    for case in COMPILED:
        rows = [*golden.rows([case])] if case.cls is cls else []
        if BACKEND != "torch" and case not in RARE_CASES:
            rows = rows[:1]
        for row in rows:
            assert_golden(*row, MODES[-1])


@pytest.mark.every_backend
@pytest.mark.skipif(len(MODES) < 3, reason="this backend has one kind of programs")
def test_values_are_the_golden_ones_in_another_kind_of_program():
    assert_golden(*next(golden.rows(FIRSTS[:1])), MODES[1])


def test_no_golden_value_is_left_over():
    assert set(GOLDEN) == {golden.label(*row) for row in golden.rows(CASES + RARE_CASES)}
