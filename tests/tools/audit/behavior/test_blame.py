"""Only the weight that has changed is off, whatever others have its name, and whatever law it has."""

import keras
import numpy as np
import pytest
from audited import off
from modes import often

import keras_initx


def signs(value, shape, rng):
    return rng.choice([-value, value], shape).astype("float32")


def network(rng, width, depth, *, scale=1.0, values=0.1):
    """Return a deep network whose first kernel has another scale, and whose table has two values."""
    arrays = {f"block_{n}/kernel": rng.normal(0, width**-0.5, (width, width)) for n in range(depth)}
    arrays["block_0/kernel"] *= scale
    arrays["table/kernel"] = signs(values, (64, 64), rng)
    return {path: array.astype("float32") for path, array in arrays.items()}


RNG = np.random.default_rng(0)
MODELS = [(16, 2), (16, 3), (16, 6), (24, 2), (32, 2), (32, 4), (48, 3), (64, 8)]


@pytest.mark.parametrize("size", often(MODELS, [(16, 2)]))
@pytest.mark.parametrize("scale", often([0.71, 1.25], [1.25]))
def test_nobody_else_is_blamed_for_a_layer(size, scale):
    width, depth = size
    blamed = seen = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        before = keras_initx.contract(lambda: network(rng, width, depth))  # noqa: B023
        found = off(keras_initx.audit(network(rng, width, depth, scale=scale), like=before))
        seen += found.pop("block_0/kernel", "") == "scale"
        blamed += bool(found)
    # By chance, as rarely as `alpha` says: of 20 audits, two have a chance of 1 in 60.
    assert blamed <= 1
    assert seen >= 15


@pytest.mark.parametrize("values", [0.1, 0.14, 0.5])
def test_two_values_are_as_few_as_copies(values):
    """Of 4,096 values that are -0.1 or 0.1, two count, and the summary says that a small change is not seen."""
    rng = np.random.default_rng(0)
    before = keras_initx.contract(lambda: network(rng, 16, 2))
    report = keras_initx.audit(network(rng, 16, 2, values=values), like=before)
    assert off(report) == ({"table/kernel": "scale"} if values == 0.5 else {})
    assert "(table/kernel" in report.summary


def test_an_initializer_of_three_values_is_judged_in_a_model():
    def build(value):
        def start(shape, dtype=None):
            return RNG.choice([-value, 0, value], shape).astype(dtype)

        return keras.Sequential([keras.Input((64,)), keras.layers.Dense(64, kernel_initializer=start, name="a")])

    before = keras_initx.contract(lambda: build(0.1))
    assert off(keras_initx.audit(build(0.1), like=before)) == {}
    assert off(keras_initx.audit(build(1.0), like=before)) == {"a/kernel": "scale"}
