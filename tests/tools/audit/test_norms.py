"""Slices of exactly one norm, as of weight normalization, where values are drawn."""

import keras
import numpy as np
import pytest
from audited import audit, off
from keras import layers
from modes import often, to_numpy

import keras_initx
from keras_initx.tools.audit._distribution import find_equal_norms
from keras_initx.tools.audit._profile import make_reading

RNG = np.random.default_rng(0)


def normalized(values, axes, norm):
    return (norm * values / np.sqrt((values**2).sum(axis=axes, keepdims=True))).astype("float32")


SHAPES = {
    "units of a dense layer": ((64, 32), (0,), "32 slices along axis 1"),
    "inputs of a dense layer": ((64, 32), (1,), "64 slices along axis 0"),
    "filters": ((3, 3, 8, 32), (0, 1, 2), "32 slices along axis 3"),
    "windows of filters": ((3, 3, 8, 32), (0, 1), "256 slices along axes 2 to 3"),
    "units of heads": ((64, 4, 16), (0,), "64 slices along axes 1 to 2"),
    "heads": ((64, 4, 16), (0, 2), "4 slices along axis 1"),
}


@pytest.mark.parametrize("which", often(SHAPES, [*SHAPES][::2]))
def test_slices_of_one_norm_are_named_by_rules_and_beside_others(which):
    shape, axes, slices = SHAPES[which]
    drawn, other = RNG.normal(0, 0.1, (2, *shape))
    norm = float(np.sqrt((drawn**2).sum(axis=axes)).mean())  # so that nothing else is off
    arrays = {"a": normalized(drawn, axes, norm)}
    for report in (
        audit(arrays, {"a": keras_initx.RandomNormal(stddev=0.1)}),
        keras_initx.audit(arrays, like={"a": other.astype("float32")}),
    ):
        (row,) = report.problems
        assert (row.verdict, row.evidence) == ("equal norms", f"{slices} have one norm, as after weight normalization")


@pytest.mark.release_backends
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_constraint_that_was_applied_is_found_and_another_model_that_has_it_too_is_none(dtype):
    def build(is_normal=True):
        dense = layers.Dense(48, kernel_initializer="he_normal", name="dense", dtype=dtype)
        model = keras.Sequential([keras.Input((64,)), dense])
        if is_normal:
            dense.kernel.assign(keras.constraints.UnitNorm(axis=0)(dense.kernel))
        return model

    assert off(keras_initx.audit(build())) == {"dense/kernel": "equal norms"}
    contract = keras_initx.contract(build)
    assert keras_initx.audit(build(), like=contract).ok
    verdicts = off(keras_initx.audit(build(is_normal=False), like=contract))
    assert verdicts == {"dense/kernel": "equal norms" if dtype == "float32" else "scale"}


@pytest.mark.parametrize(
    "initializer",
    [
        keras_initx.HeNormal(),
        keras_initx.Orthogonal(),
        keras_initx.DeltaOrthogonal(),
        keras_initx.Sparse(1),
        keras_initx.ICNR(keras_initx.HeNormal(), 2),
        keras_initx.Concatenated(["initx.orthogonal", "initx.he_normal"]),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_norms_of_a_law_are_no_fault(initializer, dtype):
    values = initializer.clone()((3, 3, 16, 64), dtype)
    assert audit({"a": values}, {"a": initializer}, alpha=1e-4).ok


@pytest.mark.parametrize("shape", [(2, 2), (64, 2), (4, 3), (1, 64), (4096, 2), (300, 500)])
def test_norms_of_independent_values_are_not_equal(shape):
    for law in (RNG.normal, RNG.standard_exponential):
        assert find_equal_norms(make_reading(law(size=shape).astype("float32"), "float32")) == ""


def test_signs_have_one_norm_in_each_draw():
    def signs():
        return {"a": RNG.choice([-1.0, 1.0], (64, 64))}

    assert keras_initx.audit(signs(), like=keras_initx.contract(signs)).ok
    assert keras_initx.audit(signs(), like=signs()).ok


def test_units_of_zeros_have_no_norm():
    values = np.zeros((64, 32), "float32")
    values[3, 5] = 1
    assert find_equal_norms(make_reading(values, "float32")) == ""


def test_a_frame_is_called_orthonormal():
    values = to_numpy(keras_initx.Orthogonal(seed=0)((64, 64)))
    assert off(audit({"a": values}, {"a": keras_initx.RandomNormal(stddev=1 / 8)})) == {"a": "orthonormality"}
