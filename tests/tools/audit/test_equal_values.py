"""Values that repeat others of their weight are found, unless they may."""

import itertools
import json
import re

import keras
import numpy as np
import pytest
from audited import audit, sole
from keras import layers
from modes import to_numpy

import keras_initx
from keras_initx.tools.audit._equal_values import find_repeated
from keras_initx.tools.audit._profile import make_reading


def test_equal_slices_are_named():
    kernel = to_numpy(keras_initx.HeNormal(seed=0)((64, 4, 8)))
    twice = np.repeat(kernel[:, :2], 2, axis=1)
    opposite = np.concatenate([kernel[..., :4], -kernel[..., :4]], axis=2)
    one_unit = kernel.copy()
    one_unit[:, 2, 3] = kernel[:, 0, 1]
    report = audit({"a": twice, "b": opposite, "c": one_unit}, {"*": "initx.he_normal"})
    assert [(row.status, row.detail) for row in report.problems] == [
        ("equal slices", "2 of 4 slices along axis 1 equal to another: [1] to [0], [3] to [2]"),
        (
            "equal slices",
            "4 of 8 slices along axis 2 equal to another but for the sign: "
            "[4] to [0], [5] to [1], [6] to [2] and 1 more",
        ),
        ("equal slices", "1 of 32 slices along axes 1 to 2 equal to another: [2, 3] to [0, 1]"),
    ]


def grown(seed):
    """Return a classifier, of whose classes the last two have the mean of those before."""
    hidden, last = layers.Dense(32, "relu", name="hidden"), layers.Dense(10, name="last")
    model = keras.Sequential([keras.Input((16,)), hidden, last])
    keras_initx.initialize(model, seed=seed)
    kernel = to_numpy(last.kernel).copy()
    kernel[:, 8:] = kernel[:, :8].mean(axis=1, keepdims=True)
    last.kernel.assign(kernel)
    return model


def test_equal_units_of_a_grown_model_are_none_against_its_contract():
    seeds = itertools.count()
    contract = keras_initx.contract(lambda: grown(next(seeds)))
    assert keras_initx.audit(grown(9), like=contract).ok
    assert keras_initx.audit(grown(9), like=grown(8)).ok


@pytest.mark.parametrize("kernel", ["initx.he_normal", "initx.orthogonal"])
def test_equal_parts_of_a_law_by_parts_are_named(kernel):
    rules = {"a": keras_initx.Concatenated([kernel, "zeros", kernel, kernel])}
    values = to_numpy(keras_initx.Concatenated([kernel, "zeros", kernel, kernel])((16, 64)))
    assert audit({"a": values}, rules).ok
    values = np.concatenate([values[:, :48], values[:, :16]], axis=1)
    (row,) = audit({"a": values}, rules).problems
    assert row.status == "equal slices"
    assert row.detail.startswith("16 of 64 slices along axis 1 equal to another: [48] to [0]")


@pytest.mark.parametrize("part", ["initx.he_normal", "initx.sparse", "initx.orthogonal"])
def test_parts_of_any_law_that_are_equal_but_for_the_sign_are_named(part):
    initializer = keras_initx.Concatenated([part] * 2)
    half = to_numpy(initializer((3, 3, 4, 64)))[..., :32]
    (row,) = audit({"a": np.concatenate([half, -half], axis=-1)}, {"a": initializer}).problems
    assert row.status == "equal slices"
    assert "equal to another but for the sign" in row.detail


@pytest.mark.parametrize(
    ("initializer", "shape"),
    [
        (keras_initx.Orthogonal(blocks=4, seed=52), (1, 4)),  # all are equal with this seed
        (keras.initializers.RandomNormal(seed=0), (4, 200)),
        (keras.initializers.RandomNormal(seed=0), (5000,)),
        (keras_initx.ChronoBias(50, cell="lstm", seed=0), (64,)),  # those of two gates are opposite
        (keras_initx.ICNR(keras.initializers.HeNormal(seed=0), 2), (3, 3, 8, 64)),
        (keras_initx.Sparse(1, seed=0), (8, 64)),
        # Nearly all values are the lowest.
        (keras_initx.TimeStepBias(floor=0.09, seed=0), (4,)),
    ],
)
def test_slices_that_may_be_equal_raise_no_alarm(initializer, shape):
    values = initializer(shape, dtype="bfloat16")  # in which values are equal by rounding too
    config = json.loads(re.sub(r'"seed": \d+', '"seed": null', json.dumps(initializer.get_config())))
    assert audit({"a": values}, {"a": type(initializer).from_config(config)}).ok


@pytest.mark.parametrize(("length", "cannot_be_chance"), [(14, False), (18, True)])
def test_each_pair_of_slices_counts_for_the_probability_that_two_are_equal(length, cannot_be_chance):
    values = np.random.default_rng(0).integers(1, 9, (300, length)).astype("float32")
    values[200] = values[100]
    evidence = "1 of 300 slices along axis 0 equal to another: [200] to [100]"
    assert find_repeated(make_reading(values, "float32")) == (
        ("equal slices", evidence) if cannot_be_chance else ("", "")
    )


def test_blocks_that_the_other_axes_do_not_have_are_not_looked_for():
    arrays = {"a": np.random.default_rng(0).normal(0, 0.1, (66, 264))}
    assert sole(audit(arrays, {"a": keras_initx.Orthogonal(blocks=4)})) == ("orthonormality", "")


def test_slices_that_were_equal_and_no_longer_are_are_named():
    before, now = np.random.default_rng(0).normal(size=(2, 40, 30)).astype("float32")
    before[7] = before[3]
    (row,) = keras_initx.audit({"a": now}, like={"a": before}).problems
    assert (row.status, row.detail) == (
        "equal slices",
        "no longer 1 of 40 slices along axis 0 equal to another: [7] to [3]",
    )
