"""Layers with initializers: what the caller deletes is gone, whether the layer builds or refuses."""

import contextlib
import gc
import weakref

import pytest
from cases import with_cases
from layer_table import WEIGHTS, build

# Of each layer the first weight, with the classes in turn.
FIRST_WEIGHTS = list({name: (name, argument) for name, argument in reversed(WEIGHTS)}.values())


class Anything:
    """An object that a weak reference can watch."""


@pytest.mark.every_backend
@pytest.mark.filterwarnings("ignore:`ReLUBias` gives all units:UserWarning")  # if it is for a kernel
@pytest.mark.parametrize(("name", "argument", "case"), with_cases(FIRST_WEIGHTS)[::4])
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
