"""Layers with initializers: what the caller deletes is gone, whether the layer builds or refuses."""

import contextlib
import gc
import weakref

import pytest
from cases import with_cases
from test_layers import WEIGHTS, build
from test_memory import Anything


def one_case_each(rows):
    """Return one of the four rows of each layer, the first, second, third and fourth in turn."""
    return [rows[4 * number + number % 4] for number in range(len(rows) // 4)]


@pytest.mark.every_backend
@pytest.mark.parametrize(("name", "argument", "case"), one_case_each(with_cases(WEIGHTS)))
def test_what_a_caller_deletes_is_gone(name, argument, case):
    data = Anything()
    watched = weakref.ref(data)
    gc.disable()
    try:
        with contextlib.suppress(ValueError):
            build(name, argument, case.make())
        del data
        assert watched() is None
    finally:
        gc.enable()
