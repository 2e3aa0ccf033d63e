"""Parts and single slices of a weight are compared, by rules, by layers and by contracts."""

import itertools

import keras
import numpy as np
import pytest
from audited import audit, off
from keras import layers
from modes import often, to_numpy

import keras_initx
from keras_initx.tools.audit._distribution import choose_part_counts, measure_parts
from keras_initx.tools.audit._profile import make_reading

NORMAL = keras_initx.RandomNormal(stddev=0.02)
HALVES = keras_initx.Concatenated([NORMAL, keras_initx.RandomNormal(stddev=0.06)], sizes=[6, 7])
# Made here, where all draw seeds one after the other: in a test, one may draw that of another.
ROWS = keras_initx.Concatenated(["initx.he_normal", "zeros"], axis=0)
NESTED = keras_initx.Concatenated([ROWS, keras_initx.RandomNormal(stddev=0.02)], sizes=[20, 44])
HEADS = keras_initx.Concatenated([NORMAL, keras_initx.RandomNormal(stddev=0.06)], axis=1)


def reports(initializer, shape, change, dtype="float32"):
    """Return the audits of a kernel that was changed, by its rule, by its layer and by a contract."""

    class Own(layers.Layer):
        def build(self, _):
            self.kernel = self.add_weight(shape=shape, name="kernel", initializer=initializer.clone())

        def call(self, x):
            return x * keras.ops.mean(self.kernel)

        def get_config(self):
            return super().get_config()

    def build(seed):
        model = keras.Sequential([keras.Input((2,)), Own(name="own", dtype=dtype)])
        keras_initx.initialize(model, {"own/kernel": initializer}, seed=seed)
        return model

    seeds = itertools.count(1)
    model = build(0)
    kernel = model.layers[0].kernel
    kernel.assign(change(to_numpy(kernel).astype("float32")))
    yield keras_initx.audit(model, {"own/kernel": initializer})
    yield keras_initx.audit(model)
    yield keras_initx.audit(model, like=keras_initx.contract(lambda: build(next(seeds))))


def by_factor(where, factor):
    def change(values):
        values[where] *= factor
        return values

    return change


def as_it_was(values):
    return values


FAULTS = {
    "sorted": (NORMAL, (64, 64), lambda values: np.sort(values.ravel()).reshape(values.shape)),
    "one unit": (NORMAL, (64, 256), by_factor(np.s_[:, 5], 2)),
    "one input": (NORMAL, (256, 64), by_factor(np.s_[5], 2)),
    "one head": (NORMAL, (64, 4, 16), by_factor(np.s_[:, 1], 1.3)),
    "half of a prime number of units": (NORMAL, (64, 257), by_factor(np.s_[:, :128], 1.2)),
    "the mean of one unit": (NORMAL, (64, 256), lambda values: values + 0.02 * (np.arange(256) == 5)),
    "scales exchanged": (HALVES, (256, 13), lambda values: np.concatenate([values[:, 6:], values[:, :6]], axis=1)),
    "heads exchanged": (HEADS, (32, 4, 16), lambda values: values[:, ::-1]),
}


@pytest.mark.parametrize("fault", often(FAULTS, [*FAULTS][::2]))
def test_parts_that_are_not_as_the_law_are_found_by_rules_by_layers_and_by_contracts(fault):
    for report in reports(*FAULTS[fault]):
        assert off(report) in ({"own/kernel": "parts"}, {"own/kernel": "scale"}), report.source


@pytest.mark.parametrize("dtype", often(["float32", "bfloat16"], ["bfloat16"]))
@pytest.mark.parametrize("shape", often([(256, 13), (64, 4, 16), (3, 3, 8, 32)], [(64, 4, 16)]))
@pytest.mark.parametrize("initializer", [NORMAL, keras_initx.GlorotUniform(), keras_initx.HeNormal()])
def test_parts_that_are_as_the_law_raise_no_alarm(initializer, shape, dtype):
    assert all(report.ok for report in reports(initializer, shape, as_it_was, dtype))


def test_a_part_of_a_concatenation_with_another_scale_is_found():
    for report in reports(HALVES, (256, 13), by_factor(np.s_[:, 6:], 2)):
        (row,) = report.problems
        assert (row.path, row.status, row.cause) == ("own/kernel", "scale", "")
    by_rule, *_ = reports(NESTED, (64, 64), by_factor(np.s_[:, 20:], 1.5))
    assert off(by_rule) == {"own/kernel": "scale"}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "initializer",
    [
        keras_initx.Concatenated([NORMAL, "ones"], axis=1),  # of the whole, the kurtosis is that of two values
        keras_initx.Concatenated(["zeros", NORMAL], axis=1),  # of which one value in 65,536 is 0
        NESTED,
    ],
    ids=["ones", "zeros", "nested"],
)
def test_parts_of_a_concatenation_raise_no_alarm(initializer, dtype):
    for _ in range(10):
        values = initializer.clone()((64, 64), dtype)
        assert audit({"a": values}, {"a": initializer}, alpha=1e-4).ok


def test_a_contract_of_parts_with_other_means_raises_no_alarm():
    rng = np.random.default_rng(0)

    def build():
        return {"a": np.concatenate([rng.normal(0, 0.02, (64, 32)), np.ones((64, 32))], axis=1)}

    contract = keras_initx.contract(build)
    assert all(keras_initx.audit(build(), like=contract).ok for _ in range(10))


def test_a_unit_that_has_a_scale_of_its_own_in_a_contract_may_have_it():
    rng = np.random.default_rng(0)

    def build():
        return {"a": by_factor(np.s_[:, 5], 3)(rng.normal(0, 1, (64, 256)))}

    contract = keras_initx.contract(build)
    assert all(keras_initx.audit(build(), like=contract).ok for _ in range(10))


VALUES = np.arange(24, dtype="float32").reshape(2, 3, 4)


def test_parts_are_equal_and_of_lengths_with_few_divisors_nearly_so():
    lengths = (1, 4, 12, 13, 24, 26, 257)
    assert [choose_part_counts(length) for length in lengths] == [[], [4], [12], [12], [12], [2, 12], [12]]


def test_parts_have_the_statistics_of_their_values():
    first, last, middle = measure_parts(make_reading(VALUES + 1, "float32"))
    assert [first.key, last.key, middle.key] == [(0, 2), (2, 4), (1, 3)]
    assert first.means == (6.5, 18.5)
    assert middle.means == (8.5, 12.5, 16.5)
    np.testing.assert_allclose(last.stds, VALUES.std(axis=(0, 1)))
    assert (first.size, last.size, middle.size) == (12, 6, 8)


def test_parts_that_are_nearly_equal_are_as_large_as_the_smallest():
    (parts,) = measure_parts(make_reading(np.arange(1.0, 14.0), "float32"))
    assert (parts.size, len(parts.stds)) == (1, 12)
    assert parts.means[:2] == (1.5, 3)
