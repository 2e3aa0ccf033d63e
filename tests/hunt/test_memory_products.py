"""Every layer x every initializer: what the caller deletes is gone, whether the layer builds or refuses."""

import contextlib
import gc
import weakref

import pytest
from cases import FIRST_CASES
from test_layers import WEIGHTS, build
from test_memory import Anything


@pytest.mark.parametrize("case", FIRST_CASES.values(), ids=lambda case: case.cls.__name__)
@pytest.mark.parametrize(("name", "argument"), WEIGHTS, ids=[f"{name}.{argument}" for name, argument in WEIGHTS])
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
