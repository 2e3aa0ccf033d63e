"""The table of the documentation: what each initializer gives, in each way to run it, on the backend at hand.

`python tests/support/golden.py` writes what it should be, and `python docs/tables.py` the table.
"""

import functools
import json

import golden
import keras
import numpy as np
import pytest
from cases import FIRST_CASES
from meshes import fits, layout_of
from modes import BACKEND, MODES, float64, run, to_numpy

pytestmark = pytest.mark.usefixtures("optimized")

DIGESTS = json.loads((golden.DIGESTS / f"{BACKEND}.json").read_text())


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
        "jax": {name: functools.partial(sharded, parts) for name, parts in golden.DEVICES.items()},
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
def test_every_way_gives_the_values_of_the_table(case, way):
    shape = golden.digest_shape(case)
    values = WAYS[way](case.make(), shape)
    if not case.exact:
        # A bound and no more: the last bits depend on the processor.
        assert np.abs(values.astype("float64") - in_float64(case, shape)).max() < golden.BOUNDS[values.dtype.name]
    assert golden.digest(case, values) == DIGESTS[f"{case} {shape}"][way]
