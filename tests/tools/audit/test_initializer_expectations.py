"""What is expected of a weight by its initializer: a law, draws, values, or nothing."""

import itertools
import random

import keras
import numpy as np
import pytest
from audited import audit, network, off
from keras import layers
from modes import to_numpy

import keras_initx


def test_the_zeros_of_a_constraint_are_no_fault_of_constants():
    keep = keras_initx.KeepSparse(keras_initx.Sparse(5, seed=0))
    model = keras.Sequential([keras.Input((48,)), layers.Dense(64, kernel_constraint=keep, name="sparse")])
    keras_initx.initialize(model, {"*kernel": "ones"}, seed=3)
    assert keras_initx.audit(model, {"*kernel": "ones"}, seed=3).ok


def test_the_zeros_of_a_constraint_are_no_fault_of_a_rule():
    keep = keras_initx.KeepSparse(keras_initx.Sparse(5, seed=0))
    model = keras.Sequential([keras.Input((48,)), layers.Dense(64, kernel_constraint=keep, name="sparse")])
    rules = {"*kernel": "initx.he_normal"}
    keras_initx.initialize(model, rules, seed=3)
    assert [row.detail for row in keras_initx.audit(model, rules).not_compared] == ["zeros of a constraint"]
    assert keras_initx.audit(model, rules, seed=3).ok
    model.layers[0].kernel.assign(2 * model.layers[0].kernel)
    assert off(keras_initx.audit(model, rules, seed=3)) == {"sparse/kernel": "bits"}


class Own(keras.initializers.Initializer):
    """An initializer of a user, whose law is not known."""

    def __init__(self, make):
        self.make = make
        self.generator = keras.random.SeedGenerator(3)

    def __call__(self, shape, dtype=None):
        return keras.ops.cast(self.make(self.generator, shape), dtype or "float32")


def drawn(stddev):
    return lambda generator, shape: keras.random.normal(shape, 0.0, stddev, seed=generator)


SCALES = itertools.cycle((0.1, 1.0, 3.0))


def of_another_scale_each_time(generator, shape):
    return keras.random.normal(shape, 0.0, next(SCALES), seed=generator)


@pytest.mark.release_backends
def test_an_initializer_without_a_law_is_drawn_from_a_copy():
    own = Own(drawn(0.1))
    model = keras.Sequential([keras.Input((48,)), layers.Dense(64, kernel_initializer=own, name="own")])
    before = to_numpy(own.generator.state).tolist()
    keras.utils.clear_session()  # with the global generator, which Keras before 3.11 starts once only
    keras.utils.set_random_seed(6)
    next_numbers = [random.random(), np.random.rand(), to_numpy(keras.random.normal((3,))).tolist()]  # noqa: NPY002
    keras.utils.clear_session()
    keras.utils.set_random_seed(6)
    assert keras_initx.audit(model, {"own/kernel": own}).ok
    assert to_numpy(own.generator.state).tolist() == before
    assert [random.random(), np.random.rand(), to_numpy(keras.random.normal((3,))).tolist()] == next_numbers  # noqa: NPY002
    assert off(keras_initx.audit(model, {"own/kernel": Own(drawn(0.2))})) == {"own/kernel": "scale"}


class NoCopy(Own):
    def __deepcopy__(self, memo):
        raise TypeError


@pytest.mark.parametrize(
    ("initializer", "reason"),
    [
        (NoCopy(drawn(0.1)), "its initializer cannot be drawn from"),
        (Own(lambda generator, shape: np.linspace(0, 1, 3072).reshape(shape)), "equal in each draw"),
    ],
)
def test_an_initializer_that_tells_nothing_is_unknown(initializer, reason):
    report = keras_initx.audit(network(), {"hidden/kernel": initializer})
    (row,) = report.not_compared
    assert row.detail.startswith(reason)


def test_draws_with_scales_of_their_own_are_not_compared():
    rules = {"hidden/kernel": Own(of_another_scale_each_time)}
    for kernel in (keras.initializers.RandomNormal(stddev=20.0), "random_uniform"):
        report = keras_initx.audit(network(kernel), rules)
        assert report.ok
        (row,) = report.not_compared
        assert (row.path, row.detail, row.ratio) == ("hidden/kernel", "another scale or mean in each draw", None)
    assert off(keras_initx.audit(network("zeros"), rules)) == {"hidden/kernel": "constant"}


def test_weights_are_equal_whatever_the_scale_of_their_draws():
    own = Own(of_another_scale_each_time)
    model = keras.Sequential([keras.Input((48,)), *[layers.Dense(48, name=name) for name in "ab"]])
    model.get_layer("b").kernel.assign(model.get_layer("a").kernel)
    assert off(keras_initx.audit(model, {"*kernel": own})) == {"b/kernel": "equal weights"}


def test_values_that_a_law_bounds_from_below_raise_no_alarm():
    initializer = keras_initx.TimeStepBias(floor=0.05, seed=0)  # most are the lowest
    assert audit({"a": to_numpy(initializer((64,)))}, {"a": keras_initx.TimeStepBias(floor=0.05)}).ok


def test_a_value_that_passes_the_truncation_of_keras_on_torch_raises_no_alarm():
    """Of 100,000 values, one is farther out in one of 70 draws."""
    values = to_numpy(keras_initx.TruncatedNormal(stddev=1.0, seed=0)((1000, 100))).copy()
    values[3, 5] = 3.6
    assert audit({"a": values}, {"a": keras_initx.TruncatedNormal(stddev=1.0)}).ok


def test_parts_of_which_all_values_are_the_lowest_raise_no_alarm():
    parts = [keras_initx.TimeStepBias(floor=0.0999) for _ in range(2)]
    values = np.full(64, parts[0].law((32,)).bounds[0], "float32")
    assert audit({"a": values}, {"a": keras_initx.Concatenated(parts)}).ok


@pytest.mark.parametrize(
    ("initializer", "dtype"),
    [
        (keras_initx.RandomNormal(stddev=2e-8), "float16"),  # below its smallest number
        (keras_initx.RandomUniform(-1e-6, 1e-6), "float16"),
        (keras_initx.RandomNormal(1.0, 1e-3), "float16"),
        (keras_initx.RandomNormal(1.0, 1e-3), "bfloat16"),  # nearly all are 1
        # JAX draws 128 levels.
        pytest.param(keras.initializers.HeNormal(), "bfloat16", marks=pytest.mark.release_backends),
    ],
)
def test_values_that_their_dtype_can_hardly_hold_raise_no_alarm(initializer, dtype):
    model = keras.Sequential(
        [keras.Input((64,)), layers.Dense(64, kernel_initializer=initializer, dtype=dtype, name="layer")]
    )
    report = keras_initx.audit(model, {"layer/kernel": initializer})
    assert report.ok


def test_what_was_rounded_beyond_a_bound_raises_no_alarm():
    values = keras_initx.Scaled(keras_initx.HeNormal(seed=61), 2)((16, 1), "bfloat16")
    assert audit({"a": values}, {"a": keras_initx.Scaled("initx.he_normal", 2)}, alpha=1e-5).ok
