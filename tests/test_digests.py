"""The table of the documentation: what each initializer gives, in each way to run it, on the backend at hand.

`pytest tests/test_digests.py --digests docs/digests` writes what is found, and `python docs/tables.py` the table.
Without the option the tests compare with what was written.
"""

import functools
import hashlib
import json
import pathlib

import keras
import numpy as np
import pytest
from cases import FIRST_CASES
from meshes import fits, layout_of
from modes import BACKEND, MODES, float64, run, to_numpy

PATH = pathlib.Path(__file__).parents[1] / "docs" / "digests" / f"{BACKEND}.json"
DEVICES = {"2 devices": (1, 2), "8 devices": (1, 8)}
# Shapes to try where none of a case's own can be cut into eight: kernels and biases.
MORE_SHAPES = ((16, 64), (3, 3, 8, 16), (3, 3, 16, 16), (64,), (2, 48))


def shape_of(case):
    """Return the first shape that the initializer fills and eight devices can share, or else its first."""
    for shape in (*case.shapes, *MORE_SHAPES):
        if fits(shape, DEVICES["8 devices"]):
            try:
                case.make()(shape)
            except ValueError:
                continue
            return shape
    return case.shapes[0]


def sharded(parts, initializer, shape):
    if not fits(shape, parts):
        pytest.skip("no axis of its shapes can be cut into so many parts")
    return to_numpy(keras.Variable(initializer, shape, "float32", layout=layout_of(parts, len(shape))))


def mirrored(initializer, shape):
    import tensorflow as tf

    with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
        variable = keras.Variable(initializer, shape, "float32")
    first, second = map(to_numpy, variable.value.values)
    np.testing.assert_array_equal(first, second)
    return first


def called(mode, dtype, initializer, shape):
    return run(mode, lambda: initializer(shape, dtype))


WAYS = {
    "eager": functools.partial(called, "eager", "float32"),
    "compiled": functools.partial(called, MODES[-2 if BACKEND == "torch" else -1], "float32"),
    **{
        "jax": {name: functools.partial(sharded, parts) for name, parts in DEVICES.items()},
        "tensorflow": {"2 devices": mirrored},
        "torch": {},
    }[BACKEND],
    "bfloat16": functools.partial(called, "eager", "bfloat16"),
}


def in_float64(case, shape):
    """Return the values that the rounded ones are measured by."""
    with float64():
        return to_numpy(case.make()(shape, "float64"))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", FIRST_CASES.values(), ids=str)
def test_every_way_gives_the_values_of_the_table(case, way, digests, request):
    shape = shape_of(case)
    values = WAYS[way](case.make(), shape)
    if case.exact:
        cell = hashlib.sha256(values.tobytes()).hexdigest()[:8]
    else:
        # A bound and no more: the last bits depend on the processor.
        bound = 2.0**-8 if way == "bfloat16" else 1e-6
        assert np.abs(values.astype("float64") - in_float64(case, shape)).max() < bound
        cell = f"within {bound:.0e}"
    label = f"{case} {shape}"
    digests.setdefault(label, {})[way] = cell
    if request.config.getoption("--digests") is None:
        assert json.loads(PATH.read_text())[label][way] == cell
