"""Initializers inside what Keras and its users wrap around them: traces, scopes, abstract tensors."""

import keras
import numpy as np
import pytest
from cases import CASES, RANDOM_CASES
from modes import BACKEND, MODES, run, to_numpy

import keras_initx

every_case = pytest.mark.parametrize("case", CASES, ids=str)
every_random_case = pytest.mark.parametrize("case", RANDOM_CASES, ids=str)
only = {
    name: pytest.mark.skipif(name != BACKEND, reason=f"a matter of {name}") for name in ("jax", "tensorflow", "torch")
}


@pytest.mark.parametrize("mode", MODES)
def test_a_generator_advances_in_a_trace_and_stays_usable(mode):
    def two(generator):
        initializer = keras_initx.Sparse(seed=generator)
        return keras.ops.stack([initializer((30, 4)), initializer((30, 4))])

    generator = keras.random.SeedGenerator(5)
    traced = run(mode, lambda: two(generator))
    np.testing.assert_array_equal(traced, to_numpy(two(keras.random.SeedGenerator(5))))
    assert to_numpy(generator.state.value).tolist() == [5, 2]


@only["jax"]
@every_case
def test_eval_shape_makes_no_values(case):
    import jax

    abstract = jax.eval_shape(lambda: case.make()(case.shapes[0], "bfloat16"))
    assert (abstract.shape, str(abstract.dtype)) == (case.shapes[0], "bfloat16")


@only["jax"]
def test_a_large_kernel_is_not_a_constant_of_the_program():
    import jax

    jaxpr = jax.make_jaxpr(lambda: keras_initx.Orthogonal(method="gaussian", seed=0)((1000, 1000)))()
    # The table of the normal draws is the largest.
    assert max(np.size(constant) for constant in jaxpr.consts) <= 1 << 16


@only["jax"]
def test_a_frame_is_multiplied_out_in_full_precision():
    import jax

    program = str(jax.make_jaxpr(lambda: keras_initx.Orthogonal(seed=0)((10, 10)))())
    assert program.count("dot_general") == program.count("precision=(Precision.HIGHEST, Precision.HIGHEST)") > 0


@only["torch"]
@every_case
def test_the_meta_device_makes_no_values(case):
    with keras.device("meta"):
        values = case.make()(case.shapes[0])
    assert values.device.type == "meta"
    assert tuple(values.shape) == case.shapes[0]


@every_random_case
def test_variables_made_in_a_stateless_scope(case):
    shape = case.shapes[0]
    with keras.StatelessScope():
        variable = keras.Variable(case.make(), shape=shape, dtype="float32")
    np.testing.assert_array_equal(to_numpy(variable.value), to_numpy(case.make()(shape)))


@pytest.mark.parametrize("unit_forget_bias", [True, False])
def test_an_lstm_made_in_a_stateless_scope(unit_forget_bias):
    layer = keras.layers.LSTM(8, bias_initializer="initx.lstm_forget_bias", unit_forget_bias=unit_forget_bias)
    with keras.StatelessScope():
        layer.build((None, 5, 3))
    assert to_numpy(layer.cell.bias.value).tolist() == [0] * 8 + [1] * 8 + [0] * 16


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_values_are_the_users_to_change(dtype):
    """Nothing is remembered, so nothing can be spoiled."""
    initializer = keras_initx.Sparse(seed=1)
    variable = keras.Variable(initializer, shape=(20, 3), dtype=dtype)
    variable.assign(keras.ops.zeros((20, 3), dtype))
    assert np.count_nonzero(to_numpy(initializer((20, 3), dtype)))
